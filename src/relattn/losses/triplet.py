"""Triplet loss with the hardest positive and negative of the batch.

Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017, Eq. 5, with Euclidean distances, as
RGA uses it (supplement, section 1).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError


def batch_hard_triplet(features: Tensor, identities: Tensor, margin: float = 0.3) -> Tensor:
    """Mean over the batch of max(0, margin + distance to the farthest positive - distance to the nearest negative).

    An image is among its own positives, at distance 0, so that identities with one image in the batch count as well.
    Distances are computed in float32, also under autocast.

    Args:
        features: (B, D).
        identities: (B,) int64.
        margin: By which the negative should be farther.

    Returns:
        A scalar, float32.

    Raises:
        InputError: If all images are of one identity: there is no negative.
    """
    same = identities[:, None] == identities
    if features.device.type == "cpu" and bool(same.all()):
        raise InputError(f"A triplet needs two identities in the batch, and all {len(identities)} images are of one.")
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        # Not through a matrix product, whose rounding is of the size of the squares; the gradient at 0 is 0.
        distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        positive = distances.where(same, 0).amax(dim=1)
        negative = distances.where(~same, torch.inf).amin(dim=1)
        return F.relu(margin + positive - negative).mean()
