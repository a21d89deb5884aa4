"""The verification metric scores packs separately; order, repeats and processes change nothing."""

import numpy as np
import pytest
import torch

from relattn.errors import InputError
from relattn.metrics.verification import pair_distances, verification
from relattn.tasks.face.verification_metric import VerificationMetric

PACKS = {"lfw": 50, "cplfw": 30}


def evaluation_set() -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """Answers of two packs, and features of their images."""
    generator = torch.Generator().manual_seed(0)
    same = {name: np.arange(pairs) % 2 == 0 for name, pairs in PACKS.items()}
    first = torch.randn(80, 16, generator=generator)
    alike = torch.from_numpy(np.concatenate(list(same.values())))[:, None]
    second = torch.where(alike, first, 0) + 1.2 * torch.randn(80, 16, generator=generator)
    return same, torch.stack((first, second), dim=1).flatten(0, 1)


def feed(metric: VerificationMetric, order: torch.Tensor, batch: int = 33) -> None:
    _, features = evaluation_set()
    for rows in order.split(batch):
        metric.update(features[rows], rows)


def computed(metric: VerificationMetric) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def test_each_pack_is_scored_and_their_mean() -> None:
    same, features = evaluation_set()
    metric = VerificationMetric(same)
    feed(metric, torch.arange(160))
    scores = computed(metric)
    parts = dict(zip(same, features.split([100, 60]), strict=True))
    alone = {name: verification(pair_distances(part), same[name]) for name, part in parts.items()}
    for name, found in alone.items():
        assert scores[f"accuracy/{name}"] == found.accuracy
        assert scores[f"std/{name}"] == found.std
        assert scores[f"TAR@FAR=0.01/{name}"] == found.tar[0.01]
        assert metric.result[name].eer == found.eer == scores[f"EER/{name}"]
    assert 50 < scores["accuracy"] == np.mean([found.accuracy for found in alone.values()]) < 100
    assert scores["threshold"] == np.mean([found.threshold for found in alone.values()])


def test_order_and_repeats_change_nothing() -> None:
    metrics = [VerificationMetric(evaluation_set()[0]) for _ in range(2)]
    shuffled = torch.randperm(160, generator=torch.Generator().manual_seed(1))
    feed(metrics[0], torch.arange(160))
    feed(metrics[1], torch.cat((shuffled, shuffled[:45])))
    assert computed(metrics[0]) == computed(metrics[1])


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_packs_are_scored_as_a_whole() -> None:
    metric = VerificationMetric(evaluation_set()[0])
    with pytest.raises(InputError, match="160 images, and the features of 0 are there"):
        metric.compute()
    feed(metric, torch.arange(2, 160))
    with pytest.raises(InputError, match="features of 158 are there"):
        metric.compute()
    metric.update(torch.full((2, 16), torch.nan), torch.arange(2))
    with pytest.raises(InputError, match="lfw: The feature of image 0 is not finite"):
        metric.compute()
    with pytest.raises(InputError, match="no verification sets"):
        VerificationMetric({}).compute()
