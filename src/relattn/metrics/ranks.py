"""Ranks of each query's matches in a gallery, by chunks of queries: the basis of every retrieval score.

A full ranking sorts every distance with its index and stores both, which takes hours and tens of gigabytes on a large
gallery. The scores need only the ranks of each query's few matches, that is, how many other images are nearer. This
module sorts the distances of a chunk of queries by value, looks up the matches in them, and discards the chunk. Nothing
is approximated.

A gallery image with the query's identity is a match. Junk images are left out of the ranking, as neither match nor
mistake:

- an image of the query's identity from the query's camera (Zheng et al., "Scalable Person Re-identification: A
  Benchmark", ICCV 2015, section 4), unless cameras are ignored;
- the query's own file, if a set is query and gallery at once;
- an image with identity -1, which shows no one (Market-1501's badly cropped boxes).
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
"""Maximum number of distances computed at a time: 256 MiB in float32, held twice. With fewer queries at once, reading
the gallery would take longer than the multiplications."""

ROWS = 1024
"""Maximum number of queries at a time."""


JUNK = -1
"""The identity of images that show no one."""


class Labels(NamedTuple):
    """Who is in each image, which camera took it, and optionally which file it is.

    `retrieval` and `match_ranks` accept tensors, NumPy arrays and lists of whole numbers or strings; -1 is junk.
    """

    identities: Any
    """`(N,)` int64."""
    cameras: Any
    """`(N,)` int64."""
    files: Any = None
    """`(N,)` int64, one number per file; None if no query can be in the gallery."""

    def to(self, device: torch.device) -> "Labels":
        """Move the labels, which are tensors, to a device."""
        return Labels(*(None if values is None else values.to(device) for values in self))

    def part(self, rows: Any) -> "Labels":
        """The labels of some images."""
        return Labels(*(None if values is None else values[rows] for values in self))


def own_files(query: Labels, gallery: Labels) -> Tensor | None:
    """Each query's own file in the gallery, its index there or -1, `(Q,)` int64; None if no query is in the gallery."""
    if query.files is None or gallery.files is None:
        return None
    files, order = gallery.files.sort()
    place = torch.searchsorted(files, query.files).clamp(max=len(files) - 1)
    own = torch.where(files[place] == query.files, order[place], -1)
    return own if bool((own >= 0).any()) else None


@dataclass(frozen=True)
class MatchRanks:
    """The ranks of some queries' matches; flat tensors are ordered by query, and then nearest match first."""

    queries: Tensor
    """`(Q,)` int64, indices of the queries, in order."""
    counts: Tensor
    """`(Q,)` int64, number of matches of each query; 0 if it has none."""
    ranks: Tensor
    """`(M,)` int64, from 1, in the gallery without the query's junk."""
    distances: Tensor
    """`(M,)`, in the precision of the distances."""
    impostors: Tensor
    """`(at most keep,)` in that precision, ascending: the smallest finite distances between different identities."""


def chunk_rows(shape: tuple[int, int]) -> int:
    """Queries per chunk: a number that depends only on the sizes, so that every process computes the same products."""
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
        distances: Distances of Q queries to G gallery images.
        query: Labels of the queries.
        gallery: Labels of the gallery.
        same_camera: Whether an image of the query's identity from the query's camera is `"junk"`, or a `"match"` like
            any other, as for sets with one camera.
        ties: `"order"` ranks equal distances in the order of the gallery, as a stable sort does. `"worst"` ranks every
            match behind all other images at the same distance, so that a network that gives all images the same feature
            gets no credit.
        keep: Number of smallest distances between different identities to keep, over all queries of `part`.
        part: Chunks to process, out of those from `chunks`: the share of one process; by default all.

    Raises:
        InputError: If the numbers of labels and distances differ, or labels are neither whole numbers nor strings.
    """
    query, gallery = as_labels(query, gallery)
    for name, labels, count, lines in zip(
        ("query", "gallery"), (query, gallery), distances.shape, ("rows", "columns"), strict=True
    ):
        if any(values is not None and len(values) != count for values in labels):
            sizes = " and ".join(
                f"{len(values)} {what}" for what, values in labels._asdict().items() if values is not None
            )
            raise InputError(f"{name}: {sizes} for {count} {lines} of distances; expected one each.")
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
        # The rest are impostors. Excluded images rank behind them; they are subtracted where matches rank there as
        # well.
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
            # If all the rest are nearer, nothing was counted, so nothing must be subtracted.
            ahead = nearer + tied - torch.where(infinite & (not_farther > nearer), out_before, 0)
        impostors.add(ascending)
        found.append((torch.arange(start, stop, device=device), counts, ahead + place + 1, values))
    none = torch.empty(0, dtype=torch.int64, device=device)
    queries, counts, ranks, values = (
        torch.cat(parts) for parts in zip((none, none, none, none.to(dtype)), *found, strict=True)
    )
    return MatchRanks(queries, counts, ranks, values, impostors.values())


def as_labels(query: Labels, gallery: Labels) -> tuple[Labels, Labels]:
    """Convert labels to int64 tensors; strings get numbers, the same in query and gallery, and "-1" is junk.

    Raises:
        InputError: If they are neither whole numbers nor strings, or numbers on one side and strings on the other.
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
    """Convert one kind of labels to int64 tensors; raises as `as_labels` does."""
    kinds, found = [], []
    for labels in (query, gallery):
        values: Any = labels if isinstance(labels, Tensor) else np.asarray(labels)
        if values.dtype == object and all(isinstance(value, str) for value in values.ravel()):  # pandas' type for text
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
        raise InputError(f"The {name} of one side are numbers and those of the other text: give both as the same type.")
    if kinds[0] == "U":
        numbers = {str(JUNK): JUNK}
        found = [np.array([numbers.setdefault(text, len(numbers)) for text in values.tolist()]) for values in found]
    one, other = (
        values.long() if isinstance(values, Tensor) else torch.from_numpy(values.astype(np.int64)) for values in found
    )
    return one, other


