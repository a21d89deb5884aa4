"""Two processes compute the same as one: the metrics of all tasks, and the triplet loss."""

from typing import Any

import pytest
import torch
from two_processes import run_in_two

from relattn.losses import batch_hard_triplet
from relattn.metrics import ranks
from relattn.tasks.classification.module import ClassificationMetric
from relattn.tasks.face.verification_metric import VerificationMetric
from relattn.tasks.reid.retrieval_metric import RetrievalMetric
from relattn.tasks.segmentation.confusion_metric import ConfusionMetric

# The processes see shares of different size of an evaluation set, with repeats; a single process (None) sees all of it.


def scores(metric: Any, batches: list[tuple[torch.Tensor, ...]]) -> dict[str, float]:
    for batch in batches:
        metric.update(*batch)
    return {name: float(value) for name, value in metric.compute().items()}


def retrieval(rank: int | None) -> dict[str, float]:
    """Features with many ties, of 137 queries and 409 images."""
    generator, queries, count = torch.Generator().manual_seed(0), 137, 546
    identities = torch.randint(40, (count,), generator=generator)
    centres = torch.randint(-2, 3, (40, 6), generator=generator)
    features = (centres[identities] + torch.randint(-2, 3, (count, 6), generator=generator)).float()
    features[:, 0] += 9  # none is zero
    parts = features, identities, torch.randint(3, (count,), generator=generator), torch.arange(count) < queries
    even, odd = torch.arange(0, count, 2), torch.arange(1, count, 2)
    shares = torch.cat((even, odd[-20:], torch.arange(5))), odd[:-20]
    rows = torch.arange(count) if rank is None else shares[rank]
    batches = [(*(part[some] for part in parts), some) for some in rows.split(31)]
    return scores(RetrievalMetric(reranking=True, single_shot=2), batches)


def verification(rank: int | None) -> dict[str, float]:
    """Two sets of pairs."""
    generator = torch.Generator().manual_seed(0)
    same = {"lfw": torch.arange(50) % 2 == 0, "cplfw": torch.arange(30) % 2 == 0}
    first = torch.randn(80, 16, generator=generator)
    second = torch.where(torch.cat(list(same.values()))[:, None], first, 0)
    second = second + 1.2 * torch.randn(80, 16, generator=generator)
    features = torch.stack((first, second), dim=1).flatten(0, 1)
    even, odd = torch.arange(0, 160, 2), torch.arange(1, 160, 2)
    rows = torch.arange(160) if rank is None else (torch.cat((even, odd[-9:])), odd[:-9])[rank]
    metric = VerificationMetric({name: values.numpy() for name, values in same.items()})
    return scores(metric, [(features[some], some) for some in rows.split(31)])


def confusion(rank: int | None) -> dict[str, float]:
    """Seven images on two processes, of which the first is repeated."""
    generator = torch.Generator().manual_seed(0)
    labels, predictions = torch.randint(5, (2, 7, 12, 17), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    rows = torch.arange(7) if rank is None else torch.tensor([[0, 2, 4, 6], [1, 3, 5, 0]][rank])
    batches = [(predictions[some], labels[some], some) for some in rows.split(2 if rank else 3)]
    return scores(ConfusionMetric(5), batches)


def accuracy(rank: int | None) -> dict[str, float]:
    """Seven images on two processes, of which the first, a right one, is repeated."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(7, 5, generator=generator), torch.randint(5, (7,), generator=generator)
    labels[0] = logits[0].argmax()
    rows = torch.arange(7) if rank is None else torch.tensor([[0, 2, 4, 6], [1, 3, 5, 0]][rank])
    batches = [(logits[some], labels[some], some) for some in rows.split(2 if rank else 3)]
    return scores(ClassificationMetric(), batches)


METRICS = {"retrieval": retrieval, "verification": verification, "confusion": confusion, "accuracy": accuracy}


def triplet(rank: int | None) -> tuple[float, list[list[float]]]:
    """The loss and the gradient of a layer's weight, for half a batch or the whole one."""
    torch.manual_seed(0)
    images, layer = torch.randn(8, 5, dtype=torch.float64), torch.nn.Linear(5, 3, dtype=torch.float64)
    identities = torch.tensor([0, 0, 1, 1, 0, 2, 2, 1])
    mine = slice(None) if rank is None else slice(4 * rank, 4 * rank + 4)
    loss = batch_hard_triplet(layer(images[mine]), identities[mine], 2.0, across_processes=True)
    loss.backward()
    return loss.item(), layer.weight.grad.tolist()


def one_process(rank: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    ranks.CHUNK, ranks.ROWS = 1, 64  # three chunks for two processes
    return {**{name: metric(rank) for name, metric in METRICS.items()}, "triplet": triplet(rank)}


pytestmark = pytest.mark.slow  # two processes are started


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """Compute the values of one of two processes."""
    results = run_in_two(one_process)
    return [results[0], results[1]]


@pytest.mark.parametrize("name", METRICS)
def test_two_processes_have_the_scores_of_one(name: str, found: list[dict[str, Any]]) -> None:
    assert found[0][name] == found[1][name] == METRICS[name](None)


def test_triplets_mined_across_processes_are_those_of_the_whole_batch(found: list[dict[str, Any]]) -> None:
    value, gradient = triplet(None)
    assert [part["triplet"][0] for part in found] == pytest.approx([value, value])
    # The mean over the processes is what a distributed run takes.
    gradients = torch.tensor([part["triplet"][1] for part in found], dtype=torch.float64)
    torch.testing.assert_close(gradients.mean(0), torch.tensor(gradient, dtype=torch.float64))
    assert not torch.allclose(gradients[0], gradients[1])
