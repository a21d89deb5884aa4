"""Outputs of a network that are not numbers, which would be scored as the first class."""

from torch import Tensor

from relattn.errors import InputError


def refuse_nan(outputs: Tensor) -> None:
    """Raise an InputError if outputs, or losses, of images `(B, ...)` contain NaN."""
    wrong = outputs.isnan().flatten(1).any(dim=1) if outputs.ndim > 1 else outputs.isnan()
    if wrong.any():
        raise InputError(
            f"The network's outputs are NaN for {int(wrong.sum()):,} of {len(outputs):,} images. Its weights are not "
            "finite, or its numbers overflow: use another checkpoint, or --trainer.precision 32."
        )
