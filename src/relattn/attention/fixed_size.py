"""Attention with size-dependent weights, for inputs of any size.

Zhang et al., arXiv 1904.02998, section 4.2: "We adopt RoIAlign to pool the arbitrary sized spatial features to a fixed
sized feature map to solve the varied sizes problem" (Cityscapes: crops of 769x769 in training, images of 1024x2048 in
testing). The whole map is one region. RoIAlign is from He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017.

    p = RoIAlign(x, grid)                             h x w
    y = x + resize(A(p) - p)     "modulation"         H x W, resize is bilinear
    y = resize(A(p))             "features"

The paper states neither the grid nor how the attended map is resized to "the original features", with which it is
concatenated. `"features"` is the literal reading, for a head that concatenates. It loses all detail finer than the
grid, so everywhere else use `"modulation"`, the default: only the change made by attention passes through the grid. If
the input has the size of the grid, both are exactly A(x).
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.attention.arguments import check_choice
from relattn.attention.base import Attention, height_and_width, memory_format_of

Restore = Literal["modulation", "features"]


class FixedSize(Attention):
    """Runs an attention module on a grid of fixed size and resizes its effect to the size of the input.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`, any H and W, which may differ between calls. Records nothing itself; the
    wrapped module, `attention`, records the maps of its grid.

    Example:
        >>> FixedSize(512, grid=(48, 48), attention=partial(RGA, mode="spatial_channel"))

    Cite: Zhang et al., "Relation-Aware Global Attention", arXiv 1904.02998, section 4.2.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int] | None = None,
        grid: tuple[int, int],
        attention: Callable[..., Attention],
        restore: Restore = "modulation",
    ) -> None:
        """Build the wrapped module for the grid.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; not needed.
            grid: Height h and width w of the map that the wrapped module sees.
            attention: Factory of the wrapped module: an attention class or a partial of one, called as
                `attention(channels, size=grid)`.
            restore: What is resized to the input: the `"modulation"` A(p) - p, which is added to the input, or the
                attended `"features"` A(p), which replace it.

        Raises:
            InputError: If `grid` is not positive or `restore` is unknown.
        """
        super().__init__(channels, size=size)
        # Imported here because importing torchvision takes seconds.
        from torchvision.ops import roi_align  # type: ignore[import-untyped]

        check_choice("FixedSize", "restore", restore, ("modulation", "features"))
        self.grid = height_and_width("FixedSize: grid", grid)
        self.restore, self.align = restore, roi_align
        self.attention = attention(channels, size=self.grid)

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, grid={self.grid}, restore={self.restore!r}"

    def pool(self, x: Tensor) -> Tensor:
        """Apply RoIAlign to the whole of each map: `(B, C, H, W)` to `(B, C, h, w)`.

        Every cell averages as many samples as it has pixels (rounded up), so that no pixel is left out.
        """
        batch, _, height, width = x.shape
        # Half precision cannot hold the coordinates of samples on large maps.
        precise = x if x.dtype == torch.float64 else x.float()
        # Made from the sizes by tensor operations, not from their values, so that a graph for any size can be traced.
        corners = [precise.new_full((batch,), side) for side in (0, 0, width, height)]
        images = torch.arange(batch, device=x.device, dtype=precise.dtype)
        pooled: Tensor = self.align(precise, torch.stack([images, *corners], dim=1), self.grid, aligned=True)
        return pooled.to(x.dtype).contiguous(memory_format=memory_format_of(x))

    def forward(self, x: Tensor) -> Tensor:
        """Attend to `(B, C, H, W)` on the grid.

        Raises:
            InputError: If `x` is not a map with the channels that the module was built for.
        """
        self.check(x)
        # A graph for any size cannot branch on the size; pooling a map to its own size returns the map.
        if not torch.compiler.is_exporting() and tuple(x.shape[2:]) == self.grid:
            attended: Tensor = self.attention(x)
            return attended
        pooled = self.pool(x)
        attended = self.attention(pooled)
        if self.restore == "features":
            return resize(attended, x)
        return x + resize(attended - pooled, x)

    def regularization(self) -> Tensor | None:
        """Return the loss term of the wrapped module."""
        return self.attention.regularization()


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Resize `(B, C, h, w)` to the height and width of `like`, treating pixels as areas, as RoIAlign does."""
    resized = F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
    return resized.contiguous(memory_format=memory_format_of(like))
