"""The score of labelling every pixel with the training set's most frequent class, which any network must beat."""

from pathlib import Path

import numpy as np
import torch

from relattn.metrics.confusion import confusion_matrix, score_confusion
from relattn.tasks.segmentation.data_sets import Cityscapes


def majority(root: Path) -> dict[str, float]:
    """Compute `mIoU` and `pixel accuracy` on the validation images of a Cityscapes under `root`, in per cent."""
    data = Cityscapes(root)
    data.setup("fit")
    commonest = int(data.class_frequencies().argmax())
    matrix = torch.zeros(data.num_classes, data.num_classes, dtype=torch.int64)
    val = data.sets["val"]
    for index in range(len(val)):
        labels = val.labels(index)
        assert labels is not None
        truth = torch.from_numpy(labels.astype(np.int64))
        matrix += confusion_matrix(torch.full_like(truth, commonest), truth, data.num_classes)
    scores = score_confusion(matrix)
    return {"mIoU": float(scores.mean_iou), "pixel accuracy": float(scores.pixel_accuracy)}
