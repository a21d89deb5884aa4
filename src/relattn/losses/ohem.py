"""Cross entropy of the hard pixels: online hard example mining.

Shrivastava, Gupta, Girshick, "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016; for
pixels, with a threshold and a least number, Wu, Shen, van den Hengel, "High-performance Semantic Segmentation Using
Very Deep Fully Convolutional Networks", arXiv 1604.04339, section 4. OCNet has it as an option, off in the setting that
arXiv 1904.02998 follows, with threshold 0.7 and 100,000 pixels.
"""

import torch
from torch import Tensor

from relattn.errors import InputError
from relattn.losses.cross_entropy import pixel_losses, weighted_mean


def ohem_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    weight: Tensor | None = None,
    ignore: int = 255,
) -> Tensor:
    """Mean cross entropy of the pixels whose own class is given a probability of at most `threshold`.

    If they are fewer than `min_kept`, the `min_kept` pixels of the lowest probability count (with those that tie with
    the last), or all labelled ones if there are no more. The pixels are those of the batch of this process: every
    process mines its own. Without a labelled pixel the loss is 0, with gradients 0.

    Args:
        logits: (B, C, H, W); the loss is computed in float32 at least.
        labels: (B, H, W) int64, a class or `ignore`.
        threshold: Probability above which a pixel is easy.
        min_kept: Least number of pixels that count.
        weight: (C,) weights of the classes, by which the mean is weighted; they do not decide which pixels are hard.
        ignore: Label of pixels that do not count.

    Returns:
        A scalar.

    Raises:
        InputError: If `threshold` is not in [0, 1] or `min_kept` is negative.
    """
    if not 0 <= threshold <= 1 or min_kept < 0:
        raise InputError(
            f"ohem_cross_entropy: threshold is {threshold} and min_kept is {min_kept}, expected a probability and a "
            "number of pixels."
        )
    losses, valid = pixel_losses(logits, labels, ignore)
    with torch.no_grad():
        # Pixels without a label are as easy as can be. No number is read back, so that a GPU does not have to wait.
        probabilities = (-losses).exp().where(valid, torch.inf).flatten()
        limit = probabilities.new_tensor(threshold)
        if min_kept and len(probabilities):
            last = min(min_kept, len(probabilities)) - 1
            limit = torch.maximum(limit, probabilities.sort().values[last])
        hard = valid & (probabilities <= limit).view_as(valid)
    return weighted_mean(losses, labels, hard, weight)


class OHEMCrossEntropy:
    """`ohem_cross_entropy` with its options, as a loss to be chosen by class path."""

    def __init__(self, threshold: float = 0.7, min_kept: int = 100_000, ignore: int = 255) -> None:
        """Define the loss.

        Args:
            threshold: Probability of the true class above which a pixel is easy.
            min_kept: Least number of pixels that count, of each process.
            ignore: Label of pixels that do not count.

        Raises:
            InputError: If `threshold` is no probability or `min_kept` is negative.
        """
        if not 0 <= threshold <= 1 or min_kept < 0:
            raise InputError(
                f"OHEMCrossEntropy: threshold is {threshold} and min_kept is {min_kept}, expected a probability and a "
                "number of pixels from 0."
            )
        self.threshold, self.min_kept, self.ignore = threshold, min_kept, ignore

    def __call__(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of logits `(B, C, H, W)` with labels `(B, H, W)` and weights `(C,)` of the classes."""
        return ohem_cross_entropy(
            logits, labels, threshold=self.threshold, min_kept=self.min_kept, weight=weight, ignore=self.ignore
        )
