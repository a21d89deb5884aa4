"""The last map of a network, for heads that read a map and not a pooled feature."""

from typing import Any

import torch
from torch import Tensor, nn

from relattn.backbones.build import family
from relattn.backbones.maps import MapView, view_of
from relattn.backbones.sizes import REFUSALS, is_fixed, size_arguments, unbuilt
from relattn.backbones.stages import has_channels_last, reported_maps, stage_indices
from relattn.errors import InputError
from relattn.skeleton import empty_image, skeleton_of


def unpooled(name: str, size: tuple[int, int], **arguments: Any) -> dict[str, Any]:
    """The arguments with which a network returns its last map `(B, C, H, W)` and not a feature; empty if it cannot.

    Args:
        name: A network, as in `build`.
        size: Height and width of the images in pixels.
        arguments: Other arguments that the network is created with.
    """
    if family(name) != "timm":
        return {}
    try:
        model = unbuilt(name, global_pool="", **size_arguments(name, size), **arguments).eval()
        larger = size if is_fixed(name) else (2 * size[0], 2 * size[1])
        with torch.no_grad(), empty_image(model, larger) as image:
            output = model(image)
    except REFUSALS:
        return {}
    maps = isinstance(output, Tensor) and output.ndim == 4 and not has_channels_last(model)
    return {"global_pool": ""} if maps else {}


def map_view(model: nn.Module, size: tuple[int, int], *, pools: bool = False, in_chans: int = 3) -> MapView:
    """How to view the output of a network for images of `size` as a map `(B, C, H, W)`, without computing it.

    Args:
        model: The network.
        size: Height and width of the images in pixels.
        pools: Whether the network pools at its end, so that the map is the output of `forward_features`.
        in_chans: Channels of the images.

    Raises:
        InputError: If the network does not return a map.
    """
    skeleton = skeleton_of(model)
    with torch.no_grad(), empty_image(skeleton, size, in_chans) as image:
        output = skeleton.forward_features(image) if pools else skeleton(image)
    shape = output.shape if isinstance(output, Tensor) else None
    view = None
    if shape is not None and len(shape) == 4 and not has_channels_last(model):
        view = view_of(shape, None, None)
    elif shape is not None and len(shape) > 2:
        _, *grid = reported_maps(model, size, in_chans)[stage_indices(model)[-1]]
        view = view_of(shape, None, (grid[0], grid[1]), last=True)
    if view is None:
        given = "several tensors" if shape is None else str(tuple(shape))
        raise InputError(
            f"{type(model).__name__} gives {given} and not a map (B, C, H, W) or its tokens. Use another network, for "
            "example resnet50 or vit_small_patch16_224."
        )
    return view


def map_shape(
    model: nn.Module, size: tuple[int, int], *, pools: bool = False, in_chans: int = 3
) -> tuple[int, int, int]:
    """Channels, height and width of the map that `map_view` describes."""
    view = map_view(model, size, pools=pools, in_chans=in_chans)
    return view.channels, *view.size
