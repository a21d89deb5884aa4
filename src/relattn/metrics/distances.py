"""Distances of queries to a gallery, computed for some rows at a time, so that the whole matrix never has to exist."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError

DistanceName = Literal["cosine", "euclidean"]


class Distances(Protocol):
    """Distances of queries to a gallery, computed for some rows at a time.

    Attributes:
        shape: Number of queries and of gallery images.
        device: Device on which the rows are computed.
        dtype: Precision of the rows, float32 or float64.
    """

    shape: tuple[int, int]
    device: torch.device
    dtype: torch.dtype

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Distances of the queries `start` to `stop - 1`: `(stop - start, gallery)` of `dtype`.

        Args:
            start: First query.
            stop: The query after the last one.
            out: Tensor of that shape and `dtype` on the device to write the distances to; it is also returned.
        """
        ...

    def display(self, values: Tensor) -> Tensor:
        """Convert values of `rows` to the distances to show, without changing their order."""
        ...


class FeatureDistances:
    """Distances between features, one matrix product per call of `rows`.

    `cosine` ranks by 1 - cos(q, g), between 0 and 2; features are divided by their length once, at the start.
    `euclidean` ranks by the squared distance |q|^2 + |g|^2 - 2 q.g, at least 0, of which `display` takes the root.

    Features in float64 are compared in float64, all others in float32, on a GPU without TF32. Distances are rounded
    like matrix products in that precision: equal features get equal distances up to rounding, not always to the last
    bit, and the last bit may depend on the number of rows computed at once.

    Attributes:
        query: `(Q, D)` of `dtype`, of length 1 for `cosine`.
        gallery: `(G, D)` likewise.
    """

    def __init__(self, query: Tensor, gallery: Tensor, metric: DistanceName = "cosine") -> None:
        """Check the features and prepare them.

        Args:
            query: `(Q, D)`, floating point.
            gallery: `(G, D)` on the same device. If it is the same tensor as `query`, it is prepared only once.
            metric: The distance, `"cosine"` or `"euclidean"`.

        Raises:
            InputError: Features are missing, do not match, are not finite, or are zero (`cosine`).
        """
        if metric not in ("cosine", "euclidean"):
            raise InputError(f"The distance is 'cosine' or 'euclidean', not {metric!r}.")
        check_features(query, gallery)
        self.metric: DistanceName = metric
        self.shape = (len(query), len(gallery))
        self.device = query.device
        self.dtype = torch.float64 if torch.float64 in (query.dtype, gallery.dtype) else torch.float32
        same = query is gallery
        self.query, self._query_squares = _prepare(query, metric, "query", self.dtype)
        if same:
            self.gallery, self._gallery_squares = self.query, self._query_squares
        else:
            self.gallery, self._gallery_squares = _prepare(gallery, metric, "gallery", self.dtype)

    @torch.no_grad()
    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Compute the distances for ranking of the queries `start` to `stop - 1`: `(stop - start, G)` of `dtype`."""
        query = self.query[start:stop]
        if out is None:
            out = torch.empty(len(query), self.shape[1], dtype=self.dtype, device=self.device)
        with without_tf32(self.device):
            if self.metric == "cosine":
                return torch.addmm(out.fill_(1), query, self.gallery.T, alpha=-1, out=out)
            torch.add(self._query_squares[start:stop, None], self._gallery_squares, out=out)
            return torch.addmm(out, query, self.gallery.T, alpha=-2, out=out).clamp_(min=0)

    def display(self, values: Tensor) -> Tensor:
        """Return the cosine distance without the negative values of rounding, or the root of the squared distance."""
        return values.clamp(min=0) if self.metric == "cosine" else values.sqrt()


@contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Compute products of float32 in float32 on a GPU too, where training may have asked for TF32."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class MatrixDistances:
    """Distances that were computed elsewhere; an infinite one ranks last (for lists of only the nearest images).

    Args:
        matrix: `(Q, G)` without NaN: a tensor, a NumPy array, or nested lists. Whole numbers and float64 are ranked in
            float64, which represents them exactly, and smaller types in float32.

    Raises:
        InputError: If it has another shape or type, or contains NaN or whole numbers too large for float64.
    """

    def __init__(self, matrix: Tensor | NDArray[Any] | Sequence[Sequence[float]]) -> None:
        self.matrix = as_matrix(matrix)
        self.shape = (self.matrix.shape[0], self.matrix.shape[1])
        self.device = self.matrix.device
        small = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16)
        self.dtype = torch.float32 if self.matrix.dtype in small else torch.float64

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Copy the rows `start` to `stop - 1`, `(stop - start, G)` of `dtype`, so that the matrix stays unchanged."""
        rows = self.matrix[start:stop]
        return rows.to(self.dtype, copy=True) if out is None else out.copy_(rows)

    def display(self, values: Tensor) -> Tensor:
        """Return the values unchanged."""
        return values


