"""Segmentation scores, all computed from the confusion matrix of the whole evaluation set.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, section 4.1: the intersection
over union of a class is TP / (TP + FP + FN), counted over all pixels of all images, never a mean over images. Pixels
without a label do not count, whatever is predicted there. A class that is neither labelled nor predicted has no score
and is left out of the mean. Counts are int64 and scores float64, so that they equal the official ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from relattn.errors import InputError

CHUNK = 1 << 20
"""Number of pixels counted at once; each needs 8 bytes."""


class ConfusionScores(NamedTuple):
    """Scores of a confusion matrix, float64, in per cent; classes without a score are NaN."""

    iou: Tensor
    """`(C,)` intersection over union; NaN for a class that is neither labelled nor predicted."""

    accuracy: Tensor
    """`(C,)` recall: share of a class's pixels that are predicted as that class; NaN for a class without labels."""

    pixel_accuracy: Tensor
    """Share of all labelled pixels that are predicted correctly, a scalar."""

    @property
    def mean_iou(self) -> Tensor:
        """Mean IoU of the classes that have one."""
        return self.iou.nanmean()

    @property
    def mean_accuracy(self) -> Tensor:
        """Mean accuracy of the classes that have one."""
        return self.accuracy.nanmean()


def confusion_matrix(prediction: Tensor, label: Tensor, classes: int, *, ignore: int = 255) -> Tensor:
    """Count the pixels of each class that are predicted as each class.

    Args:
        prediction: Any shape, integer, classes.
        label: The same shape, integer, a class or `ignore`.
        classes: Number of classes C.
        ignore: Label of pixels that do not count.

    Returns:
        `(C, C)` int64; rows are labels, columns predictions.

    Raises:
        InputError: If the shapes differ, or a label or the prediction for a labelled pixel is not a class.
    """
    if prediction.shape != label.shape:
        raise InputError(f"Predictions {tuple(prediction.shape)} and labels {tuple(label.shape)} differ in shape.")
    # The additional last cell counts pixels whose label or prediction is not a class.
    counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=label.device)
    for predicted, labelled in zip(prediction.flatten().split(CHUNK), label.flatten().split(CHUNK), strict=True):
        predicted, labelled = predicted.long(), labelled.long()
        known = (labelled >= 0) & (labelled < classes) & (predicted >= 0) & (predicted < classes)
        cells = (labelled * classes + predicted).where(known, classes * classes)
        counts += torch.bincount(cells[labelled != ignore], minlength=len(counts))
    if counts[-1]:
        raise InputError(
            f"{int(counts[-1])} labelled pixels have a label or a prediction that is none of the {classes} classes: "
            f"expected 0 to {classes - 1}, and {ignore} for pixels that do not count. (Cityscapes' files of label ids "
            "must be mapped to training ids first.)"
        )
    return counts[:-1].view(classes, classes)


def score_confusion(matrix: Tensor) -> ConfusionScores:
    """Score a confusion matrix, `(C, C)` with labels in rows; scores are in per cent.

    Raises:
        InputError: If no pixel is labelled.
    """
    matrix = matrix.double()
    right, labelled, predicted = matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)
    if not labelled.sum():
        raise InputError("No pixel of the evaluation set is labelled: nothing can be scored.")
    # 0 / 0 is NaN: the class has no score.
    return ConfusionScores(
        100 * right / (labelled + predicted - right), 100 * right / labelled, 100 * right.sum() / labelled.sum()
    )
