"""The contract every attention module of the suite keeps.

An attention module maps `(B, C, H, W)` to `(B, C, H, W)` with the dtype, device and memory format of its input.
Its first positional argument is the number of channels; everything else is keyword-only.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from relattn.attention.recompute import recomputed
from relattn.errors import InputError

Placement = Literal["stage", "block", "convolution"]


class Attention(nn.Module):
    """Base of all attention modules.

    A subclass implements `forward`, may record maps with `record`, and may return a loss term of its own from
    `regularization`.

    Attributes:
        placement: Where the module belongs by default: after a `"stage"`, inside each residual `"block"`, or in place
            of a block's spatial `"convolution"`.
        recompute: Whether training computes the module again in the backward pass, in place of keeping its maps.
    """

    placement: ClassVar[Placement] = "stage"
    recompute: bool = False

    def __call__(self, x: Tensor) -> Any:
        """Call the module, on `(B, C, H, W)`."""
        if self.recompute and self.training and torch.is_grad_enabled():
            return recomputed(self, super().__call__, x)
        return super().__call__(x)

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None) -> None:
        """Check and keep what every module shares.

        Args:
            channels: Channels of the input and of the output.
            size: Height and width of the input, for modules whose weights depend on it.

        Raises:
            InputError: If `channels` or `size` is not positive.
        """
        super().__init__()
        if channels < 1:
            raise InputError(f"{type(self).__name__}: channels is {channels}, expected at least 1.")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise InputError(f"{type(self).__name__}: size is {size}, expected (height, width), both at least 1.")
        self.channels = channels
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.recorder: dict[str, Tensor] | None = None

    def check(self, x: Tensor, size: tuple[int, int] | None = None) -> None:
        """Raise an InputError unless `x` is what the module was built for.

        Args:
            x: The input, which must be `(B, C, H, W)` with the module's C.
            size: The only H and W that the module can take; None if it takes any.
        """
        if x.ndim != 4 or x.shape[1] != self.channels or (size is not None and tuple(x.shape[2:]) != size):
            height, width = size or ("H", "W")
            raise InputError(
                f"{type(self).__name__} was built for inputs (B, {self.channels}, {height}, {width}) and got "
                f"{tuple(x.shape)}: build it with the {'channels' if size is None else 'channels and size'} of the "
                "features it follows."
            )

    def record(self, name: str, value: Tensor) -> None:
        """Hand a map to `relattn.figures.capture`; outside of a capture this does nothing and keeps nothing."""
        if self.recorder is not None:
            self.recorder[name] = value.detach()

    def regularization(self) -> Tensor | None:
        """Return the module's own loss term of its last forward pass, a scalar, or None if it has none."""
        return None


def outermost(module: nn.Module) -> list[Attention]:
    """The attention modules of a network that are not parts of another attention module."""
    if isinstance(module, Attention):
        return [module]
    return [attention for child in module.children() for attention in outermost(child)]


def memory_format_of(x: Tensor) -> torch.memory_format:
    """The format to give to what is made from a map: channels-last only where the map is that and nothing else."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
