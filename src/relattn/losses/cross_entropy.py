"""Cross entropy of every pixel, where some have no label.

The mean is over the labelled pixels, as torch's own is; that is NaN where there are none, as happens with small crops,
and one such batch would spoil a whole run.
"""

import torch.nn.functional as F
from torch import Tensor


def segmentation_cross_entropy(
    logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, ignore: int = 255
) -> Tensor:
    """Mean cross entropy of the labelled pixels; 0, with gradients 0, if there are none.

    Args:
        logits: (B, C, H, W); the loss is computed in float32 at least.
        labels: (B, H, W) int64, a class or `ignore`.
        weight: (C,) weights of the classes. The mean is weighted by them, as torch's.
        ignore: Label of pixels that do not count.

    Returns:
        A scalar.
    """
    losses, valid = pixel_losses(logits, labels, ignore)
    return weighted_mean(losses, labels, valid, weight)


def pixel_losses(logits: Tensor, labels: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    """The cross entropy of every pixel, `(B, H, W)`, 0 where there is no label, and whether there is one."""
    logits = logits if logits.element_size() >= 4 else logits.float()
    return F.cross_entropy(logits, labels, ignore_index=ignore, reduction="none"), labels != ignore


def weighted_mean(losses: Tensor, labels: Tensor, counted: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of the losses of the counted pixels, weighted by the weights of their classes; 0 if none is counted."""
    if weight is None:
        weights = counted.to(losses.dtype)
    else:
        weights = weight.to(losses.dtype)[labels.where(counted, 0)] * counted
    total = weights.sum()
    return (losses * weights).sum() / total.where(total > 0, 1)


class PixelCrossEntropy:
    """`segmentation_cross_entropy`, as a loss to be chosen by class path."""

    def __init__(self, ignore: int = 255) -> None:
        """Define the loss; pixels with the label `ignore` do not count."""
        self.ignore = ignore

    def __call__(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of logits `(B, C, H, W)` with labels `(B, H, W)` and weights `(C,)` of the classes."""
        return segmentation_cross_entropy(logits, labels, weight=weight, ignore=self.ignore)