class Partners:
    """The gallery images that share a property with each query."""

    def __init__(self, query: Tensor, gallery: Tensor, kept: Tensor) -> None:
        """Sort the gallery.

        Args:
            query: `(Q,)` property of the queries.
            gallery: `(G,)` property of the gallery images.
            kept: `(G,)` bool, the gallery images to consider.
        """
        self.query = query
        self.order = gallery.argsort(stable=True)
        self.order = self.order[kept[self.order]]
        self.sorted = gallery[self.order]

    @classmethod
    def of_identity(cls, query: Labels, gallery: Labels) -> "Partners":
        """Gallery images with each query's identity, except those that show no one."""
        return cls(query.identities, gallery.identities, gallery.identities != JUNK)

    @classmethod
    def of_file(cls, query: Labels, gallery: Labels) -> "Partners":
        """Gallery images that are the query's own file."""
        everything = torch.ones_like(gallery.identities, dtype=torch.bool)
        if query.files is None or gallery.files is None:
            return cls(query.identities, gallery.identities, ~everything)
        return cls(query.files, gallery.files, everything)

    def found(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The first place of each wanted property in the sorted gallery, and the number of places."""
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
    """Which gallery images are junk for some queries, as in `match_ranks`: `(Q, G)` bool. Only for few queries."""
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
    """Sort each row's values in ascending order, without their indices.

    NumPy sorts floats with vector instructions, about ten times as fast as torch on a CPU.
    """
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    ascending = rows.numpy().copy()
    threads = min(torch.get_num_threads(), len(ascending))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda share: share.sort(axis=1), np.array_split(ascending, threads)))
    return torch.from_numpy(ascending)


def look_up(ascending: Tensor, row: Tensor, place: Tensor, values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """For each match, how many values of its row are smaller, and how many are not larger; `(M,)` int64 each."""
    padded = ascending.new_full((len(counts), max(int(counts.max()), 1)), torch.inf)
    padded[row, place] = values
    below, not_above = (torch.searchsorted(ascending, padded, right=right)[row, place] for right in (False, True))
    return below, not_above


def tied_before(rows: Tensor, row: Tensor, column: Tensor, values: Tensor, tied: Tensor) -> Tensor:
    """How many impostors at exactly a match's distance come before it in the gallery; `(M,)` int64."""
    before = torch.zeros_like(row)
    columns = torch.arange(rows.shape[1], device=rows.device)
    for some in tied.nonzero().squeeze(1).split(64):
        equal = (rows[row[some]] == values[some, None]) & (columns < column[some, None])
        before[some] = equal.count_nonzero(dim=1)
    return before


class Smallest:
    """The smallest of all values seen, up to a maximum number."""

    def __init__(self, number: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Keep the `number` smallest values of all that are added."""
        self.number, self.bound, self.dtype = number, torch.inf, dtype
        self.kept: list[Tensor] = []
        self.count = 0
        self.device = device

    def add(self, ascending: Tensor) -> None:
        """Add the finite values of rows `(n, N)`, each in ascending order."""
        if not self.number:
            return
        each = -(-self.number // len(ascending))
        if each <= ascending.shape[1]:  # at least `number` values are not larger than this one
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
        """Drop all but the smallest values, and from now on ignore values above the largest of them."""
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
