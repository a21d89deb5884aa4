"""Segmentation scores: the confusion matrix and the scores from it, against their definitions."""

import numpy as np
import pytest
import torch
from torch import Tensor

from relattn.errors import InputError
from relattn.metrics import confusion
from relattn.metrics.confusion import confusion_matrix, score_confusion

CLASSES = 5


def maps(count: int = 3) -> tuple[Tensor, Tensor]:
    """Predictions and labels, mostly equal, some pixels without a label."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (count, 12, 17), generator=generator)
    wrong = torch.rand(labels.shape, generator=generator) < 0.3
    predictions = torch.where(wrong, torch.randint(CLASSES, labels.shape, generator=generator), labels)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    return predictions, labels


def test_scores_are_those_of_sets_of_pixels() -> None:
    predictions, labels = maps()
    valid = labels != 255
    ious, accuracies = [], []
    for label in range(CLASSES):
        truth, predicted = (labels == label) & valid, (predictions == label) & valid
        ious.append(100 * (truth & predicted).sum().item() / (truth | predicted).sum().item())
        accuracies.append(100 * (truth & predicted).sum().item() / truth.sum().item())
    scores = score_confusion(confusion_matrix(predictions, labels, CLASSES))
    assert scores.iou.tolist() == pytest.approx(ious, rel=1e-12)
    assert scores.accuracy.tolist() == pytest.approx(accuracies, rel=1e-12)
    assert scores.mean_iou.item() == pytest.approx(np.mean(ious), rel=1e-12)
    assert scores.mean_accuracy.item() == pytest.approx(np.mean(accuracies), rel=1e-12)
    right = ((predictions == labels) & valid).sum().item()
    assert scores.pixel_accuracy.item() == pytest.approx(100 * right / valid.sum().item(), rel=1e-12)


def test_the_matrix_has_labels_in_rows_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, labels = maps()
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for prediction, label in zip(predictions.flatten().tolist(), labels.flatten().tolist(), strict=True):
        if label != 255:
            expected[label, prediction] += 1
    assert torch.equal(confusion_matrix(predictions, labels, CLASSES), expected)
    monkeypatch.setattr(confusion, "CHUNK", 100)
    assert torch.equal(confusion_matrix(predictions.to(torch.uint8), labels.to(torch.uint8), CLASSES), expected)


def test_counts_beyond_single_precision_are_exact() -> None:
    matrix = torch.tensor([[2**40 + 1, 1], [0, 2**40]])
    assert score_confusion(matrix).iou[0].item() == pytest.approx(100 * (2**40 + 1) / (2**40 + 2), rel=1e-15)


def test_what_cannot_be_counted_is_an_error() -> None:
    zeros = torch.zeros(1, 2, 2, dtype=torch.int64)
    for prediction, label in ((zeros, zeros + 33), (zeros + 5, zeros), (zeros, zeros - 1), (zeros - 1, zeros)):
        with pytest.raises(InputError, match="4 labelled pixels have a label or a prediction that is none of the 5"):
            confusion_matrix(prediction, label, CLASSES)
    assert not confusion_matrix(zeros + 250, zeros + 255, CLASSES).any()  # nothing counts there
    with pytest.raises(InputError, match="differ in shape"):
        confusion_matrix(zeros, zeros[:, :1], CLASSES)


def test_a_class_that_is_absent_has_no_score() -> None:
    labels, predictions = torch.tensor([0, 0, 1, 255]), torch.tensor([0, 0, 2, 3])  # 3 only where there is no label
    scores = score_confusion(confusion_matrix(predictions, labels, 4))
    assert scores.iou[:3].tolist() == [100, 0, 0]
    assert scores.iou[3].isnan()
    assert scores.accuracy[2:].isnan().all()
    assert (scores.mean_iou.item(), scores.mean_accuracy.item()) == (pytest.approx(100 / 3), 50)
    with pytest.raises(InputError, match="No pixel of the evaluation set is labelled"):
        score_confusion(torch.zeros(2, 2, dtype=torch.int64))
