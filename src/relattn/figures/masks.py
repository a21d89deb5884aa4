"""Spatial masks of every stage: Zhang et al., CVPR 2020, Fig. 1 and supplement, Figs. 1 and 2."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from relattn.errors import InputError
from relattn.figures.canvas import Pixels, bar, check_count, grid, head, limits_of, show_image, show_map
from relattn.figures.capture import capture
from relattn.figures.names import last_of_each_stage, present, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLUMNS = 8


def spatial_masks(network: nn.Module, forward: Callable[[], object]) -> dict[str, Tensor]:
    """The spatial masks of a network.

    Args:
        network: In evaluation mode.
        forward: Runs it on the images, B of them.

    Returns:
        By the modules' names, in the order of the network, (B, 1, h, w) each; of more than eight modules the last of
        each stage.

    Raises:
        InputError: If no module has one.
    """
    with torch.no_grad(), capture(network) as maps:
        forward()
    found = {name: recorded["spatial"] for name, recorded in maps.items() if "spatial" in recorded}
    if not found:
        raise InputError(
            f"masks draws spatial masks, which RGA (rga_s, rga_sc, rga_cs, rga_parallel), CBAM (cbam_s, cbam_cs), FC "
            f"(fc_s, fc_sc) and SimplifiedNonLocal (snl) have. The network has {present(network)}."
        )
    if len(found) > MOST_COLUMNS:
        found = {name: found[name] for name in last_of_each_stage(found)}
    return found


def masks_figure(pixels: Sequence[Pixels], masks: Mapping[str, Mapping[str, Tensor]]) -> "Figure":
    """Draw images with the masks of one network or several, each column with a colour scale of its own.

    Args:
        pixels: B images (H, W, 3), as the networks see them.
        masks: For each network, by its title, its masks (B, 1, h, w), as of `spatial_masks`.
    """
    check_count(len(pixels))
    columns = [(network, name, mask) for network, found in masks.items() for name, mask in found.items()]
    size = pixels[0].shape[:2]
    aspect = size[1] / size[0]
    only = next(iter(masks)) if len(masks) == 1 else ""
    figure, axes = grid(
        len(pixels),
        1 + len(columns),
        aspect=aspect,
        title=f"Spatial masks{f': {only}' if only else ''}",
        note="A position's value multiplies its features. The bars give each column's smallest and largest value.",
    )
    head(axes[0, 0], "image", aspect)
    for row, image in enumerate(pixels):
        show_image(axes[row, 0], image)
    for column, (network, name, mask) in enumerate(columns, start=1):
        head(axes[0, column], title_of(name) if only else f"{network}, {title_of(name)}", aspect)
        limits = limits_of(mask)
        for row, image in enumerate(pixels):
            shown = show_map(axes[row, column], mask[row, 0], limits, image.shape[:2])
        bar(figure, shown, axes[:, column].tolist(), beside=False)
    return figure
