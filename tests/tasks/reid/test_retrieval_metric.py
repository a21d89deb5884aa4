"""The retrieval metric does not depend on batches, order, repeats or processes."""

import pytest
import torch

from relattn.errors import InputError
from relattn.metrics.distances import FeatureDistances
from relattn.metrics.ranks import Labels
from relattn.metrics.retrieval import retrieval
from relattn.tasks.reid.retrieval_metric import RetrievalMetric

QUERIES, IMAGES = 137, 409


def evaluation_set() -> tuple[torch.Tensor, ...]:
    """Features, identities, cameras, whether a query, and indices of an evaluation set with many ties."""
    generator = torch.Generator().manual_seed(0)
    count = QUERIES + IMAGES
    identities = torch.randint(40, (count,), generator=generator)
    centres = torch.randint(-2, 3, (40, 6), generator=generator)
    features = (centres[identities] + torch.randint(-2, 3, (count, 6), generator=generator)).float()
    features[:, 0] += 9  # none is zero
    cameras = torch.randint(3, (count,), generator=generator)
    return features, identities, cameras, torch.arange(count) < QUERIES, torch.arange(count)


def feed(metric: RetrievalMetric, order: torch.Tensor, batch: int = 50) -> None:
    parts = evaluation_set()
    for rows in order.split(batch):
        metric.update(*(values[rows] for values in parts))


def expected() -> dict[str, float]:
    features, identities, cameras, _, _ = evaluation_set()
    query, gallery = (Labels(identities[rows], cameras[rows]) for rows in (slice(QUERIES), slice(QUERIES, None)))
    distances = FeatureDistances(features[:QUERIES], features[QUERIES:])
    found = retrieval(distances, query, gallery)
    return {**found.scores(), "unmatched": float(len(found.unmatched))}


def test_order_and_repeats_change_nothing() -> None:
    metric = RetrievalMetric()
    shuffled = torch.randperm(QUERIES + IMAGES, generator=torch.Generator().manual_seed(1))
    feed(metric, torch.cat((shuffled, shuffled[:77])))
    assert {name: float(value) for name, value in metric.compute().items()} == expected()
    metric.reset()
    feed(metric, torch.arange(QUERIES + IMAGES))
    assert {name: float(value) for name, value in metric.compute().items()} == expected()


def test_other_rankings_are_reported_beside() -> None:
    metric = RetrievalMetric(reranking=True, expansion=3, single_shot=4)
    feed(metric, torch.arange(QUERIES + IMAGES))
    scores = {name: float(value) for name, value in metric.compute().items()}
    assert scores.items() >= expected().items()
    beside = {name for name in scores if name.endswith(("_reranked", "_expanded", "_single_shot"))}
    for name in ("mAP_reranked", "mAP_trapezoid_reranked", "rank1_expanded", "mINP_expanded", "rank5_single_shot"):
        assert name in beside
    assert scores["mAP_reranked"] > scores["mAP"]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize(("rows", "name"), [(slice(QUERIES), "gallery"), (slice(QUERIES, None), "query")])
def test_nothing_to_search_is_an_error(rows: slice, name: str) -> None:
    metric = RetrievalMetric()
    metric.update(*(values[rows] for values in evaluation_set()))
    with pytest.raises(InputError, match=f"no {name} images"):
        metric.compute()
    metric.reset()
    with pytest.raises(InputError, match="no query images"):
        metric.compute()
