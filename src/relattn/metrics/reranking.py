"""Re-ranking by k-reciprocal neighbours: images are close if they have the same neighbours.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, called "the paper" below. The
authors' code stores several N x N matrices for the N = Q + G images. Here the neighbours come from chunks of distances
and everything after them is sparse, so memory grows with Q + G.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.metrics.distances import DistanceName, FeatureDistances, check_features, nearest, normalised

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = Lazy("scipy.sparse", "suite")

PAIRS = 2**18  # numbers gathered at once to compare pairs of features: 1 MiB, which fits into a CPU's cache


class ReRanked:
    """Distances of queries to a gallery after k-reciprocal re-ranking (the paper, section 3).

    For an image p, let N(p, k) be the k + 1 nearest of all Q + G images, including p itself:

    - R(p, k) = {g in N(p, k): p in N(g, k)}, its k-reciprocal neighbours (section 3.2);
    - R*(p) adds to R(p, k1) every R(g, k1 / 2), g in R(p, k1), of which more than 2/3 lie in R(p, k1);
    - V(p, g) is exp(-d(p, g)) for g in R*(p), 0 elsewhere, divided by its sum over g;
    - V(p) becomes the mean of V(g) over the k2 nearest g of p, including p itself (section 3.4, before J is computed);
    - J(p, g) = 1 - sum of min(V(p), V(g)) / sum of max(V(p), V(g)), the Jaccard distance (section 3.3);
    - the final distance is (1 - weight) J + weight d.

    d(p, g) is the squared Euclidean distance divided by the largest one from p to any of the Q + G images, as in the
    authors' code; it is therefore not symmetric. For features of length 1 this equals the cosine distance divided by
    its largest value. Where the code and the paper differ, this class follows the code, which gave the published
    numbers: the k nearest do not include the image itself, k1 / 2 is rounded (halves to even), and the overlap is
    *more* than 2/3, not at least. Queries are neighbours of each other too, so the result for one query depends on the
    others.

    Two rules make the result a function of the distances alone: every image is its own first neighbour, and of equally
    distant images the one with the smaller index is nearer, queries before gallery. If there are fewer than k1 + 1 or
    k2 images, all of them are neighbours.

    Everything but the final sums is computed when the object is created: (Q + G)^2 D multiply-accumulates on the
    features' device for the neighbours, and sparse arithmetic on the CPU.

    Attributes:
        shape: Number of queries and of gallery images.
        device: Device of the features and of the rows.
        dtype: float32, for features of any precision.
    """

    def __init__(
        self,
        query: Tensor,
        gallery: Tensor,
        *,
        metric: DistanceName = "cosine",
        k1: int = 20,
        k2: int = 6,
        weight: float = 0.3,
        own: Tensor | None = None,
        chunk: int = 256,
    ) -> None:
        """Find the neighbours and encode them.

        Args:
            query: `(Q, D)`, floating point.
            gallery: `(G, D)` on the same device.
            metric: `cosine` divides the features by their length first; `euclidean` uses them as they are.
            k1: Number of neighbours among which reciprocal ones are searched; 20 in the paper.
            k2: Number of neighbours over which V is averaged, including the image itself; 6 in the paper; 1 leaves V
                unchanged.
            weight: Share of the original distance in the final one, lambda in the paper, where it is 0.3.
            own: `(Q,)` int64, for each query the gallery image that is its own file, or -1, see `own_files`: such an
                image is one of the Q + G, not two. By default no query is in the gallery.
            chunk: Number of images whose distances to all Q + G are computed at once.

        Raises:
            InputError: A number is out of range, or `FeatureDistances` refuses the features.
        """
        for name, value in (("k1", k1), ("k2", k2), ("chunk", chunk)):
            if value < 1:
                raise InputError(f"{name} of the re-ranking is at least 1, not {value}.")
        if not 0 <= weight <= 1:
            raise InputError(f"The weight of the original distance is between 0 and 1, not {weight}.")
        check_features(query, gallery)
        query, gallery = query.float(), gallery.float()
        if metric == "cosine":
            query, gallery = normalised(query, "query"), normalised(gallery, "gallery")
        self.weight = weight
        self.shape = (len(query), len(gallery))
        self.device = query.device
        self.dtype = torch.float32
        self._original = FeatureDistances(query, gallery, "euclidean" if metric == "cosine" else metric)
        query, gallery = self._original.query, self._original.gallery
        own = query.new_full((len(query),), -1, dtype=torch.int64) if own is None else own
        alone = own < 0
        features, count = torch.cat([query[alone], gallery]), int(alone.sum())
        place = torch.where(alone, alone.cumsum(0) - 1, count + own)  # of each query among the features
        # Views from here on, if no query is in the gallery, so that the features are in memory only once.
        query = features[:count] if count == len(query) else features[place]
        self._original = FeatureDistances(query, features[count:], "euclidean")
        neighbours, maxima = find_neighbours(features, max(k1 + 1, k2), chunk)
        encoded = encode(features, neighbours, maxima, k1)
        encoded = average(encoded, neighbours[:, :k2])
        self._scale = maxima[place, None]
        self._query = encoded[place.cpu().numpy()]
        self._inverted = encoded[count:].tocsc()  # for each image, the gallery images with it in their V

    @torch.no_grad()
    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Compute final distances of the queries `start` to `stop - 1`: `(stop - start, G)` float32, in [0, 1]."""
        out = self._original.rows(start, stop, out)
        out.mul_(self.weight / self._scale[start:stop])
        jaccard = np.empty(out.shape, dtype=np.float32)
        for row in range(len(out)):
            jaccard[row] = jaccard_distances(self._query, start + row, self._inverted)
        return out.add_(torch.from_numpy(jaccard).to(self.device), alpha=1 - self.weight)

    def display(self, values: Tensor) -> Tensor:
        """Return the values unchanged."""
        return values


