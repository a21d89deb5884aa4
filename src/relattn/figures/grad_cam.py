"""The evidence for a class in an image: Grad-CAM, as in Zhang et al., CVPR 2020, Fig. 5.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017:

    alpha_k = mean over positions of d y / d A^k      (1), y the score of a class, A^k the k-th of a layer's maps
    L = relu(sum_k alpha_k A^k)                       (2)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from relattn.backbones import MapView
from relattn.errors import InputError
from relattn.figures.canvas import Grid, Pixels, check_count, flatness, show_image, show_map
from relattn.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING = "no evidence"
"""Remark on a map that is 0 everywhere."""


def grad_cam(
    score: Callable[[Tensor], Tensor], layer: nn.Module, images: Tensor, view: MapView | None = None
) -> Tensor:
    """The map of Eq. (2), divided by its largest value.

    Args:
        score: Function from images `(B, 3, H, W)` to the scores `(B,)` of their classes, each of which must depend only
            on its own image, as for a network in evaluation mode.
        layer: The part of the network whose output `(B, K, h, w)` is explained; if attention follows it, the attended
            output.
        images: `(B, 3, H, W)`.
        view: How to view the layer's output as a map `(B, K, h, w)`; None if it is one.

    Returns:
        `(B, h, w)` in [0, 1]; 0 everywhere for an image without evidence for the class.

    Raises:
        InputError: If the layer does not return a map, or the score does not depend on it.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        kept.append(output if view is None or view.index is None else output[view.index])

    handle = layer.register_forward_hook(keep)  # the last hook, which sees the output after attention
    try:
        with torch.enable_grad():
            scores = score(images.detach().clone().requires_grad_())
            values = kept[-1] if kept else None
            if not isinstance(values, Tensor) or (view is None and values.ndim != 4):
                raise InputError(
                    "grad-cam explains a map, and that module gives none: choose a stage, such as 'stage 3'."
                )
            (gradient,) = torch.autograd.grad(scores.sum(), values, allow_unused=True)
    finally:
        handle.remove()
    if gradient is None:
        raise InputError(
            "grad-cam explains a map that the score depends on, and the score does not depend on that module's map."
        )
    if view is not None:
        single = replace(view, index=None)
        values, gradient = single.map_of(values), single.map_of(gradient)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * values).sum(dim=1).detach().relu()
    return cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(cam.dtype).tiny)


def grad_cam_figure(
    pixels: Sequence[Pixels],
    cams: Mapping[str, Tensor],
    classes: Mapping[str, Sequence[str]],
    *,
    style: Style | None = None,
) -> "Figure":
    """Draw images with the maps of networks, side by side; a remark marks images without evidence for the class.

    Args:
        pixels: B images `(H, W, 3)`.
        cams: For each network, by its title, the maps `(B, h, w)` from `grad_cam`.
        classes: For each network, the class that each of its B maps is evidence for.
        style: Style of the figure; by default maps are drawn over their image.
    """
    check_count(len(pixels))
    style = style or Style()
    height, width = pixels[0].shape[:2]
    remarks = {network: [remark(cam) for cam in maps] for network, maps in cams.items()}
    grid = Grid(
        len(pixels),
        1 + len(cams),
        aspect=width / height,
        title="Grad-CAM",
        style=style,
        lines=1 + any(text for texts in remarks.values() for text in texts),
        note="Evidence for each network's most likely class, as a part of the image's largest.",
    )
    grid.head(0, "image")
    shown = None
    for column, (network, maps) in enumerate(cams.items(), start=1):
        grid.head(column, network)
        for row, image in enumerate(pixels):
            ax, text = grid.axes[row, column], remarks[network][row]
            grid.below(row, column, classes[network][row], text)
            over = style.over is not False
            cam = smooth(maps[row], image.shape[:2])
            if text == NOTHING and over:  # a uniform layer in the lowest colour would look like a map
                show_image(ax, image.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(image.dtype))
            else:
                shown = show_map(ax, cam, (0, 1), image, over=over)
    for row, image in enumerate(pixels):
        show_image(grid.axes[row, 0], image)
    if shown is not None:
        for block in grid.blocks[-1:]:
            grid.bar_beside(grid.axes[block].ravel().tolist(), shown)
    return grid.figure


def remark(cam: Tensor) -> str:
    """Remark on a map that shows nothing."""
    return NOTHING if not cam.any() else flatness(cam)


def smooth(cam: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map `(h, w)` to the size of its image, bilinearly, as usual for Grad-CAM."""
    resized: Tensor = nn.functional.interpolate(cam[None, None].float(), size=size, mode="bilinear")
    return resized[0, 0]
