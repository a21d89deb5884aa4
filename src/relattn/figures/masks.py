"""Spatial masks of every stage: Zhang et al., CVPR 2020, Fig. 1 and supplement, Figs. 1 and 2."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from relattn.errors import InputError
from relattn.figures.canvas import Grid, Pixels, check_count, flatness, limits_of, show_image, show_map
from relattn.figures.capture import capture
from relattn.figures.names import chosen_modules, last_of_each_stage, present, title_of
from relattn.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 8


def spatial_masks(network: nn.Module, forward: Callable[[], object], *, module: str | None = None) -> dict[str, Tensor]:
    """The spatial masks of a network.

    Args:
        network: The network, in evaluation mode.
        forward: Function that runs the network on B images.
        module: A module's name or title, or a stage such as `stage 3`; by default all modules.

    Returns:
        Masks `(B, 1, h, w)` by module name, in the order of the network; if there are more than eight modules, only the
        last one of each stage.

    Raises:
        InputError: If no module has a spatial mask, or the given one has none.
    """
    with torch.no_grad(), capture(network) as maps:
        forward()
    found = {name: recorded["spatial"] for name, recorded in maps.items() if "spatial" in recorded}
    if not found:
        raise InputError(
            "masks draws spatial masks, which RGA, CBAM and FC with a spatial mask, and SimplifiedNonLocal have. "
            f"The network has {present(network)}."
        )
    found = {name: found[name] for name in chosen_modules(network, found, module, "a module with spatial masks")}
    if len(found) > MOST_COLUMNS:
        found = {name: found[name] for name in last_of_each_stage(found)}
    return found


def masks_figure(
    pixels: Sequence[Pixels], masks: Mapping[str, Mapping[str, Tensor]], *, style: Style | None = None
) -> "Figure":
    """Draw images with the masks of one or several networks, each column with its own colour scale.

    Args:
        pixels: B images `(H, W, 3)`, as the networks see them.
        masks: For each network, by its title, its masks `(B, 1, h, w)` from `spatial_masks`.
        style: Style of the figure; by default maps are drawn beside their image.
    """
    check_count(len(pixels))
    style = style or Style()
    columns = [(network, name, mask) for network, found in masks.items() for name, mask in found.items()]
    only = next(iter(masks)) if len(masks) == 1 else ""
    titles = {title_of(name) for _, name, _ in columns}
    same = next(iter(titles)) if len(titles) == 1 and not only else ""
    height, width = pixels[0].shape[:2]
    flat = {(row, column): flatness(mask[row]) for column, (*_, mask) in enumerate(columns) for row in range(len(mask))}
    grid = Grid(
        len(pixels),
        1 + len(columns),
        aspect=width / height,
        title=f"Spatial masks{f': {only or same}' if only or same else ''}",
        style=style,
        note="A position's value multiplies its features. The bars give the ends of each column's colours.",
        lines=int(any(flat.values())),
    )
    grid.head(0, "image")
    for row, image in enumerate(pixels):
        show_image(grid.axes[row, 0], image)
    for column, (network, name, mask) in enumerate(columns, start=1):
        grid.head(column, title_of(name) if only else network if same else f"{network}, {title_of(name)}")
        limits = limits_of(mask)
        for row, image in enumerate(pixels):
            shown = show_map(grid.axes[row, column], mask[row, 0], limits, image, over=bool(style.over))
            grid.below(row, column, flat[row, column - 1])
        grid.bar_below(column, shown)
    return grid.figure
