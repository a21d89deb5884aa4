"""Ranks of each query's matches in a gallery, by chunks of queries: what every retrieval score is computed from.

A full ranking sorts every distance with its index and keeps both, which costs hours and tens of gigabytes on a large
gallery. The scores need the ranks of each query's few matches alone: the number of other images that are nearer. Here
the distances of a chunk of queries are sorted by value, the matches are looked up in them, and the chunk is forgotten.
Nothing is approximated.

A gallery image of the query's identity is a match. What is left out of the ranking, neither match nor mistake, is junk:

- an image of the query's identity by its camera (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV
  2015, section 4), unless cameras are ignored;
- the query's own file, where a set is query and gallery at once;
- an image of identity -1, which shows no one (Market-1501's badly cropped boxes).
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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


JUNK = -1
"""The identity of images that show no one."""


class Labels(NamedTuple):
    """Who is on each image, which camera took it, and optionally which file it is.

    `retrieval` and `match_ranks` take tensors, arrays of NumPy and lists, of whole numbers or of text; -1 is junk.
    """

    identities: Any
    """(N,) int64."""
    cameras: Any
    """(N,) int64."""
    files: Any = None
    """(N,) int64, one number for one file; None where no query can be in the gallery."""

    def to(self, device: torch.device) -> "Labels":
        """The labels as tensors on a device."""
        return Labels(*(None if values is None else values.to(device) for values in self))

    def part(self, rows: Any) -> "Labels":
        """The labels of some images."""
        return Labels(*(None if values is None else values[rows] for values in self))


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
    """(M,), in the precision of the distances."""
    impostors: Tensor
    """(at most `keep`,) likewise, ascending: the smallest distances between different identities, none infinite."""


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
        InputError: If labels and distances do not agree in number, or labels are neither whole numbers nor text.
    """
    query, gallery = as_labels(query, gallery)
    for name, labels, count in (("query", query, distances.shape[0]), ("gallery", gallery, distances.shape[1])):
        if any(values is not None and len(values) != count for values in labels):
            sizes = " and ".join(str(len(values)) for values in labels[:2])
            raise InputError(f"{name}: {sizes} identities and cameras, and distances of {count} images.")
    device, dtype, images = distances.device, distances.dtype, distances.shape[1]
    query, gallery = query.to(device), gallery.to(device)
    same_identity, same_file = Partners.of_identity(query, gallery), Partners.of_file(query, gallery)
    nobody = gallery.identities == JUNK
    nobody_before = nobody.cumsum(0)
    buffer = torch.empty(chunk_rows(distances.shape), images, dtype=dtype, device=device)
    impostors = Smallest(keep, device, dtype)
    found: list[tuple[Tensor, ...]] = []
    for start, stop in chunks(distances.shape) if part is None else part:
        rows = distances.rows(start, stop, out=buffer[: stop - start])
        row, column = same_identity.pairs(start, stop)
        own_row, own_column = same_file.pairs(start, stop)
        match = ~torch.isin(row * images + column, own_row * images + own_column)
        if same_camera == "junk":
            match &= gallery.cameras[column] != query.cameras[start:stop][row]
        values = rows[row, column]
        # The rest are impostors. What is taken out ranks behind them, and is subtracted where matches do as well.
        rows[row, column] = torch.inf
        rows[own_row, own_column] = torch.inf
        rows[:, nobody] = torch.inf
        rows[query.identities[start:stop] == JUNK] = torch.inf
        out = torch.cat((row * images + column, (own_row * images + own_column)[~nobody[own_column]])).unique()
        counts = torch.zeros(stop - start, dtype=torch.int64, device=device).index_add_(0, row, match.long())
        row, column, values = row[match], column[match], values[match]
        nearest_first = lexsort(row, values)  # columns ascend within a row, and the sort is stable
        row, column, values = row[nearest_first], column[nearest_first], values[nearest_first]
        place = torch.arange(len(row), device=device) - (counts.cumsum(0) - counts)[row]
        ascending = sort_rows(rows)
        nearer, not_farther = look_up(ascending, row, place, values, counts)
        first = torch.searchsorted(out, row * images)
        infinite = values == torch.inf
        out_in_row = torch.searchsorted(out, (row + 1) * images) - first + nobody.count_nonzero()
        not_farther = not_farther - torch.where(infinite, out_in_row, 0)
        ahead = not_farther
        if ties == "order":
            out_before = torch.searchsorted(out, row * images + column) - first + nobody_before[column]
            tied = tied_before(rows, row, column, values, not_farther > nearer)
            # Where the rest are all nearer, nothing was counted, and nothing is to be subtracted.
            ahead = nearer + tied - torch.where(infinite & (not_farther > nearer), out_before, 0)
        impostors.add(ascending)
        found.append((torch.arange(start, stop, device=device), counts, ahead + place + 1, values))
    none = torch.empty(0, dtype=torch.int64, device=device)
    queries, counts, ranks, values = (
        torch.cat(parts) for parts in zip((none, none, none, none.to(dtype)), *found, strict=True)
    )
    return MatchRanks(queries, counts, ranks, values, impostors.values())


