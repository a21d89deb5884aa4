"""Stand-alone self-attention (SASA): self-attention over the K x K neighbourhood, in place of a 3x3 convolution.

Ramachandran, Parmar, Vaswani, Bello, Levskaya, Shlens, "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019;
Eq. (3) of "Structure-Regularized Attention Networks", which compares with it:

    s_i = sum_j softmax_j(<q_i, k_j> + <q_i, r_{j-i}>) u_j,   j in the K x K neighbourhood of i

for each of G heads. q, k and u are 1x1 convolutions. r is a learned vector for each of the K x K offsets; one half of
it depends on the row and the other on the column. Neighbours outside the map have zero keys and values but still count
in the softmax, as with the zero padding of a convolution.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from relattn.attention.base import Attention, Placement, memory_format_of
from relattn.attention.rematerialisation import cheap
from relattn.attention.shifts import Neighbourhood, check_heads
from relattn.errors import InputError


class SASA(Attention):
    """Stand-alone self-attention.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`, any H and W. Records `affinity`, `(B, G, K K, H, W)`: the weights of each
    position's neighbours.

    Cite: Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019.
    """

    placement: ClassVar[Placement] = "convolution"

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None, heads: int = 8, kernel: int = 7) -> None:
        """Build the three convolutions and the embedding of relative positions.

        Args:
            channels: Channels C of the input; C / `heads` must be even.
            size: Height and width of the input; no weight depends on it.
            heads: G; 8 in the paper.
            kernel: K, size of the neighbourhood: 7 in the paper, or another odd number.

        Raises:
            InputError: If `heads` does not divide `channels` into even parts, or `kernel` is even or below 3.
        """
        super().__init__(channels, size=size)
        check_heads("SASA", channels, heads)
        depth = channels // heads
        if depth % 2:
            raise InputError(
                f"SASA: {channels} channels and {heads} heads give {depth} channels per head, and half of them are for "
                "rows and half for columns: choose heads so that the number is even."
            )
        self.heads = heads
        self.embed = nn.Conv2d(channels, 3 * channels, 1, bias=False)  # queries, keys and values in one
        self.neighbourhood = Neighbourhood(kernel, heads)
        # r, a row half and a column half. The paper gives no initialisation; this one gives logits of order one.
        self.rows = nn.Parameter(depth**-0.5 * torch.randn(heads, kernel, depth // 2))
        self.columns = nn.Parameter(depth**-0.5 * torch.randn(heads, kernel, depth // 2))

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, heads={self.heads}"

    def positions(self, queries: Tensor) -> Tensor:
        """<q_i, r_{j-i}> of queries `(B, C, H, W)`: `(B, G, K K, H, W)`."""
        halves = cheap(torch.Tensor.contiguous, queries).flatten(2).unflatten(1, (self.heads, 2, -1))
        row, column = self.rows @ halves[:, :, 0], self.columns @ halves[:, :, 1]  # (B, G, K, N)
        return (row.unsqueeze(3) + column.unsqueeze(2)).flatten(2, 3).unflatten(3, queries.shape[2:])

    def forward(self, x: Tensor) -> Tensor:
        """Attend to `(B, C, H, W)`.

        Raises:
            InputError: If `x` is not a map with the channels that the module was built for.
        """
        self.check(x)
        queries, keys, values = self.embed(x).chunk(3, dim=1)
        logits = self.neighbourhood.compare(queries, keys) + self.positions(queries)
        affinity = logits.softmax(dim=2)
        self.record("affinity", affinity)
        total = self.neighbourhood.weighted_sum(values, affinity).to(x.dtype)
        return total.contiguous(memory_format=memory_format_of(x))
