"""Distances of queries to a gallery, computed some rows at a time: the whole matrix never has to exist."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError

DistanceName = Literal["cosine", "euclidean"]


class Distances(Protocol):
    """Distances of queries to a gallery, computed some rows at a time.

    Attributes:
        shape: Number of queries and of gallery images.
        device: Where the rows are computed.
        dtype: Their precision, float32 or float64.
    """

    shape: tuple[int, int]
    device: torch.device
    dtype: torch.dtype

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Distances of the queries `start` to `stop - 1`: `(stop - start, gallery)` of `dtype`.

        Args:
            start: First query.
            stop: The query after the last one.
            out: Where to write them, a tensor of that shape and `dtype` on the device; it is also returned.
        """
        ...

    def display(self, values: Tensor) -> Tensor:
        """Turn values of `rows` into the distances that a reader expects; their order stays."""
        ...


class FeatureDistances:
    """Distances of features, one matrix product for each call of `rows`.

    `cosine` ranks by 1 - cos(q, g), between 0 and 2; features are divided by their length once, at the start.
    `euclidean` ranks by the squared distance |q|^2 + |g|^2 - 2 q.g, at least 0, which `display` takes the root of.

    Features in float64 are compared in float64, all others in float32. Distances are rounded as products of that
    precision are: two equal features get equal distances to within that, not always to the last bit, and the last bit
    may change with the number of rows asked for at once.

    Attributes:
        query: `(Q, D)` of `dtype`, of length 1 for `cosine`.
        gallery: `(G, D)` likewise.
    """

    def __init__(self, query: Tensor, gallery: Tensor, metric: DistanceName = "cosine") -> None:
        """Check the features and prepare them.

        Args:
            query: `(Q, D)`, floating point.
            gallery: `(G, D)` on the same device. The very same tensor as `query` is prepared only once.
            metric: Which distance.

        Raises:
            InputError: Features are missing, do not go together, are not finite, or have no direction (`cosine`).
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
        """Rank distances of the queries `start` to `stop - 1`: `(stop - start, G)` of `dtype`."""
        query = self.query[start:stop]
        if out is None:
            out = torch.empty(len(query), self.shape[1], dtype=self.dtype, device=self.device)
        if self.metric == "cosine":
            return torch.addmm(out.fill_(1), query, self.gallery.T, alpha=-1, out=out)
        torch.add(self._query_squares[start:stop, None], self._gallery_squares, out=out)
        return torch.addmm(out, query, self.gallery.T, alpha=-2, out=out).clamp_(min=0)

    def display(self, values: Tensor) -> Tensor:
        """The cosine distance as it is; the Euclidean distance as the root of its square."""
        return values if self.metric == "cosine" else values.sqrt()


class MatrixDistances:
    """Distances that somebody else has computed; an infinite one ranks behind all others (a list of nearest images).

    Args:
        matrix: `(Q, G)` without a NaN: a tensor, an array of NumPy, or nested lists. Whole numbers and float64 are
            ranked in float64, which keeps every one of them, and smaller types in float32.

    Raises:
        InputError: If it is of another shape or kind, holds a NaN, or whole numbers that float64 does not keep apart.
    """

    def __init__(self, matrix: Tensor | NDArray[Any] | Sequence[Sequence[float]]) -> None:
        self.matrix = as_matrix(matrix)
        self.shape = (self.matrix.shape[0], self.matrix.shape[1])
        self.device = self.matrix.device
        small = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16)
        self.dtype = torch.float32 if self.matrix.dtype in small else torch.float64

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """The rows `start` to `stop - 1`, `(stop - start, G)` of `dtype`: a copy, so that the matrix stays as it is."""
        rows = self.matrix[start:stop]
        return rows.to(self.dtype, copy=True) if out is None else out.copy_(rows)

    def display(self, values: Tensor) -> Tensor:
        """The values as they are."""
        return values


def as_matrix(matrix: Any) -> Tensor:
    """A matrix of distances as a tensor, checked; raises as `MatrixDistances` does."""
    if not isinstance(matrix, Tensor) or matrix.dtype in (torch.uint16, torch.uint32, torch.uint64):
        try:
            array = np.asarray(matrix.cpu() if isinstance(matrix, Tensor) else matrix)
        except ValueError as error:  # rows of different lengths
            raise InputError(f"Distances have the shape (queries, gallery), and these have none: {error}.") from error
        if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
            raise InputError(f"Distances are real numbers of at most 64 bits, not {array.dtype}.")
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch computes little with these
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
    """Refuse whole numbers that are ranked alike though they differ."""
    if largest > 2**53:
        raise InputError(f"Distances go to {largest:,}, and beyond 2**53 float64 does not keep whole numbers apart.")


def check_features(query: Tensor, gallery: Tensor) -> None:
    """Refuse features that are empty or do not go together.

    Raises:
        InputError: With the shapes and what they should be.
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
    """Features `(N, D)` of length 1, float32.

    Args:
        features: `(N, D)`, floating point.
        name: What they are, for messages: `query` or `gallery`.

    Raises:
        InputError: A feature is not finite or is zero.
    """
    return _prepare(features, "cosine", name, torch.float32)[0]


def nearest(distances: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest values of each row and where they are, in order; among equal ones the smaller index first.

    `torch.topk` promises neither the order of equal values nor which of those at the last place it returns.

    Args:
        distances: `(R, N)` without a NaN.
        count: How many; all N where there are fewer.

    Returns:
        Values and int64 indices, `(R, min(count, N))`.
    """
    size = distances.shape[1]
    count = min(count, size)
    values, indices = distances.topk(min(count + 1, size), largest=False)
    tied = values[:, count - 1] == values[:, -1] if count < size else values.new_zeros(len(values), dtype=torch.bool)
    indices, order = indices[:, :count].sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, stable=True)
    indices = indices.gather(1, order)
    if tied.any():  # more values equal to the last one than places: take those of the smallest indices
        sorted_values, sorted_indices = distances[tied].sort(dim=1, stable=True)
        values[tied], indices[tied] = sorted_values[:, :count], sorted_indices[:, :count]
    return values, indices


def _prepare(features: Tensor, metric: DistanceName, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Features in a precision, of length 1 for `cosine`, and the squares of their lengths as they were."""
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
