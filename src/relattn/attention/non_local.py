"""Non-local attention and its simplified form, the closest competitors of RGA.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018. For every position i, over all positions j:

    y_i = sum_j f(x_i, x_j) g(x_j) / C(x)                 (1)
    f(x_i, x_j) / C(x) = softmax_j(theta(x_i)^T phi(x_j)) embedded Gaussian, (3) and (5)
    f(x_i, x_j) / C(x) = theta(x_i)^T phi(x_j) / N        dot product, (4)
    z_i = W_z y_i + x_i                                   (6), batch norm after W_z with a scale that begins at 0

Cao, Xu, Lin, Wei, Hu, "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", 2019, find that the
weights hardly depend on i and simplify to

    z_i = x_i + W_v sum_j softmax_j(W_k x_j) x_j          (3) of GCNet

Neither form stores N x N weights: the embedded Gaussian uses PyTorch's fused attention, and the dot product is computed
as theta (phi^T g), whose inner product is k x k.

`NonLocal` is the version that the RGA paper compares with: theta, phi and g have C/4 channels, and one module follows
each stage. A ResNet-50 then has the 30.6 M parameters of Table 3 (CVPR 2020); with C/2 it has 36.2 M.
`OriginalNonLocal` is the version of Wang et al. (sections 3.3 and 4.1): C/2 channels, phi and g of a max-pooled map,
and five blocks.

Deviations: as in the equations, convolutions have no biases and the softmax has no factor 1/sqrt(k); the authors' code
has both.
"""

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.arguments import check_choice, check_whole
from relattn.attention.base import Attention, Placement
from relattn.attention.rematerialisation import cheap
from relattn.errors import InputError

Kind = Literal["embedded_gaussian", "dot_product"]


