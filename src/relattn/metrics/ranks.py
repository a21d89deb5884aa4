"""Ranks of each query's matches in a gallery, by chunks of queries: what every retrieval score is computed from.

A full ranking sorts every distance with its index and keeps both, which costs hours and tens of gigabytes on a large
gallery. The scores need the ranks of each query's few matches alone: the number of other images that are nearer. Here
the distances of a chunk of queries are sorted by value, the matches are looked up in them, and the chunk is forgotten.
Nothing is approximated.

A gallery image of the query's identity is a match, and junk if the same camera took it: junk is left out of the
ranking (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015, section 4).
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from relattn.errors import InputError
from relattn.metrics.distances import Distances

Ties = Literal["order", "worst"]
SameCamera = Literal["junk", "match"]

CHUNK = 2**26
"""At most so many distances are computed at a time: 256 MiB, twice. Fewer queries at once would read the gallery more
often than the processor can multiply."""

ROWS = 1024
"""At most so many queries at a time."""


class Labels(NamedTuple):
    """Who is on each image, and which camera took it."""

    identities: Tensor
    """(N,) int64."""
    cameras: Tensor
    """(N,) int64."""


@dataclass(frozen=True)
class MatchRanks:
    """Where the matches of some queries are found; flat tensors go query by query, nearest match first."""

    queries: Tensor
    """(Q,) int64, the queries' places, in order."""
    counts: Tensor
    """(Q,) int64, matches of each query; 0 where there is none."""
    ranks: Tensor
    """(M,) int64, from 1, in the gallery without the query's junk."""
    distances: Tensor
    """(M,) float32."""
    impostors: Tensor
    """(at most `keep`,) float32, ascending: the smallest distances between different identities."""


