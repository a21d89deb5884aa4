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

    An image counts as its own positive, at distance 0, so identities with one image in the batch count as well.
    Distances are computed in float32, even under autocast.

    Args:
        features: `(B, D)`.
        identities: `(B,)` int64.
        margin: How much farther the negative should be than the positive.
        across_processes: Whether the batch is that of all processes of a distributed run, which must have the same
            number of images. Every process then returns the loss of the whole batch, and the gradients are scaled so
            that their mean over the processes, which a distributed run computes, is the gradient of the whole batch.

    Returns:
        A scalar, float32.

    Raises:
        InputError: If the shapes differ from these, or all images have the same identity, so that there is no negative
            (the latter is checked on CPUs only).
    """
    if identities.shape != features.shape[:1]:
        raise InputError(
            f"batch_hard_triplet: identities have the shape {tuple(identities.shape)} and features "
            f"{tuple(features.shape)}, expected (B,) and (B, D)."
        )
    processes = dist.get_world_size() if across_processes and dist.is_initialized() else 1
    if processes > 1:
        features, identities = of_all_processes(features), of_all_processes(identities)
    same = identities[:, None] == identities
    if features.device.type == "cpu" and bool(same.all()):
        raise InputError(
            f"A triplet needs two identities in the batch, and all {len(identities)} images are of one: use "
            "--data.images_per_identity, or a larger --data.batch_size."
        )
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        # Without a matrix product, whose rounding error grows with the squared norms; the gradient at 0 is 0.
        distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        positive = distances.where(same, 0).amax(dim=1)
        negative = distances.where(~same, torch.inf).amin(dim=1)
        loss = F.relu(margin + positive - negative).mean()
    # Each process has only the gradient of its own features, so the mean over the processes would be too small.
    return loss if processes == 1 else loss.detach() + processes * (loss - loss.detach())


class BatchHardTriplet:
    """`batch_hard_triplet` with its options, as a loss that recipes select by class path."""

    def __init__(self, margin: float = 0.3, *, across_processes: bool = False) -> None:
        """Define the loss.

        Args:
            margin: How much farther the negative should be than the positive.
            across_processes: Whether a distributed run forms triplets from the images of all processes, as a single
                process with the whole batch would, instead of only each process's own.

        Raises:
            InputError: If the margin is negative.
        """
        if margin < 0:
            raise InputError(f"BatchHardTriplet: margin is {margin}, expected 0 or more.")
        self.margin, self.across_processes = margin, across_processes

    def __call__(self, features: Tensor, identities: Tensor) -> Tensor:
        """The scalar loss of features `(B, D)` with identities `(B,)`."""
        return batch_hard_triplet(features, identities, self.margin, across_processes=self.across_processes)


def of_all_processes(values: Tensor) -> Tensor:
    """The values of all processes, concatenated, `(processes * B, ...)`; gradients flow to this process's part only."""
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.detach().contiguous())
    parts[dist.get_rank()] = values
    return torch.cat(parts)
