"""Losses that torch does not have, as functions and as classes that recipes select by class path."""

from relattn.losses.cross_entropy import PixelCrossEntropy, segmentation_cross_entropy
from relattn.losses.ohem import OHEMCrossEntropy, ohem_cross_entropy
from relattn.losses.triplet import BatchHardTriplet, batch_hard_triplet

__all__ = [
    "BatchHardTriplet",
    "OHEMCrossEntropy",
    "PixelCrossEntropy",
    "batch_hard_triplet",
    "ohem_cross_entropy",
    "segmentation_cross_entropy",
]
