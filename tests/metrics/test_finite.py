"""Networks whose outputs are NaN are not scored: the largest of NaN would be the first class."""

import pytest
import torch
from torch import Tensor

from relattn.errors import InputError
from relattn.tasks.classification.module import ClassificationMetric
from relattn.tasks.predictions import ClassPredictions
from relattn.tasks.segmentation import Segmentation
from relattn.tasks.segmentation.inference import Inference

SAID = r"outputs are NaN for 1 of 2 images\. .*--trainer\.precision 32"


class Network:
    """Stands for a task: its second output has a NaN."""

    inference = Inference()

    def __call__(self, images: Tensor) -> Tensor:
        logits = images.new_zeros(len(images), 3, *images.shape[2:])
        logits[1, 2, 0] = torch.nan
        return logits


def test_the_error_of_a_network_without_numbers_is_no_score() -> None:
    metric = ClassificationMetric()
    metric.update(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), torch.tensor([0, 0]))
    with pytest.raises(InputError, match=SAID):
        metric.compute()


def test_pixels_without_numbers_have_no_class() -> None:
    with pytest.raises(InputError, match=SAID):
        Segmentation.segment(Network(), torch.zeros(2, 3, 4, 4))  # type: ignore[arg-type]


def test_images_without_numbers_have_no_prediction() -> None:
    with pytest.raises(InputError, match=SAID):
        ClassPredictions(None).add({}, torch.tensor([[0.5, 0.5], [torch.nan, 0.5]]))


def test_images_without_an_index_all_count_in_every_use_of_a_metric() -> None:
    logits, labels = torch.eye(4) * 5, torch.arange(4)
    updated, called, merged = ClassificationMetric(), ClassificationMetric(), ClassificationMetric()
    for answers in (labels, labels.roll(1), labels.roll(1)):
        updated.update(logits, answers)
        called(logits, answers)
        part = ClassificationMetric()
        part.update(logits, answers)
        merged.merge_state(part)
    for metric in (updated, called, merged):
        assert metric.compute()["accuracy"] == pytest.approx(100 / 3)