@torch.no_grad()
def find_neighbours(features: Tensor, count: int, chunk: int) -> tuple[NDArray[np.int32], Tensor]:
    """The nearest images of every image, itself first, and its largest squared distance to any image.

    Args:
        features: `(N, D)` float32.
        count: Number of neighbours, including the image itself; N if there are fewer images.
        chunk: Number of images whose distances are computed at once.

    Returns:
        Indices `(N, min(count, N))`, nearest first, equally distant ones by ascending index; and `(N,)` float32 maxima
        on the features' device, which are 1 if all distances are 0, so that they can be divisors.
    """
    distances = FeatureDistances(features, features, "euclidean")
    size = len(features)
    buffer = torch.empty(min(chunk, size), size, device=features.device)
    neighbours = np.empty((size, min(count, size)), dtype=np.int32)
    maxima = torch.empty(size, device=features.device)
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        rows = distances.rows(start, stop, buffer[: stop - start])
        rows.diagonal(start).fill_(-1)  # smaller than every distance, so that the image itself comes first
        maxima[start:stop] = rows.amax(dim=1)
        neighbours[start:stop] = nearest(rows, count)[1].cpu().numpy()
    return neighbours, torch.where(maxima > 0, maxima, 1.0)


def adjacency(neighbours: NDArray[np.int32]) -> "sparse.csr_array":
    """An `(N, N)` sparse matrix with a 1 at (p, g) for every neighbour g of p, from neighbours `(N, k)`."""
    size, count = neighbours.shape
    ones = np.ones(neighbours.size, dtype=np.int32)
    starts = np.arange(0, neighbours.size + 1, count, dtype=np.int32)
    return sparse.csr_array((ones, neighbours.ravel(), starts), shape=(size, size))


def reciprocal(neighbours: NDArray[np.int32]) -> "sparse.csr_array":
    """The sets R(p, k) of `ReRanked` as an `(N, N)` sparse matrix of ones, from the neighbours `(N, k + 1)`."""
    near = adjacency(neighbours)
    return near.multiply(near.T.tocsr()).tocsr()


