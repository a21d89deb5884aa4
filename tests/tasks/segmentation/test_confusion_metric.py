"""The segmentation metric: its scores, the official evaluation of files, repeats and processes."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from relattn.errors import InputError
from relattn.metrics.confusion import confusion_matrix
from relattn.tasks.segmentation.confusion_metric import ConfusionMetric

CLASSES = 5


def evaluation_set(count: int = 7, classes: int = CLASSES) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions and labels, mostly equal, some pixels without a label, and indices."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (count, 12, 17), generator=generator)
    wrong = torch.rand(labels.shape, generator=generator) < 0.3
    predictions = torch.where(wrong, torch.randint(classes, labels.shape, generator=generator), labels)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    return predictions, labels, torch.arange(count)


def slow_scores(predictions: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """Scores from sets of pixels."""
    valid = labels != 255
    ious, accuracies = [], []
    for label in range(classes):
        truth, found = (labels == label) & valid, (predictions == label) & valid
        union, both = (truth | found).sum().item(), (truth & found).sum().item()
        ious.append(100 * both / union if union else math.nan)
        accuracies.append(100 * both / truth.sum().item() if truth.any() else math.nan)
    return {
        "mIoU": float(np.nanmean(ious)),
        "pixel_accuracy": 100 * ((predictions == labels) & valid).sum().item() / valid.sum().item(),
        "mean_accuracy": float(np.nanmean(accuracies)),
        **{f"IoU/{label}": iou for label, iou in enumerate(ious)},
    }


def floats(scores: dict[str, Tensor]) -> dict[str, float]:
    assert all(value.dtype == torch.float64 for value in scores.values())
    return {name: float(value) for name, value in scores.items()}


def test_scores_are_the_definition_s() -> None:
    predictions, labels, indices = evaluation_set()
    metric = ConfusionMetric(CLASSES)
    for rows in (slice(0, 3), slice(3, 7)):
        metric.update(predictions[rows], labels[rows], indices[rows])
    assert floats(metric.compute()) == pytest.approx(slow_scores(predictions, labels, CLASSES), rel=1e-12)


def test_a_class_that_is_absent_is_skipped_and_one_that_is_only_predicted_is_not() -> None:
    labels = torch.tensor([[[0, 0, 1, 255]]])
    metric = ConfusionMetric(["road", "car", "bus", "train"])
    metric.update(torch.tensor([[[0, 0, 2, 3]]]), labels, torch.tensor([0]))
    scores = floats(metric.compute())
    assert scores["IoU/road"] == 100
    assert scores["IoU/car"] == scores["IoU/bus"] == 0
    assert math.isnan(scores["IoU/train"])  # predicted only where there is no label
    assert scores["mIoU"] == pytest.approx(100 / 3)
    assert scores["mean_accuracy"] == 50
    assert scores["pixel_accuracy"] == pytest.approx(200 / 3)
    assert math.isnan(metric.result.accuracy[2])


def test_mean_iou_is_of_the_set_and_not_of_images() -> None:
    metric = ConfusionMetric(2)
    metric.update(torch.tensor([[[0, 0]], [[1, 0]]]), torch.tensor([[[0, 0]], [[0, 1]]]), torch.arange(2))
    assert floats(metric.compute())["mIoU"] == pytest.approx(100 * (2 / 4 + 0 / 2) / 2)


def test_repeated_images_count_once_in_any_order() -> None:
    predictions, labels, indices = evaluation_set()
    metric = ConfusionMetric(CLASSES)
    order = torch.tensor([3, 0, 6, 2, 3, 5, 1, 4, 0])
    for rows in order.split(2):
        metric.update(predictions[rows], labels[rows], indices[rows])
    assert torch.equal(metric.matrix(), confusion_matrix(predictions, labels, CLASSES))


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_to_score_is_an_error() -> None:
    metric = ConfusionMetric(CLASSES)
    with pytest.raises(InputError, match="no images"):
        metric.compute()
    metric.update(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 255), torch.tensor([0]))
    with pytest.raises(InputError, match="No pixel of the evaluation set is labelled"):
        metric.compute()


def test_scores_are_the_official_ones_of_the_same_files(tmp_path) -> None:
    """The benchmark's own evaluation reads files of label ids; one class is absent and one only predicted."""
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    from cityscapesscripts.helpers.labels import trainId2label
    from PIL import Image

    names = [trainId2label[number].name for number in range(19)]
    lookup = np.array([trainId2label[number].id for number in range(19)], dtype=np.uint8)
    predictions, labels, indices = evaluation_set(4, classes=17)  # of 19
    predictions[1, 2, 3], labels[1, 2, 3] = 17, 4
    files: tuple[list[str], list[str]] = ([], [])
    for index in range(4):
        void = (labels[index] == 255).numpy()
        truth = np.where(void, 0, lookup[labels[index].where(labels[index] != 255, 0).numpy()])
        found = lookup[predictions[index].numpy()]
        for folder, values, paths in (("found", found, files[0]), ("truth", truth, files[1])):
            path = tmp_path / folder / f"lindau_00000{index}_000019_{folder}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(path)
            paths.append(str(path))
    # To score instances, the evaluation calls a function that NumPy 2.4 has removed.
    official.args.evalInstLevelScore = official.args.evalPixelAccuracy = official.args.JSONOutput = False
    official.args.quiet = True
    expected = official.evaluateImgLists(*files, official.args)

    metric = ConfusionMetric(names)
    metric.update(predictions, labels, indices)
    scores = floats(metric.compute())
    assert scores["mIoU"] == pytest.approx(100 * expected["averageScoreClasses"], abs=1e-9)
    for name in names:
        assert scores[f"IoU/{name}"] == pytest.approx(100 * expected["classScores"][name], abs=1e-9, nan_ok=True)
    assert scores["IoU/motorcycle"] == 0
    assert math.isnan(scores["IoU/bicycle"])