def chunk_rows(shape: tuple[int, int]) -> int:
    """Queries of a chunk: a number that depends on the sizes alone, so that every process makes the same products."""
    return min(max(64, CHUNK // shape[1]), ROWS, shape[0])


def chunks(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """First and last (exclusive) query of each chunk."""
    rows = chunk_rows(shape)
    return [(start, min(start + rows, shape[0])) for start in range(0, shape[0], rows)]


def match_ranks(
    distances: Distances,
    query: Labels,
    gallery: Labels,
    *,
    same_camera: SameCamera = "junk",
    ties: Ties = "order",
    keep: int = 0,
    part: Iterable[tuple[int, int]] | None = None,
) -> MatchRanks:
    """Rank the matches of every query.

    Args:
        distances: Of Q queries to G gallery images.
        query: Labels of the queries.
        gallery: Labels of the gallery.
        same_camera: Whether an image of the query's identity from the query's camera is junk, or a match as any other,
            as for sets with one camera.
        ties: `"order"` ranks equal distances in the order of the gallery, as a stable sort does. `"worst"` ranks every
            match behind all other images at its distance, which is what a network deserves that gives all images the
            same feature.
        keep: Number of smallest distances between different identities to keep, over all queries of `part`.
        part: Chunks to work on, of those that `chunks` gives; by default all. A process's share.

    Raises:
        InputError: If labels and distances do not agree in number.
    """
    for name, labels, count in (("query", query, distances.shape[0]), ("gallery", gallery, distances.shape[1])):
        if any(len(values) != count for values in labels):
            sizes = " and ".join(str(len(values)) for values in labels)
            raise InputError(f"{name}: {sizes} identities and cameras, and distances of {count} images.")
    device = distances.device
    query, gallery = (Labels(*(values.to(device) for values in labels)) for labels in (query, gallery))
    order = gallery.identities.argsort(stable=True)
    by_identity = gallery.identities[order]
    buffer = torch.empty(chunk_rows(distances.shape), distances.shape[1], device=device)
    impostors = Smallest(keep, device)
    found: list[tuple[Tensor, ...]] = []
    for start, stop in chunks(distances.shape) if part is None else part:
        rows = distances.rows(start, stop, out=buffer[: stop - start])
        identities = query.identities[start:stop]
        first = torch.searchsorted(by_identity, identities)
        number = torch.searchsorted(by_identity, identities, right=True) - first
        row = torch.repeat_interleave(torch.arange(stop - start, device=device), number)
        column = order[torch.arange(len(row), device=device) + (first + number - number.cumsum(0))[row]]
        if same_camera == "junk":
            match = gallery.cameras[column] != query.cameras[start:stop][row]
        else:
            match = torch.ones_like(row, dtype=torch.bool)
        values = rows[row, column]
        rows[row, column] = torch.inf  # the rest are impostors
        counts = torch.zeros(stop - start, dtype=torch.int64, device=device).index_add_(0, row, match.long())
        row, column, values = row[match], column[match], values[match]
        nearest_first = lexsort(row, values)  # columns ascend within a row, and the sort is stable
        row, column, values = row[nearest_first], column[nearest_first], values[nearest_first]
        place = torch.arange(len(row), device=device) - (counts.cumsum(0) - counts)[row]
        ascending = sort_rows(rows)
        nearer, not_farther = look_up(ascending, row, place, values, counts)
        ahead = not_farther
        if ties == "order":
            ahead = nearer + tied_before(rows, row, column, values, not_farther > nearer)
        impostors.add(ascending)
        found.append((torch.arange(start, stop, device=device), counts, ahead + place + 1, values))
    none = torch.empty(0, dtype=torch.int64, device=device)
    queries, counts, ranks, values = (
        torch.cat(parts) for parts in zip((none, none, none, none.float()), *found, strict=True)
    )
    return MatchRanks(queries, counts, ranks, values, impostors.values())


def lexsort(major: Tensor, minor: Tensor) -> Tensor:
    """The stable order by `major`, then `minor`; both `(M,)`."""
    by_minor = minor.argsort(stable=True)
    return by_minor[major[by_minor].argsort(stable=True)]


def sort_rows(rows: Tensor) -> Tensor:
    """Each row's values in ascending order, without their indices.

    NumPy sorts floats with vector instructions, about ten times as fast as torch does on a CPU.
    """
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    ascending = rows.numpy().copy()
    threads = min(torch.get_num_threads(), len(ascending))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda share: share.sort(axis=1), np.array_split(ascending, threads)))
    return torch.from_numpy(ascending)


def look_up(ascending: Tensor, row: Tensor, place: Tensor, values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """How many values of its row are below, and how many not above, each match; `(M,)` int64 each."""
    padded = ascending.new_full((len(counts), max(int(counts.max()), 1)), torch.inf)
    padded[row, place] = values
    below, not_above = (torch.searchsorted(ascending, padded, right=right)[row, place] for right in (False, True))
    return below, not_above


def tied_before(rows: Tensor, row: Tensor, column: Tensor, values: Tensor, tied: Tensor) -> Tensor:
    """How many impostors at exactly a match's distance stand before it in the gallery; `(M,)` int64."""
    before = torch.zeros_like(row)
    columns = torch.arange(rows.shape[1], device=rows.device)
    for some in tied.nonzero().squeeze(1).split(64):
        equal = (rows[row[some]] == values[some, None]) & (columns < column[some, None])
        before[some] = equal.count_nonzero(dim=1)
    return before


class Smallest:
    """The smallest of all values seen, a bounded number of them."""

    def __init__(self, number: int, device: torch.device) -> None:
        """Keep the `number` smallest values of all that are added."""
        self.number, self.bound = number, torch.inf
        self.kept: list[Tensor] = []
        self.count = 0
        self.device = device

    def add(self, ascending: Tensor) -> None:
        """Take note of the finite values of `(n, N)` rows in ascending order."""
        if not self.number:
            return
        each = -(-self.number // len(ascending))
        if each <= ascending.shape[1]:  # as many values as are asked for are not above this one
            self.bound = min(self.bound, float(ascending[:, each - 1].max()))
        bound = torch.tensor(self.bound, device=self.device, dtype=ascending.dtype)
        ends = torch.searchsorted(ascending, bound.expand(len(ascending), 1).contiguous(), right=True)
        wide = ascending[:, : int(ends.max().clamp(max=self.number))]
        values = wide[(torch.arange(wide.shape[1], device=self.device) < ends) & wide.isfinite()]
        self.kept.append(values)
        self.count += len(values)
        if self.count > 2 * self.number:
            self.shrink()

    def shrink(self) -> None:
        """Forget all but the smallest values, and from now on what is above the largest of them."""
        values = torch.cat(self.kept)
        if len(values) > self.number:
            if values.device.type == "cpu":  # NumPy selects with vector instructions
                values = torch.from_numpy(np.partition(values.numpy(), self.number - 1)[: self.number])
            else:
                values = values.topk(self.number, largest=False).values
            self.bound = float(values.max())
        self.kept, self.count = [values], len(values)

    def values(self) -> Tensor:
        """The smallest values, in ascending order."""
        if not self.kept:
            return torch.empty(0, device=self.device)
        self.shrink()
        return sort_rows(self.kept[0][None])[0]
