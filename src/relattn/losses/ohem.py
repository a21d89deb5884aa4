"""Cross entropy of the hard pixels: online hard example mining.

Shrivastava, Gupta, Girshick, "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016. The
form for pixels, with a threshold and a minimum number, is from Wu, Shen, van den Hengel, "High-performance Semantic
Segmentation Using Very Deep Fully Convolutional Networks", arXiv 1604.04339, section 4. OCNet has it as an option, with
threshold 0.7 and 100,000 pixels; the setting that arXiv 1904.02998 follows does not use it.
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
    """Mean cross entropy of the pixels whose true class has a probability of at most `threshold`.

    If there are fewer than `min_kept` such pixels, the `min_kept` pixels with the lowest probability count (and those
    that tie with the last of them), or all labelled ones if there are no more. Each process mines the pixels of its own
    batch. Without a labelled pixel the loss is 0, with gradients 0.

    Args:
        logits: `(B, C, H, W)`; the loss is computed in at least float32.
        labels: `(B, H, W)` int64, a class or `ignore`.
        threshold: Probability above which a pixel is easy.
        min_kept: Minimum number of pixels that count.
        weight: `(C,)` weights of the classes; the mean is weighted by them, but they do not decide which pixels are
            hard.
        ignore: Label of pixels that do not count.

    Returns:
        A scalar.

    Raises:
        InputError: If `threshold` is not in [0, 1] or `min_kept` is negative.
    """
    check_options("ohem_cross_entropy", threshold, min_kept)
    losses, valid = pixel_losses(logits, labels, ignore)
    with torch.no_grad():
        # Unlabelled pixels count as the easiest. No value is read back to the CPU, so that a GPU does not have to wait.
        probabilities = (-losses).exp().where(valid, torch.inf).flatten()
        limit = probabilities.new_tensor(threshold)
        if min_kept and len(probabilities):
            last = min(min_kept, len(probabilities)) - 1
            limit = torch.maximum(limit, probabilities.sort().values[last])
        hard = valid & (probabilities <= limit).view_as(valid)
    return weighted_mean(losses, labels, hard, weight)


def check_options(name: str, threshold: float, min_kept: int) -> None:
    """Raise an InputError unless `threshold` is a probability and `min_kept` a number of pixels."""
    if not 0 <= threshold <= 1 or min_kept < 0:
        raise InputError(
            f"{name}: threshold is {threshold} and min_kept is {min_kept}, expected a probability and a number of "
            "pixels from 0."
        )


class OHEMCrossEntropy:
    """`ohem_cross_entropy` with its options, as a loss that recipes select by class path."""

    def __init__(self, threshold: float = 0.7, min_kept: int = 100_000, ignore: int = 255) -> None:
        """Define the loss.

        Args:
            threshold: Probability of the true class above which a pixel is easy.
            min_kept: Minimum number of pixels that count, per process.
            ignore: Label of pixels that do not count.

        Raises:
            InputError: If `threshold` is not in [0, 1] or `min_kept` is negative.
        """
        check_options("OHEMCrossEntropy", threshold, min_kept)
        self.threshold, self.min_kept, self.ignore = threshold, min_kept, ignore

    def __call__(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """The scalar loss of logits `(B, C, H, W)` with labels `(B, H, W)` and class weights `(C,)`."""
        return ohem_cross_entropy(
            logits, labels, threshold=self.threshold, min_kept=self.min_kept, weight=weight, ignore=self.ignore
        )
