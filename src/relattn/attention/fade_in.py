"""Attention that begins without effect and fades in, for trained networks; a method of this suite, not of a paper.

When attention replaces a trained convolution (StRA, SASA), its weights are random, so at first the trained layers after
it are of no use. Here the convolution stays, and learned gates, one per channel, blend the two:

    y = b(x) + g (A(x) - b(x))

where A is the attention, b the convolution that it replaces (or the identity if it replaces none), and g = 0 at the
start. With g = 0 the network equals the one without attention, bit for bit; with g = 1 it equals the paper's. As with
the residual gates of Bachlechner et al., "ReZero is All You Need", UAI 2021, only the gates have a gradient in the
first step; from the second step on, everything has.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from relattn.attention.base import Attention, memory_format_of
from relattn.errors import InputError


class FadeIn(Attention):
    """Blends an attention module with what the network computes without it, starting without any attention.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`. Records nothing itself; the wrapped module, `attention`, records its maps.
    An instance has the `placement` of the wrapped module.

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
            attention: Factory of the wrapped module: an attention class or a partial of one, called as
                `attention(channels, size=size)`.
        """
        super().__init__(channels, size=size)
        self.attention = attention(channels, size=self.size)
        # FadeIn goes where the wrapped module goes.
        self.placement = self.attention.placement  # type: ignore[misc]
        self.stages, self.every = self.attention.stages, self.attention.every  # type: ignore[misc]
        self.gate = nn.Parameter(torch.zeros(channels))  # g
        self.base: nn.Module = nn.Identity()  # b
        self.pool: nn.Module = nn.Identity()

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}"

    def take_place_of(self, convolution: nn.Conv2d) -> None:
        """Keep the convolution that attention replaces, as b.

        Attention keeps the size of its input. If the convolution has a stride, average pooling with that stride follows
        attention, as it does where attention replaces the convolution for good.

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
        """Blend the outputs of attention and of b for `(B, C, H, W)`; the map shrinks by the stride of b.

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
