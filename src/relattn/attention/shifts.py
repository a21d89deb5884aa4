"""Sums over the K x K neighbourhood of every position, without unfolding the features into K x K copies.

Local attention (StRA, Eq. 4) and stand-alone self-attention (SASA; Eq. 3 of the StRA paper) need two of them, for each
head with features `x` of C' channels, and with j = i + (dy, dx) over the neighbourhood of position i:

    weighted sum    s_i = sum_j a_ij u_j
    comparison      e_ij = <q_i, k_j>

The gradients of both are sums of the same three kinds (`gather`, `correlate`, `scatter`), so two short
`torch.autograd.Function`s, which save only their inputs, cover both. `F.unfold` would instead save K x K copies of the
features for the backward pass.

Outside the map every feature is zero (zero padding, as in a convolution and `F.unfold`); such neighbours still count
among the K x K of a position.

There are two ways to compute a sum, chosen by size (`Window.banded`):

- *shifted*: maps are laid out row by row with r = (K - 1) / 2 zeros between rows, which serve as the right margin of
  one row and the left margin of the next. Each neighbour is then a fixed number of elements away, and a sum is K x K
  multiply-adds of long contiguous stretches. Always possible; accumulates half precision in single precision.
- *banded*: the weights of a head are written as a banded (N x padded N) matrix with K x K entries per row, and a sum is
  one batched matrix product. It multiplies many zeros but is faster for small maps and large neighbourhoods.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from relattn.attention import exported_sums
from relattn.attention.arguments import check_odd, check_whole
from relattn.errors import InputError

BANDED_UP_TO = {"cpu": 10, "elsewhere": 32}
"""The banded form is used up to this many padded positions for each of the K x K neighbours.

Measured on a CPU, where both forms take equally long at about 10 (one thread, 64 channels per head); elsewhere an
estimate from the number of kernels and bytes."""


class Window(NamedTuple):
    """The neighbourhood of size K x K on a map `height` x `width`, padded as described above."""

    kernel: int
    height: int
    width: int

    @property
    def margin(self) -> int:
        """Rows and columns of zeros around the map, (K - 1) / 2."""
        return self.kernel // 2

    @property
    def pitch(self) -> int:
        """Elements from the start of a row to the start of the next."""
        return self.width + self.margin

    @property
    def length(self) -> int:
        """Elements of a padded map."""
        return (self.height + 2 * self.margin) * self.pitch + 2 * self.margin

    @property
    def offsets(self) -> list[int]:
        """The distance of each neighbour from the first one in a padded map, in raster order."""
        return [row * self.pitch + column for row in range(self.kernel) for column in range(self.kernel)]

    def banded(self, maps: Tensor) -> bool:
        """Whether to use the banded form for maps `(B, G, C', ...)`: never if it exceeds an unfolded copy."""
        limit = BANDED_UP_TO["cpu" if maps.device.type == "cpu" else "elsewhere"]
        return self.width > self.margin and self.length <= min(limit, maps.shape[2]) * self.kernel**2

    def inner(self, padded: Tensor) -> Tensor:
        """View the map inside a padded one, `(B, G, C', length)` as `(B, G, C', H, W)`."""
        start = self.margin * self.pitch
        rows = padded[..., start : start + self.height * self.pitch].unflatten(-1, (self.height, self.pitch))
        return rows[..., self.margin :]

    def pad(self, maps: Tensor) -> Tensor:
        """Copy maps `(B, G, C', H, W)`, in any memory format, to padded ones, `(B, G, C', length)`."""
        padded = maps.new_zeros(*maps.shape[:3], self.length)
        self.inner(padded).copy_(maps)
        return padded

    def widen(self, maps: Tensor) -> Tensor:
        """Copy maps `(B, G, C', H, W)` to rows at the pitch of padded ones, `(B, G, C', H pitch)`."""
        rows = maps.new_empty(*maps.shape[:4], self.pitch)
        rows[..., self.width :] = 0
        rows[..., : self.width] = maps
        return rows.flatten(3)

    def narrow(self, rows: Tensor) -> Tensor:
        """Drop what `widen` added."""
        return rows.unflatten(-1, (self.height, self.pitch))[..., : self.width]

    def band(self, matrix: Tensor) -> Tensor:
        """View the entries of a matrix `(B, G, N, length)` that connect neighbours, `(B, G, H, W, K, K)`."""
        row, pitch = self.length, self.pitch
        strides = (*matrix.stride()[:2], self.width * row + pitch, row + 1, pitch, 1)
        return matrix.as_strided((*matrix.shape[:2], self.height, self.width, self.kernel, self.kernel), strides)

    def matrix(self, weights: Tensor) -> Tensor:
        """Write weights `(B, G, K K, H, W)` as a matrix from positions to padded positions, `(B, G, N, length)`."""
        matrix = weights.new_zeros(*weights.shape[:2], self.height * self.width, self.length)
        self.band(matrix).copy_(weights.unflatten(2, (self.kernel, self.kernel)).permute(0, 1, 4, 5, 2, 3))
        return matrix


def single(x: Tensor) -> Tensor:
    """Convert half precision to single precision, for sums; leave other precisions as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def gather(padded: Tensor, weights: Tensor, window: Window) -> Tensor:
    """Compute for every position the weighted sum of its neighbours.

    Args:
        padded: Features `(B, G, C', length)`.
        weights: `(B, G, K K, H, W)`, neighbours in raster order.
        window: The neighbourhood.

    Returns:
        `(B, G, C', H, W)`.
    """
    if window.banded(padded):
        product = padded @ window.matrix(weights).mT
        return product.unflatten(-1, (window.height, window.width)).to(padded.dtype)
    values, rows = single(padded), window.widen(single(weights))
    total = values[..., : rows.shape[-1]] * rows[:, :, :1]  # the first neighbour has offset 0
    for index, offset in enumerate(window.offsets[1:], start=1):
        total.addcmul_(values[..., offset : offset + rows.shape[-1]], rows[:, :, index : index + 1])
    return window.narrow(total).to(padded.dtype).contiguous()


