"""The sums of `shifts` in operations that every exporter knows: padding, gathering, products and sums.

`shifts` writes into views of its own memory, at places computed from the size, which no graph for images of any size
can hold. Here the K x K neighbours are copied, as `F.unfold` does it: more memory, and the same up to rounding. A few
operations on all neighbours also make a graph that is made and loaded in a fraction of the time that one with an
operation for each of them takes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def neighbours(maps: Tensor, kernel: int) -> Tensor:
    """What every position of `(..., H, W)` finds at each of its K x K neighbours, in raster order: `(..., K K, H, W)`.

    Outside of the map there are zeros.
    """
    padded = F.pad(maps, [kernel // 2] * 4)
    for dim, length in ((-2, maps.shape[-2]), (-1, maps.shape[-1])):
        offsets = torch.arange(kernel, device=maps.device)
        places = offsets[:, None] + torch.arange(length, device=maps.device)  # (K, length)
        padded = padded.index_select(dim, places.flatten()).unflatten(dim, (kernel, length))
        # Now (..., K, H, W + 2 margin), and the second time (..., K, H, K, W).
    return padded.transpose(-3, -2).flatten(-4, -3)


def weighted_sum(values: Tensor, weights: Tensor, kernel: int) -> Tensor:
    """s_i = sum_j a_ij u_j for values `(B, G, n, H, W)` and weights `(B, G, K K, H, W)`: `(B, G, n, H, W)`."""
    return (neighbours(values, kernel) * weights.unsqueeze(2)).sum(dim=3)


def comparison(queries: Tensor, keys: Tensor, kernel: int) -> Tensor:
    """e_ij = <q_i, k_j> for `(B, G, n, H, W)` each: `(B, G, K K, H, W)`."""
    return (queries.unsqueeze(3) * neighbours(keys, kernel)).sum(dim=2)