class NonLocal(Attention):
    """Non-local block: adds to every position a weighted sum of all positions.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`, any H and W. Begins as the identity. Records `weights` `(B, HW, M)`: the
    weight of each of the M positions of the (subsampled) map for each position, in raster order.

    Cite: Wang et al., "Non-local Neural Networks", CVPR 2018.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int] | None = None,
        inner: int | None = None,
        kind: Kind = "embedded_gaussian",
        subsample: int = 1,
    ) -> None:
        """Build the embeddings.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; not needed.
            inner: Channels k of theta, phi and g; by default C/4, which gives the RGA paper's number of parameters.
            kind: How two positions are compared: `"embedded_gaussian"` (softmax) or `"dot_product"`.
            subsample: Side of the max pooling before phi and g; the original saves memory with 2.

        Raises:
            InputError: If `inner` or `subsample` is below 1, `kind` is unknown, or `size` is smaller than the pooling
                window.
        """
        super().__init__(channels, size=size)
        self.inner = max(1, channels // 4) if inner is None else inner
        check_whole("NonLocal", "inner", self.inner)
        check_whole("NonLocal", "subsample", subsample)
        check_choice("NonLocal", "kind", kind, get_args(Kind))
        self.kind, self.subsample = kind, subsample
        if self.size is not None:
            self.check_size(*self.size)
        self.theta = nn.Conv2d(channels, self.inner, 1, bias=False)
        self.phi_and_g = nn.Conv2d(channels, 2 * self.inner, 1, bias=False)  # phi and g read the same input
        self.output = nn.Conv2d(self.inner, channels, 1, bias=False)  # W_z
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, inner={self.inner}, kind={self.kind!r}, subsample={self.subsample}"

    def check_size(self, height: int, width: int) -> None:
        """Raise an InputError if an input of this size is smaller than the pooling window."""
        if min(height, width) < self.subsample:
            raise InputError(
                f"NonLocal: subsample is {self.subsample}, more than the input's {height}x{width}: choose at most "
                f"{min(height, width)}."
            )

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Theta `(B, N, k)` of all positions; phi and g `(B, M, k)` of the positions left after pooling."""
        source = F.max_pool2d(x, [min(self.subsample, side) for side in x.shape[2:]]) if self.subsample > 1 else x
        phi, g = positions(self.phi_and_g(source)).chunk(2, dim=2)
        return positions(self.theta(x)), phi, g

    def weights(self, theta: Tensor, phi: Tensor) -> Tensor:
        """The weights f / C of Eq. (1), `(B, N, M)`, computed for figures only."""
        similarity = theta @ phi.mT
        return similarity.softmax(dim=2) if self.kind == "embedded_gaussian" else similarity / phi.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Add to each position of `(B, C, H, W)` the weighted sum of all positions.

        Raises:
            InputError: If `x` is smaller than the pooling window or does not have the module's channels.
        """
        self.check(x)
        self.check_size(x.shape[2], x.shape[3])
        theta, phi, g = self.embed(x)
        if self.recorder is not None:
            self.record("weights", self.weights(theta, phi))
        if self.kind == "embedded_gaussian":
            # PyTorch takes its fused kernels only for one head and rows whose values are contiguous; its fallback
            # stores the N x N weights.
            query, key, value = (part.unsqueeze(1) for part in (theta, phi, g))
            taken = F.scaled_dot_product_attention(query, key, value, scale=1.0).squeeze(1)
        else:
            taken = theta @ (phi.mT @ (g / g.shape[1]))
        taken = taken.mT.unflatten(2, x.shape[2:])
        # Recomputing costs a few per cent of the products above; storing would keep a map as large as x for the norm.
        change: Tensor = self.norm(cheap(lambda y, _: self.output(y), taken, self.output.weight, again=F.conv2d))
        return x + change.to(x.dtype)


class OriginalNonLocal(NonLocal):
    """Non-local block with the width, pooling and placement of its own paper.

    It follows every other residual block of the second and third stage, res3 and res4. In a ResNet-50 these are two and
    three blocks, the paper's five (section 4.1, Table 2c). StRA's Table 2 compares with non-local networks in "the
    network configuration in the original papers".

    Shapes and maps are those of `NonLocal`.

    Cite: Wang et al., "Non-local Neural Networks", CVPR 2018.
    """

    placement: ClassVar[Placement] = "after_block"
    stages: ClassVar[tuple[int, ...] | None] = (2, 3)
    every: ClassVar[int] = 2

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int] | None = None,
        kind: Kind = "embedded_gaussian",
        subsample: int = 2,
    ) -> None:
        """Build the embeddings with C/2 channels.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; not needed.
            kind: As in `NonLocal`.
            subsample: Side of the max pooling before phi and g; 1 for none.

        Raises:
            InputError: If `subsample` is below 1 or `kind` is unknown.
        """
        super().__init__(channels, size=size, inner=max(1, channels // 2), kind=kind, subsample=subsample)

    def check_size(self, height: int, width: int) -> None:
        """Accept any size: a side shorter than the pooling window is pooled whole."""


class SimplifiedNonLocal(Attention):
    """Simplified non-local block: one weighted mean of all positions, added to every position.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`, any H and W. Records `spatial` `(B, 1, H, W)`, which sums to 1. Begins as
    the identity, because W_v begins at zero, which suits pretrained networks; the paper does not specify this.

    Cite: Cao et al., "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCV Workshops 2019.
    """

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None) -> None:
        """Build W_k and W_v.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; not needed.
        """
        super().__init__(channels, size=size)
        self.score = nn.Conv2d(channels, 1, 1, bias=False)  # W_k; the softmax would cancel a bias
        self.value = nn.Linear(channels, channels, bias=False)  # W_v
        nn.init.zeros_(self.value.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add the transformed weighted mean to every position of `(B, C, H, W)`.

        Raises:
            InputError: If `x` is not a map with the channels that the module was built for.
        """
        self.check(x)
        weights = self.score(x).flatten(2).softmax(dim=2).to(x.dtype)
        self.record("spatial", weights.unflatten(2, x.shape[2:]))
        change: Tensor = self.value(torch.matmul(x.flatten(2), weights.mT).squeeze(2))
        return x + change.to(x.dtype)[:, :, None, None]


def positions(x: Tensor) -> Tensor:
    """The positions of `(B, k, H, W)` as rows `(B, HW, k)`; channels-last maps are not copied."""
    return x.flatten(2).mT.contiguous()
