"""The contract every attention module of the suite keeps.

An attention module maps `(B, C, H, W)` to `(B, C, H, W)` with the dtype, device and memory format of its input.
Its first positional argument is the number of channels; everything else is keyword-only.
"""

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from relattn.attention.arguments import check_whole, is_whole
from relattn.attention.recompute import recomputed
from relattn.attention.rematerialisation import all_kept, can_be_rematerialised, rematerialised
from relattn.errors import InputError

Recompute = Literal["cheap", "all", "nothing"]
Placement = Literal["stage", "block", "after_block", "convolution"]


class AttentionType(type):
    """Builds every module as timm does: with `device=` and `dtype=`, in addition to the arguments of its `__init__`.

    Both apply to all parameters and buffers of the module, so no class has to pass them on to its layers.
    """

    def __call__(
        cls, *arguments: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None, **options: Any
    ) -> Any:
        """Build a module with its parameters on `device` and with `dtype`; None stands for torch's default."""
        with nullcontext() if device is None else torch.device(device):
            module = super().__call__(*arguments, **options)
        return module if dtype is None else module.to(dtype)

    @property
    def __signature__(cls) -> inspect.Signature:
        """The signature of `__init__`, which configuration parsers read."""
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # the class's `__init__`, not an instance's
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Attention(nn.Module, metaclass=AttentionType):
    """Base of all attention modules.

    A subclass implements `forward`, may record maps with `record`, and may set its own loss term in `loss_term`.

    Attributes:
        placement: Where the module goes by default: after a `"stage"`, at the end of each residual `"block"` before its
            shortcut is added, `"after_block"`, or in place of a block's spatial `"convolution"`.
        stages: The stages that the module goes into by default, from 1; None for the default of the placement.
        every: With `"after_block"`, the module follows every `every`-th block.
        recompute: What training recomputes in the backward pass instead of storing: maps that are `"cheap"` to
            compute (`rematerialisation`), `"all"` of the module (`recompute`), or `"nothing"`.
        loss_term: The loss term of the last forward pass, a scalar, or None. It holds a part of that pass's graph, so
            the next forward pass drops it, and it is neither copied nor pickled.
    """

    placement: ClassVar[Placement] = "stage"
    stages: ClassVar[tuple[int, ...] | None] = None
    every: ClassVar[int] = 1
    recompute: Recompute = "cheap"
    loss_term: Tensor | None = None

    def __call__(self, x: Tensor) -> Any:
        """Call the module on `(B, C, H, W)`."""
        self.loss_term = None
        if not self.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().__call__(x)
        if self.recompute == "all":
            return recomputed(self, super().__call__, x)
        with rematerialised() if self.recompute == "cheap" and can_be_rematerialised(x) else all_kept():
            return super().__call__(x)

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None) -> None:
        """Check and store the arguments that all modules share.

        Args:
            channels: Channels of the input and of the output.
            size: Height and width of the input, for modules whose weights depend on it.

        Raises:
            InputError: If `channels` is not a positive integer, or `size` is not a pair of them.
        """
        super().__init__()
        check_whole(type(self).__name__, "channels", channels)
        self.channels = channels
        self.size = None if size is None else height_and_width(f"{type(self).__name__}: size", size)
        self.recorder: dict[str, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to copy or pickle: without compiled code, and without the loss term of an autograd graph."""
        return {**super().__getstate__(), "loss_term": None}

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
        """Pass a map to `relattn.figures.capture`; outside a capture, do nothing."""
        if self.recorder is not None:
            self.recorder[name] = value.detach()

    def regularization(self) -> Tensor | None:
        """Return the module's own loss term of its last forward pass, a scalar, or None if it has none.

        It may be read any number of times until the next forward pass.
        """
        return self.loss_term


def outermost(module: nn.Module) -> list[Attention]:
    """The attention modules of a network that are not parts of another attention module."""
    if isinstance(module, Attention):
        return [module]
    return [attention for child in module.children() for attention in outermost(child)]


def height_and_width(name: str, value: tuple[int, int]) -> tuple[int, int]:
    """Check that the value of an argument is a (height, width) pair and return it; the error calls it `name`.

    Raises:
        InputError: If they are not two positive numbers.
    """
    pair = list(value) if isinstance(value, Sequence) else []
    if len(pair) != 2 or not all(is_whole(side) and side >= 1 for side in pair):
        raise InputError(f"{name} is {value!r}, expected (height, width), both at least 1.")
    return int(pair[0]), int(pair[1])


def memory_format_of(x: Tensor) -> torch.memory_format:
    """Return the memory format for maps made from `x`: channels-last only if `x` has that format and no other."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
