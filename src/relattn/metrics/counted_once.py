"""Images that several processes, or repeats within one, have scored more than once."""

import torch
from torch import Tensor


def first_of_each(indices: Tensor) -> tuple[Tensor, Tensor]:
    """Find each image of an evaluation set where it occurs first.

    Args:
        indices: `(N,)` int64, positions of images in the evaluation set, in any order and with repeats.

    Returns:
        The distinct positions in ascending order, and the rows of `indices` where each occurs first, both `(M,)` int64.
    """
    distinct, place = indices.unique(return_inverse=True)
    first = torch.full_like(distinct, len(indices))
    return distinct, first.scatter_reduce_(0, place, torch.arange(len(indices), device=indices.device), "amin")
