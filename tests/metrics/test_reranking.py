"""Re-ranking against the paper's definitions, written out with sets and loops in float64."""

import itertools
import math
import tracemalloc

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from relattn.errors import InputError
from relattn.metrics import Distances, ReRanked
from relattn.metrics.ranks import Labels, own_files


def slow_re_ranking(query: Tensor, gallery: Tensor, metric: str, k1: int, k2: int, weight: float) -> Tensor:
    """Zhong et al. 2017 as `ReRanked` documents it, with sets and dictionaries, one pair at a time."""
    images = torch.cat([query, gallery]).double()
    if metric == "cosine":
        images = images / images.norm(dim=1, keepdim=True)
    points = images.tolist()
    everyone = range(len(points))
    distance = []
    for p in everyone:
        squares = [sum((a - b) ** 2 for a, b in zip(points[p], points[g], strict=True)) for g in everyone]
        distance.append([square / (max(squares) or 1) for square in squares])
    ranking = [sorted(everyone, key=lambda g, p=p: (g != p, distance[p][g], g)) for p in everyone]

    def reciprocal(p: int, k: int) -> set[int]:
        return {g for g in ranking[p][: k + 1] if p in ranking[g][: k + 1]}

    half = round(k1 / 2)
    vectors = []
    for p in everyone:
        first = reciprocal(p, k1)
        joined = set(first)
        for g in first:
            theirs = reciprocal(g, half)
            if len(theirs & first) / len(theirs) > 2 / 3 + 1e-12:
                joined |= theirs
        weights = {g: math.exp(-distance[p][g]) for g in joined}
        vectors.append({g: value / sum(weights.values()) for g, value in weights.items()})
    averaged = []
    for p in everyone:
        near = ranking[p][:k2]
        averaged.append({g: sum(vectors[n].get(g, 0) for n in near) / len(near) for g in everyone})

    result = torch.empty(len(query), len(gallery), dtype=torch.float64)
    for p, g in itertools.product(range(len(query)), range(len(gallery))):
        one, other = averaged[p], averaged[len(query) + g]
        smaller = sum(min(one[i], other[i]) for i in everyone)
        larger = sum(max(one[i], other[i]) for i in everyone)
        result[p, g] = (1 - weight) * (1 - smaller / larger) + weight * distance[p][len(query) + g]
    return result.float()


def clustered(count: int, seed: int, *, clusters: int = 6, dimensions: int = 8) -> Tensor:
    centres = torch.randn(clusters, dimensions, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(0, clusters, (count,), generator=generator)
    return centres[which] + 0.4 * torch.randn(count, dimensions, generator=generator)


def whole(distances: Distances, chunk: int = 1000) -> Tensor:
    return torch.cat(
        [distances.rows(start, min(start + chunk, distances.shape[0])) for start in range(0, distances.shape[0], chunk)]
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (6, 3), (5, 1), (3, 2), (1, 1), (2, 9), (7, 30), (200, 6), (4, 200)])
def test_distances_are_those_of_the_definition(metric: str, k1: int, k2: int) -> None:
    query, gallery = clustered(13, 1), clustered(40, 2)
    found = ReRanked(query, gallery, metric=metric, k1=k1, k2=k2)
    assert found.shape == (13, 40)
    assert found.device == query.device
    rows = whole(found)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, slow_re_ranking(query, gallery, metric, k1, k2, 0.3), rtol=1e-4, atol=1e-5)
    assert found.display(rows) is rows