def as_matrix(matrix: Any) -> Tensor:
    """Check a matrix of distances and return it as a tensor; raises as `MatrixDistances` does."""
    if not isinstance(matrix, Tensor) or matrix.dtype in (torch.uint16, torch.uint32, torch.uint64):
        try:
            array = np.asarray(matrix.cpu() if isinstance(matrix, Tensor) else matrix)
        except ValueError as error:  # rows of different lengths
            raise InputError(f"Distances have the shape (queries, gallery), and these have none: {error}.") from error
        if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
            raise InputError(f"Distances are real numbers of at most 64 bits, not {array.dtype}.")
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch supports few operations on these types
            check_exact(int(array.max(initial=0)))
            array = array.astype(np.int64)
        matrix = torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"Distances have the shape (queries, gallery), none of them 0, not {tuple(matrix.shape)}.")
    if matrix.is_complex() or matrix.dtype == torch.bool or matrix.layout != torch.strided:
        raise InputError(f"Distances are real numbers in a dense matrix, not {matrix.dtype} of {matrix.layout}.")
    if matrix.is_floating_point():
        bad = matrix.isnan().any(dim=1).nonzero()
        if len(bad):
            raise InputError(f"Distances of query {int(bad[0])} (of {len(bad)} such rows) hold a NaN.")
    elif matrix.dtype == torch.int64:
        check_exact(max(int(matrix.max()), -int(matrix.min())))
    return matrix.detach()


def check_exact(largest: int) -> None:
    """Refuse whole numbers so large that different ones would rank as equal."""
    if largest > 2**53:
        raise InputError(f"Distances go to {largest:,}, and beyond 2**53 float64 cannot tell whole numbers apart.")


def check_features(query: Tensor, gallery: Tensor) -> None:
    """Refuse features that are empty or do not match.

    Raises:
        InputError: If so; the message has the shapes and the expected ones.
    """
    for name, features in (("query", query), ("gallery", gallery)):
        if features.ndim != 2 or 0 in features.shape:
            raise InputError(
                f"The {name} features have the shape (images, dimensions), none of them 0, not {tuple(features.shape)}."
            )
        if not features.is_floating_point():
            raise InputError(f"The {name} features are floating point numbers, not {features.dtype}.")
    if query.shape[1] != gallery.shape[1]:
        raise InputError(
            f"Query features have {query.shape[1]} dimensions and gallery features {gallery.shape[1]}: "
            "both must come from the same network."
        )
    if query.device != gallery.device:
        raise InputError(f"Query features are on {query.device} and gallery features on {gallery.device}.")


def normalised(features: Tensor, name: str) -> Tensor:
    """Divide features `(N, D)` by their length, in float32.

    Args:
        features: `(N, D)`, floating point.
        name: Name of the features in messages: `query` or `gallery`.

    Raises:
        InputError: A feature is not finite or is zero.
    """
    return _prepare(features, "cosine", name, torch.float32)[0]


def nearest(distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest values of each row and their indices, in ascending order; equal values by ascending index.

    `torch.topk` guarantees neither the order of equal values nor which of several equal values takes the last place.

    Args:
        distances: `(R, N)` without NaN.
        count: Number of values; all N if there are fewer.

    Returns:
        Values and int64 indices, each `(R, min(count, N))`.
    """
    size = distances.shape[1]
    count = min(count, size)
    values, indices = distances.topk(min(count + 1, size), largest=False)
    tied = values[:, count - 1] == values[:, -1] if count < size else values.new_zeros(len(values), dtype=torch.bool)
    indices, order = indices[:, :count].sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, stable=True)
    indices = indices.gather(1, order)
    if tied.any():  # more values equal the last one than there are places: take those with the smallest indices
        sorted_values, sorted_indices = distances[tied].sort(dim=1, stable=True)
        values[tied], indices[tied] = sorted_values[:, :count], sorted_indices[:, :count]
    return values, indices


def _prepare(features: Tensor, metric: DistanceName, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Features in `dtype`, divided by their length for `cosine`, and the squares of their original lengths, `(N,)`."""
    features = features.detach().to(dtype)
    squares = torch.cat([part.square().sum(dim=1) for part in features.split(4096)])
    bad = (~squares.isfinite()).nonzero()
    if len(bad):
        raise InputError(
            f"Feature {int(bad[0])} of the {name} ({len(bad)} of {len(squares)} such) is NaN or infinite, "
            f"or too large to be squared in {str(dtype).removeprefix('torch.')}."
        )
    if metric == "euclidean":
        return features, squares
    zero = (squares == 0).nonzero()
    if len(zero):
        raise InputError(
            f"Feature {int(zero[0])} of the {name} ({len(zero)} of {len(squares)} such) is zero: "
            "it has no direction, and the cosine distance to it no meaning."
        )
    return features / squares.sqrt()[:, None], squares
