"""A measure of how far apart maps are: whether relations depend on their target, and whether heads differ."""

import torch
from torch import Tensor


def spread(maps: Tensor) -> Tensor:
    """Mean cosine distance, 1 - cos, over all pairs of different maps.

    Cao et al., "GCNet", 2019, section 3.2, measure in this way that the weights of non-local blocks do not depend on
    the target; their number is half of this one, and includes the pairs of a map with itself.

    Args:
        maps: `(..., N, M)`: N maps of M values.

    Returns:
        `(...)`: 0 if all maps are the same up to scale; 1 if all are orthogonal, which is the maximum for maps without
        negative values. Maps that are 0 everywhere have no direction and are left out; NaN if fewer than two are left.
    """
    maps = maps.double()
    lengths = maps.norm(dim=-1, keepdim=True)
    # With u the maps scaled to length 1, the sum of all <u_i, u_j> is |sum of u|^2, so pairs need not be enumerated.
    units = torch.where(lengths > 0, maps / lengths.clamp(min=1e-300), 0.0)
    count = (lengths > 0).sum(dim=(-2, -1)).double()
    together = units.sum(dim=-2).square().sum(dim=-1) - count
    # Rounding may give values slightly below 0 if all maps are the same.
    return (1 - together / (count * (count - 1))).clamp(min=0)
