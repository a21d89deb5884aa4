"""Distances by rows, the nearest of them, and expanded queries, against loops in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from relattn.errors import InputError
from relattn.metrics import Distances, FeatureDistances, MatrixDistances, expand_queries, nearest


def features(count: int, seed: int, dimensions: int = 7) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


def slow_distance(a: Tensor, b: Tensor, metric: str) -> float:
    a, b = a.double().tolist(), b.double().tolist()
    if metric == "euclidean":
        return math.dist(a, b)
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distances_are_those_of_the_definition(metric: str, dtype: torch.dtype) -> None:
    query, gallery = features(5, 0).to(dtype), features(11, 1).to(dtype)
    distances: Distances = FeatureDistances(query, gallery, metric)
    assert distances.shape == (5, 11)
    assert distances.device == query.device
    expected = torch.tensor([[slow_distance(q, g, metric) for g in gallery] for q in query], dtype=torch.float64)
    rows = distances.rows(0, 5)
    assert rows.dtype == distances.dtype == dtype
    within = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    expected = expected.to(torch.float64)
    torch.testing.assert_close(distances.display(rows).double(), expected, **within)
    if metric == "euclidean":  # ranks by squares
        torch.testing.assert_close(rows.double(), expected.square(), **within)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 9])
def test_rows_do_not_depend_on_the_chunk_and_fill_what_is_given(metric: str, chunk: int) -> None:
    distances = FeatureDistances(features(5, 0), features(11, 1), metric)
    whole = distances.rows(0, 5)
    buffer = torch.full((chunk, 11), float("nan"))  # the old content must not matter
    for start in range(0, 5, chunk):
        stop = min(start + chunk, 5)
        rows = distances.rows(start, stop, out=buffer[: stop - start])
        assert rows.data_ptr() == buffer.data_ptr()
        torch.testing.assert_close(rows, whole[start:stop], rtol=1e-6, atol=1e-6)


def test_squares_are_never_negative_and_gradients_are_not_kept() -> None:
    same = 100 + features(20, 0)
    distances = FeatureDistances(same.requires_grad_(), same, "euclidean")
    rows = distances.rows(0, 20)
    assert rows.min() >= 0
    assert not rows.requires_grad
    assert not distances.display(rows).isnan().any()


def test_the_product_stays_in_float32_inside_autocast() -> None:
    query, gallery = features(5, 0, 512), features(11, 1, 512)
    plain = [FeatureDistances(query, gallery, metric).rows(0, 5) for metric in ("cosine", "euclidean")]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = [FeatureDistances(query, gallery, metric).rows(0, 5) for metric in ("cosine", "euclidean")]
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))


def test_equal_features_are_at_no_negative_distance() -> None:
    distances = FeatureDistances(features(2, 0), features(2, 0))
    rounded = torch.tensor([-1e-7, 0.5])
    assert torch.equal(distances.display(rounded), torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("name", ["query", "gallery"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_features_that_are_not_finite_are_named(value: float, name: str, metric: str) -> None:
    given = {"query": features(5, 0), "gallery": features(11, 1)}
    given[name][3, 2] = given[name][4, 0] = value
    with pytest.raises(InputError, match=rf"Feature 3 of the {name} \(2 of"):
        FeatureDistances(**given, metric=metric)


@pytest.mark.parametrize("name", ["query", "gallery"])
def test_features_without_direction_are_named(name: str) -> None:
    given = {"query": features(5, 0), "gallery": features(11, 1)}
    given[name][4] = 0
    with pytest.raises(InputError, match=f"Feature 4 of the {name}.* is zero"):
        FeatureDistances(**given)
    assert FeatureDistances(**given, metric="euclidean").rows(0, 5).isfinite().all()


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (torch.ones(2, 3), torch.ones(4, 5), "3 dimensions and gallery features 5"),
        (torch.ones(0, 3), torch.ones(4, 3), r"query .*not \(0, 3\)"),
        (torch.ones(2, 3), torch.ones(0, 3), r"gallery .*not \(0, 3\)"),
        (torch.ones(2, 0), torch.ones(2, 0), r"query .*not \(2, 0\)"),
        (torch.ones(2, 3, 1), torch.ones(2, 3), r"query .*not \(2, 3, 1\)"),
        (torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3), "floating point numbers, not torch.int64"),
        (torch.ones(2, 3, device="meta"), torch.ones(2, 3), "on meta and gallery features on cpu"),
    ],
)
def test_features_that_do_not_go_together_are_refused(query: Tensor, gallery: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FeatureDistances(query, gallery)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(InputError, match="not 'manhattan'"):
        FeatureDistances(features(2, 0), features(2, 0), "manhattan")


def test_a_matrix_is_handed_out_as_copies() -> None:
    matrix = torch.arange(12.0).view(3, 4).double()
    distances: Distances = MatrixDistances(matrix)
    assert distances.shape == (3, 4)
    rows = distances.rows(1, 3)
    assert rows.dtype == distances.dtype == torch.float64
    assert torch.equal(rows, matrix[1:])
    assert torch.equal(distances.display(rows), rows)
    MatrixDistances(rows).rows(0, 2).zero_()
    assert rows.any()
    buffer = torch.empty(2, 4, dtype=torch.float64)
    assert distances.rows(0, 2, out=buffer) is buffer
    assert torch.equal(buffer, matrix[:2])
    matrix[1, 2] = float("nan")
    with pytest.raises(InputError, match="query 1 "):
        MatrixDistances(matrix)
    with pytest.raises(InputError, match=r"not \(0, 4\)"):
        MatrixDistances(matrix[:0])


def test_matrices_of_other_types_keep_every_number_or_are_refused() -> None:
    for kind in ("f2", ">f4", "f8", "u1", "i2", ">u2", "u4", "i8", "u8"):
        matrix = np.arange(12).reshape(3, 4).astype(kind)
        for given in (matrix, matrix.tolist(), matrix[::-1, ::-1][::-1, ::-1]):
            rows = MatrixDistances(given).rows(0, 3)
            assert rows.tolist() == matrix.tolist()
    assert MatrixDistances([[2**53 - 1, 2**53]]).rows(0, 1).diff().item() == 1
    for wrong, named in (
        ([[2**53 + 1]], "beyond"),
        (np.array([[2**63]], np.uint64), "beyond"),
        ([[-(2**60)]], "beyond"),
        ([[True]], "not bool"),
        ([["a"]], "not <U1"),
        ([[1j]], "not complex128"),
        (np.array([[1]], object), "not object"),
        ([[1], [1, 2]], "these have none"),
        (torch.ones(1, 1, dtype=torch.bool), "torch.bool"),
        (torch.ones(1, 1).to_sparse(), "sparse"),
    ):
        with pytest.raises(InputError, match=named):
            MatrixDistances(wrong)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 30])
def test_nearest_takes_the_smaller_index_of_equal_values(count: int) -> None:
    values = torch.randint(0, 4, (50, 9), generator=torch.Generator().manual_seed(0)).float()
    values[0] = 2  # all equal
    smallest, indices = nearest(values, count)
    for row, found, where in zip(values.tolist(), smallest.tolist(), indices.tolist(), strict=True):
        expected = sorted((value, place) for place, value in enumerate(row))[:count]
        assert list(zip(found, where, strict=True)) == expected


def slow_expansion(query: Tensor, gallery: Tensor, neighbours: int, alpha: float) -> Tensor:
    """The definition of Radenovic et al., one query at a time."""
    query, gallery = (x.double() / x.double().norm(dim=1, keepdim=True) for x in (query, gallery))
    result = []
    for q in query:
        ranked = sorted(range(len(gallery)), key=lambda g: (-float(q @ gallery[g]), g))
        for g in ranked[:neighbours]:
            similarity = max(float(query[len(result)] @ gallery[g]), 0.0)
            q = q + (similarity**alpha) * gallery[g]
        result.append(q / q.norm())
    return torch.stack(result).float()


@pytest.mark.parametrize("neighbours", [0, 1, 5, 100])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("chunk", [4, 256])
def test_expanded_queries_are_those_of_the_definition(neighbours: int, alpha: float, chunk: int) -> None:
    query, gallery = features(13, 0), features(40, 1)
    expanded = expand_queries(query, gallery, neighbours=neighbours, alpha=alpha, chunk=chunk)
    assert expanded.dtype == torch.float32
    torch.testing.assert_close(expanded, slow_expansion(query, gallery, neighbours, alpha), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_a_querys_own_file_is_not_added(alpha: float) -> None:
    images, everyone = features(12, 0), torch.arange(12)
    for neighbours in (3, 20):
        expanded = expand_queries(images, images, neighbours=neighbours, alpha=alpha, own=everyone)
        for query in (0, 7):
            others = images[everyone != query]
            alone = expand_queries(images[[query]], others, neighbours=neighbours, alpha=alpha)
            torch.testing.assert_close(expanded[query], alone[0])


def test_expansion_refuses_what_makes_no_sense() -> None:
    for wrong in ({"neighbours": -1}, {"alpha": -0.5}, {"alpha": float("nan")}, {"chunk": 0}):
        with pytest.raises(InputError):
            expand_queries(features(3, 0), features(4, 1), **wrong)
