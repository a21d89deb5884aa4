"""Triplet loss with the hardest positive and negative of the batch.

Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017, Eq. 5, with Euclidean distances, as
RGA uses it (supplement, section 1).
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError


def batch_hard_triplet(
    features: Tensor, identities: Tensor, margin: float = 0.3, *, across_processes: bool = False
) -> Tensor:
    """Mean over the batch of max(0, margin + distance to the farthest positive - distance to the nearest negative).

    An image is among its own positives, at distance 0, so that identities with one image in the batch count as well.
    Distances are computed in float32, also under autocast.

    Args:
        features: (B, D).
        identities: (B,) int64.
        margin: By which the negative should be farther.
        across_processes: Whether the batch is that of all processes of a distributed run, which must have equally many
            images. The value is then that of the whole batch on each, and the gradients are such that their mean over
            the processes, which a distributed run takes, is the whole batch's.

    Returns:
        A scalar, float32.

    Raises:
        InputError: If all images are of one identity: there is no negative.
    """
    processes = dist.get_world_size() if across_processes and dist.is_initialized() else 1
    if processes > 1:
        features, identities = of_all_processes(features), of_all_processes(identities)
    same = identities[:, None] == identities
    if features.device.type == "cpu" and bool(same.all()):
        raise InputError(f"A triplet needs two identities in the batch, and all {len(identities)} images are of one.")
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        # Not through a matrix product, whose rounding is of the size of the squares; the gradient at 0 is 0.
        distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        positive = distances.where(same, 0).amax(dim=1)
        negative = distances.where(~same, torch.inf).amin(dim=1)
        loss = F.relu(margin + positive - negative).mean()
    # Each process has the gradient of its own features alone, so the mean over processes would be too small.
    return loss if processes == 1 else loss.detach() + processes * (loss - loss.detach())


class BatchHardTriplet:
    """`batch_hard_triplet` with its options, as a loss to be chosen by class path."""

    def __init__(self, margin: float = 0.3, *, across_processes: bool = False) -> None:
        """Define the loss.

        Args:
            margin: By which the negative should be farther than the positive.
            across_processes: Whether the triplets of a distributed run are made of the images of all processes, as one
                process with the whole batch has them, instead of each process's own.

        Raises:
            InputError: If the margin is negative.
        """
        if margin < 0:
            raise InputError(f"BatchHardTriplet: margin is {margin}, expected 0 or more.")
        self.margin, self.across_processes = margin, across_processes

    def __call__(self, features: Tensor, identities: Tensor) -> Tensor:
        """The loss of features `(B, D)` with identities `(B,)`."""
        return batch_hard_triplet(features, identities, self.margin, across_processes=self.across_processes)


def of_all_processes(values: Tensor) -> Tensor:
    """What all processes have, one after another, `(processes * B, ...)`; gradients flow to this process's own part."""
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.detach().contiguous())
    parts[dist.get_rank()] = values
    return torch.cat(parts)
