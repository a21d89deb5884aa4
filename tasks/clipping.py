"""Gradient clipping for fused optimizers in mixed precision, which Lightning refuses."""

import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType


def scales_itself(precision: Precision, optimizer: torch.optim.Optimizer) -> bool:
    """Whether Lightning refuses to clip the gradients of this optimizer: a fused one in mixed precision."""
    return isinstance(precision, MixedPrecision) and getattr(optimizer, "_step_supports_amp_scaling", False)


def clip(precision: MixedPrecision, optimizer: torch.optim.Optimizer, limit: float, algorithm: str | None) -> None:
    """Clip the gradients of a fused optimizer.

    It divides the gradients by the loss scale itself, unless they have been unscaled before. With bfloat16 there is no
    loss scale.

    Args:
        precision: The trainer's precision.
        optimizer: The fused optimizer.
        limit: The largest norm or value.
        algorithm: `norm` (the default) or `value`.
    """
    if precision.scaler is not None:
        precision.scaler.unscale_(optimizer)
    Precision.clip_gradients(precision, optimizer, limit, GradClipAlgorithmType(algorithm or "norm"))
