"""Cross entropy of every pixel, of which some have no label.

The mean is over the labelled pixels, as in torch. torch's mean is NaN if there are none, which happens with small
crops, and one such batch would ruin a whole run; here it is 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def segmentation_cross_entropy(
    logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, ignore: int = 255
) -> Tensor:
    """Mean cross entropy of the labelled pixels; 0, with gradients 0, if there are none.

    Args:
        logits: `(B, C, H, W)`; the loss is computed in at least float32.
        labels: `(B, H, W)` int64, a class or `ignore`.
        weight: `(C,)` weights of the classes; the mean is weighted by them, as in torch.
        ignore: Label of pixels that do not count.

    Returns:
        A scalar.
    """
    losses, valid = pixel_losses(logits, labels, ignore)
    return weighted_mean(losses, labels, valid, weight)


def pixel_losses(logits: Tensor, labels: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    """The cross entropy of every pixel, 0 for unlabelled ones, and whether it has a label, both `(B, H, W)`."""
    logits, valid = logits if logits.element_size() >= 4 else logits.float(), labels != ignore
    if torch.are_deterministic_algorithms_enabled():  # torch's own loss of maps is not, on a GPU
        found = F.log_softmax(logits, dim=1).gather(1, labels.where(valid, 0).unsqueeze(1)).squeeze(1)
        return torch.where(valid, -found, 0), valid
    return F.cross_entropy(logits, labels, ignore_index=ignore, reduction="none"), valid


def weighted_mean(losses: Tensor, labels: Tensor, counted: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of the losses of the counted pixels, weighted by the weights of their classes; 0 if none is counted."""
    if weight is None:
        weights = counted.to(losses.dtype)
    else:
        weights = weight.to(losses.dtype)[labels.where(counted, 0)] * counted
    total = weights.sum()
    return (losses * weights).sum() / total.where(total > 0, 1)


class PixelCrossEntropy:
    """`segmentation_cross_entropy` as a loss that recipes select by class path."""

    def __init__(self, ignore: int = 255) -> None:
        """Define the loss; pixels with the label `ignore` do not count."""
        self.ignore = ignore

    def __call__(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """The scalar loss of logits `(B, C, H, W)` with labels `(B, H, W)` and class weights `(C,)`."""
        return segmentation_cross_entropy(logits, labels, weight=weight, ignore=self.ignore)