def scatter(maps: Tensor, weights: Tensor, window: Window) -> Tensor:
    """Add every position's weighted feature to its neighbours: the transpose of `gather`.

    Args:
        maps: `(B, G, C', H, W)`.
        weights: `(B, G, K K, H, W)`.
        window: The neighbourhood.

    Returns:
        `(B, G, C', H, W)`.
    """
    if window.banded(maps):
        return window.inner((maps.flatten(3) @ window.matrix(weights)).to(maps.dtype)).contiguous()
    values, rows = window.widen(single(maps)), window.widen(single(weights))
    total = values.new_zeros(*values.shape[:3], window.length)
    for index, offset in enumerate(window.offsets):
        total[..., offset : offset + rows.shape[-1]].addcmul_(values, rows[:, :, index : index + 1])
    return window.inner(total).to(maps.dtype).contiguous()


def correlate(maps: Tensor, padded: Tensor, window: Window) -> Tensor:
    """Compute for every position the scalar products of its feature with those of its neighbours.

    Args:
        maps: `(B, G, C', H, W)`.
        padded: Features of the neighbours, `(B, G, C', length)`.
        window: The neighbourhood.

    Returns:
        `(B, G, K K, H, W)`.
    """
    if window.banded(padded):
        products = window.band((maps.flatten(3).mT @ padded).to(maps.dtype))
        return products.permute(0, 1, 4, 5, 2, 3).flatten(2, 3)
    rows, values = window.widen(single(maps)), single(padded)
    products = rows.new_empty(*rows.shape[:2], window.kernel**2, rows.shape[-1])
    buffer = torch.empty_like(rows)  # shared by all neighbours: on a CPU fresh memory costs more than the products
    for index, offset in enumerate(window.offsets):
        neighbours = values[..., offset : offset + rows.shape[-1]]
        # The gradient of a gradient needs every product, which the buffer does not keep.
        product = rows * neighbours if torch.is_grad_enabled() else torch.mul(rows, neighbours, out=buffer)
        products[:, :, index] = product.sum(dim=2)
    return window.narrow(products).to(maps.dtype)


