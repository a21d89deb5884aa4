"""Losses that torch does not have."""

from relattn.losses.cross_entropy import segmentation_cross_entropy
from relattn.losses.ohem import ohem_cross_entropy
from relattn.losses.triplet import batch_hard_triplet

__all__ = ["batch_hard_triplet", "ohem_cross_entropy", "segmentation_cross_entropy"]
