"""The heads of StRA: "Structure-Regularized Attention Networks", Fig. 4 and section 6.

For each head g, the figure shows its mean absolute activation after local attention, its mode coefficients r_ig (Eq.
5), and its mean absolute activation at the module's output. The paper's first volume is from a network with local
attention only; add such a network (`stra_local`) for comparison to get it. `spread` measures how much the heads differ.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from relattn.attention import StRA
from relattn.errors import InputError
from relattn.figures.canvas import Grid, Pixels, check_count, flatness, limits_of, show_image, show_map
from relattn.figures.capture import capture
from relattn.figures.names import chosen_modules, modules_of, present
from relattn.figures.spread import spread
from relattn.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"local": "local\nattention", "gates": "mode\ncoefficients", "output": "output"}


def modes(network: nn.Module, forward: Callable[[], object], *, module: str | None = None) -> dict[str, Tensor]:
    """The maps of a StRA module's heads: `local`, `gates` (unless it has only local attention) and `output`.

    Args:
        network: The network, in evaluation mode.
        forward: Function that runs the network on B images.
        module: The module's name or title, or a stage, whose last module is used; by default the network's last module.

    Returns:
        `(B, G, h, w)` each.

    Raises:
        InputError: If there is no StRA, or the given module is not one.
    """
    names = [name for name, one in modules_of(network).items() if isinstance(one, StRA)]
    if not names:
        raise InputError(f"modes draws the heads of StRA. The network has {present(network)}.")
    chosen = chosen_modules(network, names, module, "a module of StRA")
    with torch.no_grad(), capture(network) as maps:
        forward()
    return {kind: maps[chosen[-1]][kind] for kind in KINDS if kind in maps[chosen[-1]]}


def head_diversity(maps: Mapping[str, Tensor]) -> dict[str, float]:
    """For each kind of map `(B, G, h, w)`, how far apart the heads are according to `spread`, averaged over images."""
    return {kind: float(spread(values.flatten(2)).nanmean()) for kind, values in maps.items()}


def modes_figure(
    pixels: Sequence[Pixels], found: Mapping[str, Mapping[str, Tensor]], *, style: Style | None = None
) -> "Figure":
    """Draw the maps of all heads, three rows for each image and network.

    Args:
        pixels: B images `(H, W, 3)`.
        found: Maps from `modes`, by the networks' titles; all must have the same number of heads.
        style: Style of the figure; by default maps are drawn beside their image.

    Raises:
        InputError: If the networks have different numbers of heads.
    """
    check_count(len(pixels))
    numbers = {name: next(iter(maps.values())).shape[1] for name, maps in found.items()}
    if len(set(numbers.values())) > 1:
        listed = ", ".join(f"{name} has {heads}" for name, heads in numbers.items())
        raise InputError(f"modes compares networks with equal numbers of heads: {listed}.")
    heads = next(iter(numbers.values()))
    height, width = pixels[0].shape[:2]
    measured = "; ".join(
        f"{name}: " + ", ".join(f"{KINDS[kind].replace(chr(10), ' ')} {value:.3f}" for kind, value in values.items())
        for name, values in ((name, head_diversity(maps)) for name, maps in found.items())
    )
    rows = [(image, name, kind) for image in range(len(pixels)) for name, maps in found.items() for kind in maps]
    flat = {
        (row, number): flatness(found[name][kind][image, number])
        for row, (image, name, kind) in enumerate(rows)
        for number in range(heads)
    }
    style = style or Style()
    grid = Grid(
        len(rows),
        1 + heads,
        aspect=width / height,
        title="Heads of structure-regularized attention",
        style=style,
        note=f"Colours span a row's values. Mean cosine distance of the heads' maps (0: all are alike). {measured}.",
        lines=int(any(flat.values())),
        group=len(rows) // len(pixels),
    )
    grid.head(0, "image")
    for number in range(heads):
        grid.head(1 + number, f"head {number + 1}")
    before: tuple[int, str] | None = None
    for row, (image, name, kind) in enumerate(rows):
        if (image, name) != before:
            show_image(grid.axes[row, 0], pixels[image])
            before = (image, name)
            grid.below(row, 0, name if len(found) > 1 else "")
        values = found[name][kind][image]
        limits = limits_of(values)
        for number, ax in enumerate(grid.axes[row, 1:]):
            shown = show_map(ax, values[number], limits, pixels[image], over=bool(style.over))
            grid.below(row, 1 + number, flat[row, number])
        grid.label(row, KINDS[kind], column=1)
        grid.bar_beside(grid.axes[row, 1:].tolist(), shown)
    return grid.figure
