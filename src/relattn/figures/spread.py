"""How far apart maps are: whether relations follow their target, and whether heads see different things."""

import torch
from torch import Tensor


def spread(maps: Tensor) -> Tensor:
    """Mean cosine distance, 1 - cos, of all pairs of different maps.

    Cao et al., "GCNet", 2019, section 3.2, measure so that the weights of non-local blocks do not depend on the target;
    their number is half of this one's, with a map's pairs with itself counted in.

    Args:
        maps: (..., N, M): N maps of M values.

    Returns:
        (...): 0 if all maps are one but for their scale; 1 if no two have anything in common; for maps without negative
        values that is the most. Maps that are 0 everywhere have no direction and are left out; NaN where fewer than two
        are left.
    """
    maps = maps.double()
    lengths = maps.norm(dim=-1, keepdim=True)
    # With u the maps brought to length 1, the sum of all <u_i, u_j> is |sum of u|^2, and no pair has to be looked at.
    units = torch.where(lengths > 0, maps / lengths.clamp(min=1e-300), 0.0)
    count = (lengths > 0).sum(dim=(-2, -1)).double()
    together = units.sum(dim=-2).square().sum(dim=-1) - count
    # Rounding may leave a little below 0, where all maps are one.
    return (1 - together / (count * (count - 1))).clamp(min=0)
