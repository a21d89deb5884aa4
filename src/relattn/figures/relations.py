"""The relations of all positions to a target position: Zhang et al., CVPR 2020, Fig. 4.

The figure shows "the connecting weights (relation values) from all positions w.r.t. three target positions". For a
target i and every position j these are

    non-local   f(x_i, x_j) / C(x), the weight of j for i; in the simplified block the same for every i
    RGA         R(i, j) = theta_i^T phi_j, with the target in the same place as in the non-local block

RGA learns how to use a relation: W = [W_in | W_out] reads R(i, j) and R(j, i) with the j-th columns of its halves.
`connecting` weights are the length of the resulting contribution,

    |W_in(:, j) R(i, j) + W_out(:, j) R(j, i)|

`spread` measures over all targets whether they depend on the target.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from relattn.attention import RGA, Attention, NonLocal, SimplifiedNonLocal
from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.figures.canvas import (
    INK,
    SEQUENTIAL,
    SIGNED,
    TARGET,
    Grid,
    Pixels,
    check_count,
    flatness,
    show_image,
    show_map,
)
from relattn.figures.capture import capture
from relattn.figures.names import chosen_modules, modules_of, present, title_of
from relattn.figures.spread import spread
from relattn.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

patches = Lazy("matplotlib.patches", "suite")

Weights = Literal["relations", "connecting"]
Target = tuple[float, float]
"""A position as fractions of the height and of the width, each in [0, 1]."""

TARGETS: tuple[Target, ...] = ((0.25, 0.5), (0.7, 0.35), (0.1, 0.1))
"""Default targets for an image of a person: the chest, a leg, and the background."""


class Relations(NamedTuple):
    """The weights of one module for all targets."""

    module: str
    """The module's name in the network."""
    weights: Tensor
    """`(B, N, M)`: weights between each target, in raster order, and each of M positions."""
    size: tuple[int, int]
    """Height and width of the map of the N targets."""
    source: tuple[int, int]
    """Height and width of the map of the M positions, which is smaller if they are subsampled."""

    def spread(self) -> Tensor:
        """How much the weights of each image depend on the target, `(B,)`, according to `relattn.figures.spread`."""
        return spread(self.weights)

    def place(self, target: Target) -> int:
        """The index of the target in raster order."""
        row, column = (min(int(part * side), side - 1) for part, side in zip(target, self.size, strict=True))
        return row * self.size[1] + column