def as_labels(query: Labels, gallery: Labels) -> tuple[Labels, Labels]:
    """Labels of any kind as int64 tensors; texts get numbers, the same in query and gallery, and "-1" is junk.

    Raises:
        InputError: If they are neither whole numbers nor text, or numbers in one and text in the other.
    """
    columns: list[tuple[Any, Any]] = []
    for name, mine, other in zip(Labels._fields, Labels(*query), Labels(*gallery), strict=True):
        if mine is None or other is None:
            if name != "files":
                raise InputError(f"Labels without {name}: give a whole number or text for each image.")
            columns.append((None, None))
            continue
        columns.append(as_numbers(mine, other, name))
    mine, other = zip(*columns, strict=True)
    return Labels(*mine), Labels(*other)


def as_numbers(query: Any, gallery: Any, name: str) -> tuple[Tensor, Tensor]:
    """One kind of labels as int64 tensors."""
    kinds, found = [], []
    for labels in (query, gallery):
        values: Any = labels if isinstance(labels, Tensor) else np.asarray(labels)
        if values.dtype == object and all(isinstance(value, str) for value in values.ravel()):  # as pandas has text
            values = values.astype(str)
        kind = "i" if isinstance(values, Tensor) else values.dtype.kind
        if isinstance(values, Tensor) and (values.is_floating_point() or values.dtype == torch.bool):
            kind = "f"
        if values.ndim != 1 or kind not in "iuU" or (kind == "u" and values.max(initial=0) > np.iinfo(np.int64).max):
            raise InputError(
                f"The {name} are {values.dtype} of shape {tuple(values.shape)}, expected one whole number or text for "
                "each image."
            )
        kinds.append("U" if kind == "U" else "i")
        found.append(values)
    if kinds[0] != kinds[1]:
        raise InputError(f"The {name} of one side are numbers and those of the other text: give both as the same.")
    if kinds[0] == "U":
        numbers = {str(JUNK): JUNK}
        found = [np.array([numbers.setdefault(text, len(numbers)) for text in values.tolist()]) for values in found]
    one, other = (
        values.long() if isinstance(values, Tensor) else torch.from_numpy(values.astype(np.int64)) for values in found
    )
    return one, other


class Partners:
    """The gallery images that have something in common with each query."""

    def __init__(self, query: Tensor, gallery: Tensor, kept: Tensor) -> None:
        """Sort the gallery.

        Args:
            query: `(Q,)` what queries have.
            gallery: `(G,)` what gallery images have.
            kept: `(G,)` bool, the gallery images that count.
        """
        self.query = query
        self.order = gallery.argsort(stable=True)
        self.order = self.order[kept[self.order]]
        self.sorted = gallery[self.order]

    @classmethod
    def of_identity(cls, query: Labels, gallery: Labels) -> "Partners":
        """Images of each query's identity, junk apart."""
        return cls(query.identities, gallery.identities, gallery.identities != JUNK)

    @classmethod
    def of_file(cls, query: Labels, gallery: Labels) -> "Partners":
        """Images that are the query's own file."""
        everything = torch.ones_like(gallery.identities, dtype=torch.bool)
        if query.files is None or gallery.files is None:
            return cls(query.identities, gallery.identities, ~everything)
        return cls(query.files, gallery.files, everything)

    def found(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The first place in the sorted gallery of what queries have, and the number of places."""
        first = torch.searchsorted(self.sorted, wanted)
        return first, torch.searchsorted(self.sorted, wanted, right=True) - first

    def count(self) -> int:
        """The number of all pairs."""
        return int(self.found(self.query)[1].sum())

    def pairs(self, start: int = 0, stop: int | None = None) -> tuple[Tensor, Tensor]:
        """Rows (from `start`) and columns of the pairs, row by row, columns ascending."""
        wanted = self.query[start:stop]
        first, number = self.found(wanted)
        row = torch.repeat_interleave(torch.arange(len(wanted), device=wanted.device), number)
        column = self.order[torch.arange(len(row), device=row.device) + (first + number - number.cumsum(0))[row]]
        return row, column


def left_out(query: Labels, gallery: Labels, same_camera: SameCamera = "junk") -> Tensor:
    """Which gallery images are junk of some queries, as `match_ranks` has it: `(Q, G)` bool. For a few queries."""
    junk = (gallery.identities == JUNK).expand(len(query.identities), -1).clone()
    if same_camera == "junk":
        junk |= (query.identities[:, None] == gallery.identities) & (query.cameras[:, None] == gallery.cameras)
    if query.files is not None and gallery.files is not None:
        junk |= query.files[:, None] == gallery.files
    return junk


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

    def __init__(self, number: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Keep the `number` smallest values of all that are added."""
        self.number, self.bound, self.dtype = number, torch.inf, dtype
        self.kept: list[Tensor] = []
        self.count = 0
        self.device = device

    def add(self, ascending: Tensor) -> None:
        """Take note of the values below infinity of `(n, N)` rows in ascending order."""
        if not self.number:
            return
        each = -(-self.number // len(ascending))
        if each <= ascending.shape[1]:  # as many values as are asked for are not above this one
            self.bound = min(self.bound, float(ascending[:, each - 1].max()))
        bound = torch.tensor(self.bound, device=self.device, dtype=ascending.dtype)
        ends = torch.searchsorted(ascending, bound.expand(len(ascending), 1).contiguous(), right=True)
        wide = ascending[:, : int(ends.max().clamp(max=self.number))]
        values = wide[(torch.arange(wide.shape[1], device=self.device) < ends) & (wide < torch.inf)]
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
            return torch.empty(0, device=self.device, dtype=self.dtype)
        self.shrink()
        return sort_rows(self.kept[0][None])[0]
