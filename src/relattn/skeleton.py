"""Copies of networks without weights, which are called for their shapes and graphs alone."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

COMPUTED = ("MultiScaleVit",)
"""Networks that look up relative positions by index, which the meta device does not check against their tables."""


def skeleton_of(network: nn.Module) -> Any:
    """A copy of a network in evaluation mode, on the meta device, where nothing is computed.

    Networks of `COMPUTED` are copied to the CPU, with weights of arbitrary values.
    """
    # Weights are given as copied already, so that none is.
    copied: dict[int, Any] = {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    for weight in network.parameters():
        copied[id(weight)] = nn.Parameter(torch.empty_like(weight, device="meta"), weight.requires_grad)
    skeleton = copy.deepcopy(network, copied).eval()
    return skeleton.to_empty(device="cpu") if type(network).__name__ in COMPUTED else skeleton


@contextmanager
def empty_image(skeleton: nn.Module, size: tuple[int, int], in_chans: int = 3) -> Iterator[Tensor]:
    """An image `(1, in_chans, H, W)` without values; inside, new tensors are made on the skeleton's device.

    Args:
        skeleton: A network as from `skeleton_of`.
        size: Height and width of the image in pixels.
        in_chans: Channels of the image.
    """
    with next((weight.device for weight in skeleton.parameters()), torch.device("meta")):
        yield torch.empty(1, in_chans, *size)


__all__ = ["empty_image", "skeleton_of"]
