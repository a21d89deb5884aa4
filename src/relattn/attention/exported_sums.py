"""The sums of `shifts`, written with operations that exporters and transforms support: pad, gather, multiply, sum.

`shifts` writes into views of its own memory at offsets computed from the size of the map, which an exported graph for
images of any size cannot express. This module copies the K x K neighbours instead, as `F.unfold` does. It needs more
memory and gives the same result up to rounding. A few operations handle all neighbours at once, so the graph is
exported and loaded in a fraction of the time that a graph with one operation per neighbour takes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.attention.rematerialisation import is_transformed


def are_needed() -> bool:
    """Whether only ordinary operations work: in an export or a trace, and under function transforms such as `vmap`."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined]
    return torch.compiler.is_exporting() or traced or is_transformed()


def neighbours(maps: Tensor, kernel: int) -> Tensor:
    """Gather the K x K neighbours of every position of `(..., H, W)`, in raster order: `(..., K K, H, W)`.

    Neighbours outside the map are zero.
    """
    padded = F.pad(maps, [kernel // 2] * 4)
    for dim, length in ((-2, maps.shape[-2]), (-1, maps.shape[-1])):
        offsets = torch.arange(kernel, device=maps.device)
        places = offsets[:, None] + torch.arange(length, device=maps.device)  # (K, length)
        padded = padded.index_select(dim, places.flatten()).unflatten(dim, (kernel, length))
        # Now (..., K, H, W + 2 margin); after the second pass (..., K, H, K, W).
    return padded.transpose(-3, -2).flatten(-4, -3)


def weighted_sum(values: Tensor, weights: Tensor, kernel: int) -> Tensor:
    """s_i = sum_j a_ij u_j for values `(B, G, n, H, W)` and weights `(B, G, K K, H, W)`: `(B, G, n, H, W)`."""
    return (neighbours(values, kernel) * weights.unsqueeze(2)).sum(dim=3)


def comparison(queries: Tensor, keys: Tensor, kernel: int) -> Tensor:
    """e_ij = <q_i, k_j> for `(B, G, n, H, W)` each: `(B, G, K K, H, W)`."""
    return (queries.unsqueeze(3) * neighbours(keys, kernel)).sum(dim=2)