class WeightedSum(torch.autograd.Function):
    """s_i = sum_j a_ij u_j; keeps `values` and `weights`."""

    @staticmethod
    def forward(values: Tensor, weights: Tensor, window: Window) -> Tensor:
        return gather(window.pad(values), weights, window)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Window], output: Tensor) -> None:
        values, weights, ctx.window = inputs
        ctx.save_for_backward(values, weights)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, weights = ctx.saved_tensors
        needs_values, needs_weights, _ = ctx.needs_input_grad
        return (
            scatter(gradient, weights, ctx.window) if needs_values else None,
            correlate(gradient, ctx.window.pad(values), ctx.window) if needs_weights else None,
            None,
        )


class Comparison(torch.autograd.Function):
    """e_ij = <q_i, k_j>; keeps `queries` and `keys`."""

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, window: Window) -> Tensor:
        return correlate(queries, window.pad(keys), window)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Window], output: Tensor) -> None:
        queries, keys, ctx.window = inputs
        ctx.save_for_backward(queries, keys)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        queries, keys = ctx.saved_tensors
        needs_queries, needs_keys, _ = ctx.needs_input_grad
        return (
            gather(ctx.window.pad(keys), gradient, ctx.window) if needs_queries else None,
            scatter(queries, gradient, ctx.window) if needs_keys else None,
            None,
        )


class Neighbourhood(nn.Module):
    """The two sums over the K x K neighbourhood of every position, for G heads; it has no weights."""

    def __init__(self, kernel: int, heads: int) -> None:
        """Keep the size of the neighbourhood.

        Args:
            kernel: K, odd and at least 3.
            heads: G, groups of channels, each with its own weights.

        Raises:
            InputError: If `kernel` is even or below 3, or `heads` is below 1.
        """
        super().__init__()
        check_odd("Neighbourhood", "kernel", kernel, least=3)
        check_whole("Neighbourhood", "heads", heads)
        self.kernel, self.heads = kernel, heads

    def extra_repr(self) -> str:
        """Show the size."""
        return f"kernel={self.kernel}, heads={self.heads}"

    def split(self, x: Tensor) -> Tensor:
        """View `(B, G n, H, W)` as `(B, G, n, H, W)`."""
        return x.unflatten(1, (self.heads, -1))

    def weighted_sum(self, values: Tensor, weights: Tensor) -> Tensor:
        """Compute for every position and head the weighted sum of the neighbours.

        Args:
            values: `(B, C, H, W)` in any memory format.
            weights: `(B, G, K K, H, W)`, neighbours in raster order.

        Returns:
            `(B, C, H, W)`, contiguous, with the dtype of `values`.
        """
        if exported_sums.are_needed():
            return exported_sums.weighted_sum(self.split(values), weights, self.kernel).flatten(1, 2)
        window = Window(self.kernel, *values.shape[2:])
        total: Tensor = WeightedSum.apply(self.split(values), weights.to(values.dtype), window)
        return total.flatten(1, 2)

    def compare(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Compute for every position and head the scalar products of its query with the keys of its neighbours.

        Args:
            queries: `(B, C, H, W)` in any memory format.
            keys: `(B, C, H, W)`, likewise.

        Returns:
            `(B, G, K K, H, W)`, neighbours in raster order.
        """
        if exported_sums.are_needed():
            return exported_sums.comparison(self.split(queries), self.split(keys), self.kernel)
        window = Window(self.kernel, *queries.shape[2:])
        products: Tensor = Comparison.apply(self.split(queries), self.split(keys), window)
        return products


def check_heads(name: str, channels: int, heads: int) -> None:
    """Raise an InputError unless `heads` divides the channels of the module `name`."""
    check_whole(name, "heads", heads)
    if channels % heads:
        fits = [number for number in (1, 2, 4, 8, 16, 32, 64) if channels % number == 0]
        raise InputError(
            f"{name}: heads is {heads}, which does not divide the {channels} channels: each head has channels / heads "
            f"of them. For example {', '.join(map(str, fits))} would."
        )
