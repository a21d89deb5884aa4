"""Losses that torch does not have."""

from relattn.losses.triplet import batch_hard_triplet

__all__ = ["batch_hard_triplet"]
