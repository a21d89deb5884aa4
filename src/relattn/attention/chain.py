"""Attention modules one after the other, as one module.

The RGA paper itself combines non-local attention with RGA-S: arXiv 1904.02998, Table 3, "our spatial RGA modules are
also integrated after the non-local blocks".
"""

from collections.abc import Callable

from torch import Tensor, nn

from relattn.attention.base import Attention
from relattn.errors import InputError


class Chain(Attention):
    """Applies attention modules in order.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`. Records nothing itself; its parts record under their own names,
    `parts.0`, `parts.1`, ...

    Example:
        >>> Chain(256, size=(64, 32), modules=[NonLocal, partial(RGA, mode="spatial")])
    """

    def __init__(
        self, channels: int, *, size: tuple[int, int] | None = None, modules: list[Callable[..., Attention]]
    ) -> None:
        """Build the parts.

        Args:
            channels: Channels C of the input, passed on to every part.
            size: Height and width of the input, passed on to every part.
            modules: Factories of the parts, in order: attention classes or partials of them, each called as
                `module(channels, size=size)`.

        Raises:
            InputError: If `modules` is empty.
        """
        super().__init__(channels, size=size)
        if not modules:
            raise InputError("Chain: modules is empty, expected at least one attention, for example [NonLocal, RGA].")
        self.parts = nn.ModuleList(module(channels, size=self.size) for module in modules)

    def forward(self, x: Tensor) -> Tensor:
        """Pass `(B, C, H, W)` through all parts."""
        for part in self.parts:
            x = part(x)
        return x

    def regularization(self) -> Tensor | None:
        """Return the sum of the loss terms of the parts, a scalar, or None if none has one."""
        terms = [part.regularization() for part in self.parts if isinstance(part, Attention)]
        found = [term for term in terms if term is not None]
        return sum(found[1:], found[0]) if found else None
