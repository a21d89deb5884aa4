"""Retrieval scores against a brute-force oracle that walks every query's full ranking in plain Python."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relattn.errors import InputError
from relattn.metrics import ranks
from relattn.metrics.distances import FeatureDistances, MatrixDistances
from relattn.metrics.ranks import Labels, match_ranks
from relattn.metrics.retrieval import retrieval, single_shot_cmc


def labels(identities: list[int], cameras: list[int]) -> Labels:
    return Labels(torch.tensor(identities), torch.tensor(cameras))


def oracle(matrix: Tensor, query: Labels, gallery: Labels, same_camera: str = "junk", ties: str = "order") -> dict:
    """Every score from the definitions, one query and one image at a time."""
    step, trapezoid, inverse, first, unmatched, all_ranks = [], [], [], [], [], []
    matching, impostors = [], []
    for q, row in enumerate(matrix.tolist()):
        identity, camera = int(query.identities[q]), int(query.cameras[q])
        entries = []
        for g, distance in enumerate(row):
            same = int(gallery.identities[g]) == identity
            if same and int(gallery.cameras[g]) == camera and same_camera == "junk":
                continue
            if -1 in (identity, int(gallery.identities[g])):
                continue
            if query.files is not None and int(query.files[q]) == int(gallery.files[g]):
                continue
            entries.append((distance, same if ties == "worst" else 0, g, same))
            (matching if same else impostors).append(distance)
        entries.sort()
        hits, precision_before, area, steps = 0, 1.0, 0.0, 0.0
        total = sum(entry[3] for entry in entries)
        if not total:
            unmatched.append(q)
            continue
        for place, entry in enumerate(entries, start=1):
            hits += entry[3]
            if entry[3]:
                steps += hits / place
                area += (precision_before + hits / place) / 2
                all_ranks.append(place)
                if hits == 1:
                    first.append(place)
                if hits == total:
                    inverse.append(total / place)
            precision_before = hits / place
        step.append(steps / total)
        trapezoid.append(area / total)
    scores = {
        "mAP": 100 * math.fsum(step) / len(step) if step else None,
        "mAP_trapezoid": 100 * math.fsum(trapezoid) / len(step) if step else None,
        "mINP": 100 * math.fsum(inverse) / len(step) if step else None,
    }
    for rank in (1, 5, 10):
        scores[f"rank{rank}"] = 100 * sum(place <= rank for place in first) / len(first) if first else None
    for fpr in (0.01, 0.1):
        allowed = int(fpr * len(impostors))
        best = 0.0  # try every threshold
        for threshold in sorted({*matching, *impostors, math.inf}):
            if sum(value < threshold for value in impostors) <= allowed and matching:
                best = max(best, sum(value < threshold for value in matching) / len(matching))
        scores[f"TPR@FPR={fpr:g}"] = 100 * best
    return {"scores": scores, "ranks": all_ranks, "unmatched": unmatched}


def drawn(seed: int, queries: int, images: int, identities: int, cameras: int, levels: int) -> tuple:
    generator = torch.Generator().manual_seed(seed)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    matrix = integers(levels, queries, images).float() / 8
    query = Labels(integers(identities, queries), integers(cameras, queries))
    gallery = Labels(integers(identities, images), integers(cameras, images))
    return matrix, query, gallery


def with_extremes(matrix: Tensor, query: Labels, gallery: Labels, seed: int, kind: str) -> tuple:
    """Distances that are infinite or nearly equal, images of no one, and queries that are also in the gallery."""
    generator = torch.Generator().manual_seed(seed + 1)

    def some(shape: tuple[int, ...], part: float) -> Tensor:
        return torch.rand(shape, generator=generator) < part

    if kind == "nearest lists":
        matrix = matrix.masked_fill(some(matrix.shape, 0.6), math.inf)
        matrix = matrix.masked_fill(some(matrix.shape, 0.1), -math.inf)
    if kind == "float64":
        matrix = 1 - matrix.double() * 1e-12
    if kind == "integers":
        matrix = (matrix * 8).long() + 2**40
    files = [torch.randint(9, labels.identities.shape, generator=generator) for labels in (query, gallery)]
    both = [
        Labels(labels.identities.masked_fill(some(labels.identities.shape, 0.15), -1), labels.cameras, numbers)
        for labels, numbers in zip((query, gallery), files, strict=True)
    ]
    return matrix, *both


@pytest.mark.parametrize("kind", ["plain", "extremes", "nearest lists", "float64", "integers"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(1, 7),
    images=st.integers(1, 24),
    identities=st.integers(1, 5),
    cameras=st.integers(1, 3),
    levels=st.sampled_from([1, 3, 1000]),
    same_camera=st.sampled_from(["junk", "match"]),
    ties=st.sampled_from(["order", "worst"]),
)
def test_scores_are_the_oracle_s(
    seed: int,
    queries: int,
    images: int,
    identities: int,
    cameras: int,
    levels: int,
    kind: str,
    same_camera: str,
    ties: str,
) -> None:
    matrix, query, gallery = drawn(seed, queries, images, identities, cameras, levels)
    if kind != "plain":
        matrix, query, gallery = with_extremes(matrix, query, gallery, seed, kind)
    expected = oracle(matrix, query, gallery, same_camera, ties)
    options = {"same_camera": same_camera, "ties": ties}
    if len(expected["unmatched"]) == queries:
        with pytest.raises(InputError, match="without a match"):
            retrieval(matrix, query, gallery, **options)
        return
    found = retrieval(matrix, query, gallery, fprs=(0.01, 0.1), **options)
    assert found.unmatched.tolist() == expected["unmatched"]
    assert found.scores() == pytest.approx(expected["scores"], rel=1e-12)
    assert match_ranks(MatrixDistances(matrix), query, gallery, **options).ranks.tolist() == expected["ranks"]


@pytest.mark.parametrize("kind", [np.asarray, lambda values: values.tolist(), np.ascontiguousarray])
@pytest.mark.parametrize("text", [False, True])
def test_labels_and_distances_of_any_kind_are_alike(kind: Any, text: bool) -> None:
    matrix, query, gallery = with_extremes(*drawn(3, 9, 30, 4, 2, 5), 3, "extremes")
    whole = retrieval(matrix, query, gallery)
    names = np.array(["ben", "carla", "dan", "eva", "-1"], object)  # a negative number is counted from the end

    def converted(labels: Labels) -> Labels:
        identities = names[labels.identities.numpy()] if text else labels.identities.numpy()
        return Labels(kind(identities), kind(labels.cameras.numpy()), kind(labels.files.numpy()))

    found = retrieval(kind(matrix.numpy().astype(">f8")), converted(query), converted(gallery))
    assert found.scores() == whole.scores()


def test_labels_that_are_none_are_refused() -> None:
    matrix = torch.rand(1, 2)
    for identities in ([1.0, 2.0], [True, False], [[1, 2]], [1, None], np.array([1, 2**63], np.uint64)):
        with pytest.raises(InputError, match=r"The identities are .*expected one whole number or text"):
            retrieval(matrix, Labels([1], [0]), Labels(identities, [1, 1]))
    with pytest.raises(InputError, match="one side are numbers and those of the other text"):
        retrieval(matrix, Labels([1], [0]), Labels(["1", "2"], [1, 1]))
    with pytest.raises(InputError, match="without cameras"):
        retrieval(matrix, Labels([1], None), Labels([1, 2], [1, 1]))


@pytest.mark.parametrize("chunk", [1, 64 * 50, 2**24])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, query, gallery = drawn(5, 200, 50, 8, 3, 60)
    whole = retrieval(matrix, query, gallery, fprs=(1e-3, 0.1))
    monkeypatch.setattr(ranks, "CHUNK", chunk)
    assert len(ranks.chunks((200, 50))) == (1 if chunk == 2**24 else 4)
    parts = retrieval(matrix, query, gallery, fprs=(1e-3, 0.1))
    assert parts.scores() == whole.scores()
    assert torch.equal(parts.average_precisions.nan_to_num(), whole.average_precisions.nan_to_num())


def test_both_definitions_of_average_precision() -> None:
    """Matches at ranks 1, 2, 4, 10: (1 + 1 + 3/4 + 4/10) / 4, and the trapezoids below that."""
    matrix = torch.arange(10.0)[None]
    identities = [1 if place in (0, 1, 3, 9) else 2 for place in range(10)]
    found = retrieval(matrix, labels([1], [0]), labels(identities, [1] * 10))
    assert found.mean_ap == pytest.approx(78.75)
    assert found.mean_ap_trapezoid == pytest.approx(100 * (1 + 1 + (0.75 + 2 / 3) / 2 + (0.4 + 3 / 9) / 2) / 4)
    assert found.mean_inp == pytest.approx(40)


def test_a_gallery_smaller_than_the_curve() -> None:
    found = retrieval(torch.tensor([[0.2, 0.1]]), labels([1], [0]), labels([1, 2], [1, 1]), ranks=50)
    assert found.cmc.tolist() == [0.0] + 49 * [100.0]


def test_constant_features_score_what_they_deserve() -> None:
    matrix = torch.ones(1, 10)
    gallery = labels([1] + 9 * [2], 10 * [1])
    assert retrieval(matrix, labels([1], [0]), gallery).mean_ap == 100  # it happens to be first
    assert retrieval(matrix, labels([1], [0]), gallery, ties="worst").mean_ap == pytest.approx(10)


def test_queries_without_a_match_are_explained() -> None:
    gallery = labels([1, 2, 2], [0, 0, 1])
    found = retrieval(torch.rand(3, 3), labels([1, 2, 9], [0, 0, 0]), gallery)
    assert found.unmatched.tolist() == [0, 2]
    assert found.first_ranks.tolist()[0] == found.first_ranks.tolist()[2] == 0
    with pytest.raises(InputError, match=r"for 1, the gallery has no image.*for 1, it has images from"):
        retrieval(torch.rand(2, 3), labels([1, 9], [0, 0]), gallery)


def test_a_set_that_is_query_and_gallery_does_not_find_itself() -> None:
    """Without this rule, rank-1 would be 100 % for any features."""
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    who = Labels(torch.arange(40) % 8, torch.zeros(40, dtype=torch.int64), torch.arange(40))
    distances = FeatureDistances(features, features)
    found = retrieval(distances, who, who, same_camera="match")
    alone = torch.stack([torch.cat((row[:q], row[q + 1 :])) for q, row in enumerate(distances.rows(0, 40))])
    firsts = [[g for g in range(40) if g != q][int(row.argmin())] for q, row in enumerate(alone)]
    expected = sum(who.identities[q] == who.identities[g] for q, g in enumerate(firsts)) / 40
    assert found.scores()["rank1"] == pytest.approx(100 * float(expected))
    assert found.scores()["rank1"] < 60
    single = Labels([1, 2], [0, 0], [0, 1])
    with pytest.raises(InputError, match="for 2, it has the query's own file only"):
        retrieval(torch.rand(2, 2), single, single, same_camera="match")
    with pytest.raises(InputError, match="1 show no one"):
        retrieval(torch.rand(1, 2), Labels([-1], [0]), Labels([-1, 1], [1, 1]))


def test_features_with_nan_are_refused() -> None:
    features = torch.rand(4, 3)
    features[2, 1] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        retrieval(FeatureDistances(features, torch.rand(5, 3)), labels([1] * 4, [0] * 4), labels([1] * 5, [1] * 5))
    with pytest.raises(InputError, match="NaN"):
        retrieval(features, labels([1] * 4, [0] * 4), labels([1] * 3, [1] * 3))


def test_labels_must_fit() -> None:
    with pytest.raises(
        InputError, match="gallery: 2 identities and 2 cameras for 3 columns of distances; expected one each"
    ):
        retrieval(torch.rand(1, 3), labels([1], [0]), labels([1, 2], [1, 1]))
    with pytest.raises(InputError, match="fprs has 2"):
        retrieval(torch.rand(1, 2), labels([1], [0]), labels([1, 2], [1, 1]), fprs=[2])


def single_shot_oracle(matrix: Tensor, query: Labels, gallery: Labels, repeats: int, seed: int) -> list[float]:
    """Draw by draw, query by query."""
    generator = torch.Generator().manual_seed(seed)
    hits, trials = [0] * 5, 0
    for _ in range(repeats):
        order = torch.randperm(len(gallery.identities), generator=generator).tolist()
        for q in range(len(matrix)):
            chosen: dict[int, int] = {}
            for g in order:
                identity = int(gallery.identities[g])
                if identity == -1:
                    continue
                if identity == int(query.identities[q]) and gallery.cameras[g] == query.cameras[q]:
                    continue
                chosen.setdefault(identity, g)
            own = chosen.get(int(query.identities[q]))
            if own is None:
                continue
            ranking = sorted(chosen.values(), key=lambda g: (float(matrix[q, g]), g))
            place = ranking.index(own)
            hits = [count + (place <= rank) for rank, count in enumerate(hits)]
            trials += 1
    return [100 * count / trials for count in hits]


@pytest.mark.parametrize("levels", [3, 1000, "infinite"])
def test_single_shot_is_the_classic_protocol(levels: Any) -> None:
    matrix, query, gallery = drawn(3, 30, 60, 9, 2, 3 if levels == "infinite" else levels)
    if levels == "infinite":
        matrix, query, gallery = with_extremes(matrix, query, gallery, 3, "nearest lists")
        query, gallery = Labels(*query[:2]), Labels(*gallery[:2])
    found = single_shot_cmc(matrix, query, gallery, repeats=4, ranks=5, seed=7)
    assert found.tolist() == pytest.approx(single_shot_oracle(matrix, query, gallery, 4, 7))
    with pytest.raises(InputError, match="without a match"):
        single_shot_cmc(torch.rand(1, 2), labels([5], [0]), labels([1, 2], [1, 1]))
