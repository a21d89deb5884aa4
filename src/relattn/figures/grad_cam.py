"""Where in an image the evidence for a class lies: Grad-CAM, as in Zhang et al., CVPR 2020, Fig. 5.

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
from relattn.figures.canvas import FAINT, SMALL, Pixels, bar, check_count, grid, head, show_image, show_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def grad_cam(
    score: Callable[[Tensor], Tensor], layer: nn.Module, images: Tensor, view: MapView | None = None
) -> Tensor:
    """The map of Eq. (2), divided by its largest value.

    Args:
        score: Maps images (B, 3, H, W) to the scores (B,) of their classes, each of its own image alone, as a network
            in evaluation mode does.
        layer: The part of the network whose output (B, K, h, w) is explained; with attention behind it, the attended.
        images: (B, 3, H, W).
        view: How what the layer gives is seen as a map (B, K, h, w); None where it is one.

    Returns:
        (B, h, w) in [0, 1]; 0 everywhere for an image in which nothing speaks for the class.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        kept.append(output if view is None or view.index is None else output[view.index])

    handle = layer.register_forward_hook(keep)  # the last hook: it sees what attention has made of the output
    try:
        with torch.enable_grad():
            scores = score(images.detach().clone().requires_grad_())
            (gradient,) = torch.autograd.grad(scores.sum(), kept[-1])
    finally:
        handle.remove()
    values = kept[-1]
    if view is not None:
        single = replace(view, index=None)
        values, gradient = single.map_of(values), single.map_of(gradient)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * values).sum(dim=1).detach().relu()
    return cam / cam.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(cam.dtype).tiny)


def grad_cam_figure(
    pixels: Sequence[Pixels], cams: Mapping[str, Tensor], classes: Mapping[str, Sequence[str]]
) -> "Figure":
    """Draw images with the maps of networks over them, side by side.

    Args:
        pixels: B images (H, W, 3).
        cams: For each network, by its title, (B, h, w), as of `grad_cam`.
        classes: For each network, what its maps are evidence for, B texts.
    """
    check_count(len(pixels))
    height, width = pixels[0].shape[:2]
    figure, axes = grid(
        len(pixels),
        1 + len(cams),
        aspect=width / height,
        title="Grad-CAM",
        lines=1,
        note="Evidence for each network's most likely class, as a part of the image's largest.",
    )
    head(axes[0, 0], "image", width / height)
    for row, image in enumerate(pixels):
        show_image(axes[row, 0], image)
        grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(image.dtype)
        for column, (network, cam) in enumerate(cams.items(), start=1):
            ax = axes[row, column]
            show_image(ax, grey)
            shown = show_map(ax, smooth(cam[row], image.shape[:2]), (0, 1), image.shape[:2])
            shown.set_alpha(0.62)
            ax.set_xlabel(classes[network][row], fontsize=SMALL, color=FAINT)
            if row == 0:
                head(ax, network, width / height)
    bar(figure, shown, axes.ravel().tolist(), beside=True)
    return figure


def smooth(cam: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (h, w) at the size of its image, bilinear, as Grad-CAM is drawn."""
    resized: Tensor = nn.functional.interpolate(cam[None, None].float(), size=size, mode="bilinear")
    return resized[0, 0]
