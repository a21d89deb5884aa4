"""Features of any layout seen as maps `(B, C, H, W)`, which is what attention reads.

timm's networks hand features on in one of three layouts: `(B, C, H, W)`; `(B, H, W, C)`, as Swin and MambaOut do; and
tokens `(B, P + H W, C)`, row by row, as vision transformers do, where P prefix tokens (class, distillation, registers)
come first and belong to no position. Some networks hand on several tensors at once, one of which is the map.

What a view leaves out of the map, the prefix tokens and the other tensors, passes attention by unchanged.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from relattn.errors import InputError

Layout = Literal["channels_first", "channels_last", "tokens"]


@dataclass
class ImageSize:
    """Height and width of the images that a network sees, kept by a hook: tokens do not tell the shape of their map."""

    built: tuple[int, int]
    now: tuple[int, int] = field(default=(0, 0))

    def hook(self, _module: Any, inputs: Any) -> None:
        """Keep the size of images `(B, C, H, W)`, before the layer that reads them."""
        self.now = (int(inputs[0].shape[2]), int(inputs[0].shape[3]))


@dataclass
class MapView:
    """How what a module gives is seen as a map.

    Attributes:
        layout: Of the tensor.
        channels: Of the map.
        size: Its height and width, for images of the size that the network was built for.
        prefix: Tokens before those of the map.
        index: Which of several tensors it is; None where the module gives one.
        image: The size of the images, where tokens are seen at other sizes too.
    """

    layout: Layout
    channels: int
    size: tuple[int, int]
    prefix: int = 0
    index: int | None = None
    image: ImageSize | None = None

    def map_of(self, output: Any) -> Tensor:
        """The map `(B, C, H, W)` in what a module gives."""
        x: Tensor = output if self.index is None else output[self.index]
        if self.layout == "channels_last":
            return x.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            return x[:, self.prefix :].unflatten(1, self.grid(x)).permute(0, 3, 1, 2)
        return x

    def put_back(self, x: Tensor, output: Any) -> Any:
        """What a module gives, with its map replaced by `x`."""
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
            InputError: If their number is not that of a map of images of this size.
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
            f"Attention was built for {self.size[0]} x {self.size[1]} tokens after {self.prefix} of another kind, and "
            f"got {x.shape[1]} that make no such map: give images of the size that the network was built for."
        )


def view_of(
    shape: torch.Size | None,
    channels: int | None,
    size: tuple[int, int] | None,
    *,
    index: int | None = None,
    last: bool = False,
) -> MapView | None:
    """How a tensor is seen as a map; None if it cannot be.

    Args:
        shape: Of the tensor; None where there is none.
        channels: Of the map; None if any.
        size: Height and width of the map; None if any, and then the tensor must be `(B, C, H, W)`.
        index: Which of several tensors it is.
        last: Whether the network has its channels last; only a cube can be seen both ways.
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