@pytest.mark.parametrize("seed", range(6))
def test_random_features_and_many_joined_sets(seed: int) -> None:
    query, gallery = clustered(9, 10 + seed, clusters=3), clustered(50, 20 + seed, clusters=3)
    rows = whole(ReRanked(query, gallery, k1=12, k2=4, weight=0.1))
    torch.testing.assert_close(rows, slow_re_ranking(query, gallery, "cosine", 12, 4, 0.1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_ties_and_duplicates_go_to_the_smaller_index(seed: int) -> None:
    """Small whole numbers: float32 sums are exact, and most distances occur many times."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randint(0, 2, (13, 3), generator=generator).float()
    gallery = torch.randint(0, 2, (40, 3), generator=generator).float()
    rows = whole(ReRanked(query, gallery, metric="euclidean", k1=6, k2=3))
    torch.testing.assert_close(rows, slow_re_ranking(query, gallery, "euclidean", 6, 3, 0.3), rtol=1e-4, atol=1e-5)


def test_identical_images_are_all_equally_far() -> None:
    query, gallery = torch.ones(3, 4), torch.ones(30, 4)
    rows = whole(ReRanked(query, gallery, metric="euclidean", k1=5, k2=2))
    assert rows.isfinite().all()
    torch.testing.assert_close(rows, slow_re_ranking(query, gallery, "euclidean", 5, 2, 0.3))


@pytest.mark.parametrize(("queries", "images"), [(1, 1), (1, 2), (2, 1), (3, 4)])
def test_tiny_galleries(queries: int, images: int) -> None:
    query, gallery = clustered(queries, 1), clustered(images, 2)
    rows = whole(ReRanked(query, gallery))
    torch.testing.assert_close(rows, slow_re_ranking(query, gallery, "cosine", 20, 6, 0.3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 7, 13, 52, 53, 1000])
def test_chunks_do_not_matter(chunk: int) -> None:
    generator = torch.Generator().manual_seed(3)
    query = torch.randint(-9, 9, (13, 8), generator=generator).float()  # exact in float32, whatever the chunk
    gallery = torch.randint(-9, 9, (40, 8), generator=generator).float()
    expected = whole(ReRanked(query, gallery, metric="euclidean"))
    found = ReRanked(query, gallery, metric="euclidean", chunk=chunk)
    assert torch.equal(whole(found, chunk), expected)
    buffer = torch.full((4, 40), float("nan"))
    assert found.rows(9, 13, out=buffer) is buffer
    assert torch.equal(buffer, expected[9:])


def test_pairs_are_compared_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = clustered(13, 1), clustered(40, 2)
    expected = whole(ReRanked(query, gallery))
    monkeypatch.setattr("relattn.metrics.reranking.PAIRS", 50)
    assert torch.equal(whole(ReRanked(query, gallery)), expected)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_weight_mixes_the_two_distances(weight: float) -> None:
    query, gallery = clustered(13, 1), clustered(40, 2)
    rows = whole(ReRanked(query, gallery, weight=weight))
    torch.testing.assert_close(rows, slow_re_ranking(query, gallery, "cosine", 20, 6, weight), rtol=1e-4, atol=1e-5)
    if weight == 1:  # the original ranking
        similarity = torch.nn.functional.normalize(query) @ torch.nn.functional.normalize(gallery).T
        assert torch.equal(rows.argmin(dim=1), similarity.argmax(dim=1))


def test_re_ranking_brings_the_own_cluster_forward() -> None:
    centres = torch.randn(30, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.Generator().manual_seed(1)
    names = torch.arange(30).repeat_interleave(8)
    gallery = centres[names] + 0.7 * torch.randn(240, 16, generator=noise)
    query = centres + 0.7 * torch.randn(30, 16, generator=noise)

    def precision(weight: float) -> float:
        first = whole(ReRanked(query, gallery, k1=8, k2=3, weight=weight)).argsort(dim=1)[:, :8]
        return float((names[first] == torch.arange(30)[:, None]).double().mean())

    assert precision(0.3) > precision(1.0) + 0.05


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.numel())
        return result


def rank_all(images: Tensor, chunk: int) -> None:
    found = ReRanked(images[:500], images[500:], chunk=chunk)
    for start in range(0, 500, chunk):
        found.rows(start, min(start + chunk, 500))


def test_no_tensor_of_all_pairs_is_ever_made() -> None:
    with Largest() as largest:
        rank_all(clustered(3000, 1, clusters=300, dimensions=16), chunk=64)
    assert 64 * 3000 <= largest.numbers <= 2**18  # a chunk of distances; pairs of features


def test_sparse_arithmetic_grows_with_the_images_not_with_their_pairs() -> None:
    peaks = []
    for count in (1000, 3000):
        images = clustered(count, 1, clusters=count // 10, dimensions=16)
        tracemalloc.start()
        try:
            rank_all(images, chunk=64)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 3.5 * peaks[0]
    assert peaks[1] < 3000 * 3000  # bytes: a quarter of one float32 matrix of all pairs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k1": 0}, "k1 .* at least 1, not 0"),
        ({"k2": -1}, "k2 .* at least 1, not -1"),
        ({"chunk": 0}, "chunk .* at least 1"),
        ({"weight": 1.1}, r"between 0 and 1, not 1\.1"),
        ({"weight": float("nan")}, "between 0 and 1, not nan"),
        ({"metric": "manhattan"}, "not 'manhattan'"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReRanked(clustered(3, 1), clustered(4, 2), **wrong)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", ["query", "gallery"])
def test_features_that_are_not_finite_are_named(metric: str, name: str) -> None:
    given = {"query": clustered(3, 1), "gallery": clustered(4, 2)}
    given[name][2, 0] = float("nan")
    with pytest.raises(InputError, match=f"Feature 2 of the {name} "):
        ReRanked(**given, metric=metric)
    with pytest.raises(InputError, match="8 dimensions and gallery features 5"):
        ReRanked(clustered(3, 1), clustered(4, 2)[:, :5], metric=metric)


def test_an_own_file_in_the_gallery_is_one_image() -> None:
    images = clustered(24, 5)
    files = Labels(torch.zeros(24), torch.zeros(24), torch.arange(24))
    everyone, places = torch.arange(24), torch.tensor([3, 7])
    found = whole(ReRanked(images, images, k1=6, k2=3, own=own_files(files, files)))
    part = whole(ReRanked(images[places], images, k1=6, k2=3, own=places))
    for query in places.tolist():
        others = everyone[everyone != query]
        alone = whole(ReRanked(images[[query]], images[others], k1=6, k2=3))
        torch.testing.assert_close(found[query, others], alone[0])
    torch.testing.assert_close(part, found[places])
    # A query that is not in the gallery stands beside one that is.
    mixed = whole(ReRanked(images[[0, 3]], images[1:], k1=6, k2=3, own=torch.tensor([-1, 2])))
    torch.testing.assert_close(mixed[0], found[0, 1:])
    torch.testing.assert_close(mixed[1], found[3, 1:])


def test_no_own_files_are_searched_for_where_none_can_be() -> None:
    one, other = (
        Labels(torch.zeros(2), torch.zeros(2), files) for files in (torch.tensor([1, 2]), torch.tensor([5, 1]))
    )
    assert own_files(one, Labels(one.identities, one.cameras)) is None
    assert own_files(one, one._replace(files=torch.tensor([8, 9]))) is None
    assert own_files(one, other).tolist() == [1, -1]