def connecting(module: RGA, relations: Tensor) -> Tensor:
    """The connecting weights of RGA's spatial mask for its relations R, both `(B, N, N)`.

    |a r + b s|^2 = |a|^2 r^2 + |b|^2 s^2 + 2 <a, b> r s, so no N x N x n values are stored. If varphi also reads the
    relations of neighbours, a and b are those of the position itself.
    """
    assert module.spatial is not None
    assert module.spatial.relate is not None
    weight = module.spatial.relate.weight
    row, column = weight[:, :, weight.shape[2] // 2].detach().to(relations.dtype).chunk(2, dim=1)
    there, back = relations, relations.mT
    squares = row.square().sum(0) * there.square() + column.square().sum(0) * back.square()
    return (squares + 2 * (row * column).sum(0) * there * back).clamp(min=0).sqrt()


def has_relations(module: Attention) -> bool:
    """Whether a module relates positions to each other."""
    if isinstance(module, RGA):
        return module.spatial is not None and module.spatial.relate is not None
    return isinstance(module, NonLocal | SimplifiedNonLocal)


def relations(
    network: nn.Module, forward: Callable[[], object], *, module: str | None = None, weights: Weights = "relations"
) -> Relations:
    """The weights of a module of a network for all targets.

    Args:
        network: The network, in evaluation mode.
        forward: Function that runs the network on the images.
        module: The module's name or title, or a stage, whose last module is used; by default the last module that
            relates positions.
        weights: `relations` for relation values, or `connecting` weights, which differ for RGA.

    Raises:
        InputError: If no module relates positions, or the given one does not.
    """
    found = {name: one for name, one in modules_of(network).items() if has_relations(one)}
    if not found:
        raise InputError(
            "relations draws relations between positions, which RGA with a spatial mask, NonLocal and "
            f"SimplifiedNonLocal have. The network has {present(network)}."
        )
    named = chosen_modules(network, found, module, "a module that relates positions")
    name, chosen = named[-1], found[named[-1]]
    inputs: list[Tensor] = []

    def keep(_module: nn.Module, arguments: Any) -> None:
        inputs.append(arguments[0].detach())

    handle = chosen.register_forward_pre_hook(keep)
    try:
        with torch.no_grad(), capture(network) as maps:
            forward()
            x = inputs[-1]
            size = source = (x.shape[2], x.shape[3])
            if isinstance(chosen, RGA):
                values = chosen.relations(x)["spatial"]
                values = connecting(chosen, values) if weights == "connecting" else values
            elif isinstance(chosen, NonLocal):
                values = maps[name]["weights"]
                source = (size[0] // chosen.subsample, size[1] // chosen.subsample)
            else:
                row = maps[name]["spatial"].flatten(2)
                values = row.expand(-1, row.shape[2], -1)
    finally:
        handle.remove()
    return Relations(name, values, size, source)


def relations_figure(
    pixels: Sequence[Pixels],
    found: Mapping[str, Relations],
    targets: Sequence[Target] = TARGETS,
    *,
    title: str = "Relations of all positions to a target",
    style: Style | None = None,
) -> "Figure":
    """Draw the weights of all positions for chosen targets, a row for each image and network.

    Args:
        pixels: B images `(H, W, 3)`.
        found: Weights from `relations`, by the networks' titles.
        targets: The positions.
        title: The line above.
        style: Style of the figure; by default maps are drawn beside their image.
    """
    check_count(len(pixels))
    style = style or Style()
    height, width = pixels[0].shape[:2]
    measured = ", ".join(f"{name} {float(one.spread().nanmean()):.3f}" for name, one in found.items())
    rows = [(image, name, one) for image in range(len(pixels)) for name, one in found.items()]
    values = {
        row: one.weights[image, [one.place(target) for target in targets]].unflatten(1, one.source)
        for row, (image, _, one) in enumerate(rows)
    }
    flat = {(row, number): flatness(values[row][number]) for row in values for number in range(len(targets))}
    grid = Grid(
        len(rows),
        1 + len(targets),
        aspect=width / height,
        title=title,
        style=style,
        note=f"Red squares mark the targets; colours span a row's values. Mean cosine distance of the maps of all "
        f"pairs of targets (0: they do not depend on the target): {measured}.",
        lines=int(any(flat.values())),
        group=len(found),
    )
    grid.head(0, "image")
    for number in range(len(targets)):
        grid.head(1 + number, f"target {number + 1}")
    for row, (image, name, one) in enumerate(rows):
        axes = grid.axes[row]
        show_image(axes[0], pixels[image])
        grid.label(row, f"{name}\n{title_of(one.module)}")
        finite = values[row][values[row].isfinite()]
        low, high = (min(float(finite.min()), 0.0), float(finite.max())) if finite.numel() else (0.0, 1.0)
        largest = max(-low, high) or 1.0
        limits, cmap = ((-largest, largest), SIGNED) if low < 0 else ((0.0, largest), SEQUENTIAL)
        for number, target in enumerate(one.place(target) for target in targets):
            ax = axes[1 + number]
            over = bool(style.over)
            shown = show_map(ax, values[row][number], limits, pixels[image], cmap=cmap, over=over)
            grid.below(row, 1 + number, flat[row, number])
            for where in (ax, axes[0]):
                mark(where, target, one.size, (height, width))
            write_number(axes[0], str(number + 1), target, one.size, (height, width), style)
        grid.bar_beside(axes[1:].tolist(), shown)
    return grid.figure


def write_number(ax: Any, text: str, target: int, size: tuple[int, int], image: tuple[int, int], style: Style) -> None:
    """Write a target's number next to its square: to its right, or to its left at the right edge."""
    row, column = divmod(target, size[1])
    last = 0 < column == size[1] - 1
    across, down = (column + (column + 1 < size[1])) * image[1] / size[1], (row + 0.5) * image[0] / size[0]
    ax.annotate(
        text, (across, down), (-3 if last else 3, 0), textcoords="offset points",
        va="center", ha="right" if last else "left",
        fontsize=style.small, color=INK, bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"},
    )  # fmt: skip


def mark(ax: Any, target: int, size: tuple[int, int], image: tuple[int, int]) -> None:
    """Draw a square around a target on a map that is drawn as large as its image."""
    row, column = divmod(target, size[1])
    high, wide = image[0] / size[0], image[1] / size[1]
    corner = (column * wide - 0.5, row * high - 0.5)
    ax.add_patch(patches.Rectangle(corner, wide, high, fill=False, edgecolor=TARGET, linewidth=1.8))
