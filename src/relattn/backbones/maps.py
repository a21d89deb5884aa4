"""Views of features in any layout as maps `(B, C, H, W)`, which attention reads.

timm's networks return features in one of three layouts: `(B, C, H, W)`; `(B, H, W, C)`, as in Swin and MambaOut; and
tokens `(B, P + H W, C)`, row by row, as in vision transformers, where P prefix tokens (class, distillation, registers)
come first and belong to no position. Some networks return several tensors at once, one of which is the map.

Attention does not change what is outside the map: prefix tokens and other tensors.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from relattn.errors import InputError

Layout = Literal["channels_first", "channels_last", "tokens"]


@dataclass
class ImageSize:
    """Height and width of a network's images, stored by a hook, because tokens do not show the shape of their map."""

    built: tuple[int, int]
    now: tuple[int, int] = field(default=(0, 0))

    def hook(self, _module: Any, inputs: Any) -> None:
        """Store the size of images `(B, C, H, W)`, before the layer that reads them."""
        self.now = (int(inputs[0].shape[2]), int(inputs[0].shape[3]))


@dataclass
class MapView:
    """How to view the output of a module as a map.

    Attributes:
        layout: Layout of the tensor.
        channels: Channels of the map.
        size: Height and width of the map, for images of the size that the network was built for.
        prefix: Number of tokens before those of the map.
        index: Index of the map's tensor if the module returns several; None if it returns one.
        image: Size of the current images, if tokens may come from other sizes too.
    """

    layout: Layout
    channels: int
    size: tuple[int, int]
    prefix: int = 0
    index: int | None = None
    image: ImageSize | None = None

    def map_of(self, output: Any) -> Tensor:
        """The map `(B, C, H, W)` in the output of a module."""
        x: Tensor = output if self.index is None else output[self.index]
        if self.layout == "channels_last":
            return x.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            return x[:, self.prefix :].unflatten(1, self.grid(x)).permute(0, 3, 1, 2)
        return x

    def put_back(self, x: Tensor, output: Any) -> Any:
        """The output of a module, with its map replaced by `x`."""
        before = output if self.index is None else output[self.index]
        if self.layout == "channels_last":
            x = x.permute(0, 2, 3, 1).contiguous()
        elif self.layout == "tokens":
            x = x.flatten(2).transpose(1, 2)
            x = torch.cat((before[:, : self.prefix], x), dim=1) if self.prefix else x.contiguous()
        if self.index is None:
            return x
        return type(output)(x if place == self.index else part for place, part in enumerate(output))

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Height and width of the map of tokens `(B, P + H W, C)`.

        Raises:
            InputError: If the number of tokens does not fit a map for images of this size.
        """
        count, (height, width) = x.shape[1] - self.prefix, self.size
        if count == height * width:
            return height, width
        if self.image is not None and all(self.image.now):
            (now, built) = (self.image.now, self.image.built)
            height, width = (round(side * a / b) for side, a, b in zip(self.size, now, built, strict=True))
            if count == height * width:
                return height, width
        raise InputError(
            f"Attention was built for a map of {self.size[0]} x {self.size[1]} tokens after {self.prefix} prefix "
            f"tokens, but got {x.shape[1]} tokens: give images of the size that the network was built for."
        )


def view_of(
    shape: torch.Size | None,
    channels: int | None,
    size: tuple[int, int] | None,
    *,
    index: int | None = None,
    last: bool = False,
) -> MapView | None:
    """How to view a tensor as a map; None if that is not possible.

    Args:
        shape: Shape of the tensor; None if there is none.
        channels: Channels of the map; None for any.
        size: Height and width of the map; None for any, and then the tensor must be `(B, C, H, W)`.
        index: Index of the tensor, if it is one of several.
        last: Whether the network has channels last, which decides if the shape fits both layouts.
    """
    if shape is None:
        return None
    first = len(shape) == 4 and channels in (None, shape[1]) and (size is None or tuple(shape[2:]) == size)
    behind = len(shape) == 4 and size is not None and channels in (None, shape[3]) and tuple(shape[1:3]) == size
    if first and not (behind and last):
        return MapView("channels_first", shape[1], (shape[2], shape[3]), index=index)
    if size is None:
        return None
    if behind:
        return MapView("channels_last", shape[3], size, index=index)
    if len(shape) == 3 and channels in (None, shape[2]) and shape[1] >= size[0] * size[1]:
        return MapView("tokens", shape[2], size, shape[1] - size[0] * size[1], index=index)
    return None