def expanded(neighbours: NDArray[np.int32], k1: int) -> "sparse.csr_array":
    """The sets R*(p) of `ReRanked` as an `(N, N)` sparse matrix: only the stored places matter, not their values.

    Args:
        neighbours: `(N, K)` neighbours of every image, nearest first; the first k1 + 1 are used.
        k1: As in `ReRanked`.
    """
    whole = reciprocal(neighbours[:, : k1 + 1])
    half = reciprocal(neighbours[:, : round(k1 / 2) + 1])
    sizes = np.diff(half.indptr)
    # |R(p, k1) and R(g, k1 / 2)| for the pairs with g in R(p, k1); at least 1, because both sets contain g.
    shared = whole.multiply(whole @ half.T.tocsr()).tocsr()
    joined = shared.copy()
    joined.data = (3 * shared.data > 2 * sizes[shared.indices]).astype(np.int32)
    joined.eliminate_zeros()
    result = (whole + joined @ half).tocsr()
    result.sort_indices()
    return result


def encode(features: Tensor, neighbours: NDArray[np.int32], maxima: Tensor, k1: int) -> "sparse.csr_array":
    """The vectors V of `ReRanked` before averaging, each summing to 1, as an `(N, N)` sparse float32 matrix.

    Args:
        features: `(N, D)` float32.
        neighbours: `(N, K)` neighbours of every image, nearest first.
        maxima: `(N,)` divisors of each image's squared distances.
        k1: As in `ReRanked`.
    """
    sets = expanded(neighbours, k1)
    counts = np.diff(sets.indptr)
    images = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    weights = np.exp(-pair_distances(features, images, sets.indices, maxima).astype(np.float64))
    sums = np.bincount(images, weights, minlength=len(counts))
    values = (weights / sums[images]).astype(np.float32)
    return sparse.csr_array((values, sets.indices, sets.indptr), shape=sets.shape)


@torch.no_grad()
def pair_distances(
    features: Tensor, first: NDArray[np.int32], second: NDArray[np.int32], maxima: Tensor
) -> NDArray[np.float32]:
    """Squared Euclidean distances `(P,)` of pairs of images, each divided by the maximum of its first image.

    Args:
        features: `(N, D)` float32.
        first: `(P,)` indices of the first images.
        second: `(P,)` indices of the second images.
        maxima: `(N,)` float32.
    """
    result = np.empty(len(first), dtype=np.float32)
    step = max(1, PAIRS // features.shape[1])
    for start in range(0, len(first), step):
        pairs = slice(start, start + step)
        one = torch.from_numpy(first[pairs]).long().to(features.device)
        other = torch.from_numpy(second[pairs]).long().to(features.device)
        squares = features[one].sub_(features[other]).square_().sum(dim=1)
        result[pairs] = (squares / maxima[one]).cpu().numpy()
    return result


def average(encoded: "sparse.csr_array", neighbours: NDArray[np.int32]) -> "sparse.csr_array":
    """Local query expansion: the mean of V, `(N, N)`, over the neighbours `(N, k2)` of each image."""
    if neighbours.shape[1] == 1:
        return encoded
    near = adjacency(neighbours).astype(np.float32)
    near.data /= neighbours.shape[1]
    return (near @ encoded).tocsr()


def jaccard_distances(query: "sparse.csr_array", row: int, inverted: "sparse.csc_array") -> NDArray[np.float32]:
    """Jaccard distances of one query to every gallery image: `(G,)`.

    Every V sums to 1, so the sum of maxima is 2 minus the sum of minima. Minima differ from 0 only for gallery images
    that share a neighbour with the query, and the query's columns of the inverted index list these images.

    Args:
        query: V of the queries, `(Q, N)`.
        row: Index of the query.
        inverted: V of the gallery, `(G, N)`, stored by columns.
    """
    entries = slice(query.indptr[row], query.indptr[row + 1])
    columns, values = query.indices[entries], query.data[entries]
    starts = inverted.indptr[columns]
    counts = inverted.indptr[columns + 1] - starts
    ends = np.cumsum(counts)
    places = np.arange(ends[-1]) + np.repeat(starts - (ends - counts), counts)
    smaller = np.minimum(inverted.data[places], np.repeat(values, counts))
    shared = np.bincount(inverted.indices[places], smaller, minlength=inverted.shape[0])
    return (1 - shared / (2 - shared)).astype(np.float32)
