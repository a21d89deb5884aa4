"""Attention that begins without effect and fades in: a start for trained networks. Of this suite, of no paper.

Attention that takes the place of a trained convolution (StRA, SASA) begins with random weights, so that what the
network has learnt after it is of no use at first. Here the convolution stays and learned gates, one a channel, blend:

    y = b(x) + g (A(x) - b(x))

with A the attention, b the convolution that it takes the place of, or the identity where it takes none's, and g = 0 at
the start. With g = 0 the network is the one without attention, bit for bit; with g = 1 it is the paper's. As with the
residual gates of Bachlechner et al., "ReZero is All You Need", UAI 2021, only the gates have a gradient in the first
step, and everything from the second on.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from relattn.attention.base import Attention, memory_format_of
from relattn.errors import InputError


class FadeIn(Attention):
    """Blends an attention module into what the network does without it, beginning with nothing of it.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`. Records nothing itself; the wrapped module, `attention`, records its maps.
    It belongs where the wrapped module belongs, which is the `placement` of an instance.

    Example:
        >>> FadeIn(512, attention=partial(StRA, heads=8))
    """

    def __init__(
        self, channels: int, *, size: tuple[int, int] | None = None, attention: Callable[..., Attention]
    ) -> None:
        """Build the wrapped module and the gates.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input, for the wrapped module.
            attention: What creates the wrapped module: an attention class, or a partial of one, called as
                `attention(channels, size=size)`.
        """
        super().__init__(channels, size=size)
        self.attention = attention(channels, size=self.size)
        # Where it belongs is where the module belongs that it wraps.
        self.placement = self.attention.placement  # type: ignore[misc]
        self.stages, self.every = self.attention.stages, self.attention.every  # type: ignore[misc]
        self.gate = nn.Parameter(torch.zeros(channels))  # g
        self.base: nn.Module = nn.Identity()  # b
        self.pool: nn.Module = nn.Identity()

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}"

    def take_place_of(self, convolution: nn.Conv2d) -> None:
        """Keep the convolution that attention takes the place of, as b.

        Attention keeps the size of its input. Where the convolution has a stride, average pooling over as many
        positions follows attention, as where attention replaces it for good.

        Raises:
            InputError: If the convolution does not keep the number of channels.
        """
        if not convolution.in_channels == convolution.out_channels == self.channels:
            raise InputError(
                f"FadeIn was built for {self.channels} channels and cannot take the place of a convolution from "
                f"{convolution.in_channels} to {convolution.out_channels}."
            )
        self.base = convolution
        if max(convolution.stride) > 1:
            self.pool = nn.AvgPool2d(convolution.stride, ceil_mode=True)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Blend what attention and what b make of `(B, C, H, W)`; smaller by the stride of b.

        Raises:
            InputError: If `x` is not a map with the channels, or the size, that the module was built for.
        """
        self.check(x)
        base = self.base(x)
        change = self.pool(self.attention(x)) - base
        blended: Tensor = base + self.gate.view(-1, 1, 1).to(x.dtype) * change
        return blended.to(x.dtype).contiguous(memory_format=memory_format_of(x))

    def regularization(self) -> Tensor | None:
        """Return the loss term of the wrapped module."""
        return self.attention.regularization()
