"""Ranks a gallery for each query, from two embeddings, and scores the ranking."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from relattn.errors import InputError
from relattn.metrics.distances import DistanceName, Distances, FeatureDistances, nearest
from relattn.metrics.ranks import JUNK, Labels, SameCamera, chunks, left_out, own_files
from relattn.metrics.reranking import ReRanked
from relattn.metrics.retrieval import FPRS, Retrieval, retrieval
from relattn.tasks.embeddings import Embedding, Entry
from relattn.tasks.files import real_paths

NO_ONE = str(JUNK)

DISTRACTOR = "0"
"""Identity of people without queries, in data sets whose file names number identities from 1."""


@dataclass(frozen=True)
class RankedList:
    """The ranking of a query."""

    query: int
    """Index of the query."""
    ranking: list[tuple[int, float]]
    """Indices in the gallery with their distances, nearest first."""
    left_out: int
    """Gallery images that do not count: the query's identity from its camera, or the query itself."""


class Search:
    """Queries, a gallery, and the distances between them.

    Rankings and scores leave out what `relattn test` leaves out (`relattn.metrics.ranks`): gallery images of the
    query's identity from its camera, if both are known, the query's own file, and boxes that show no one (identity -1).
    Gallery images of unknown identity count as other people in the scores.

    Attributes:
        query: The queries.
        gallery: The gallery without images that show no one.
        metric: `cosine` or `euclidean`.
        distances: Distances of the queries to the gallery.
        same_camera: As in `retrieval`.
    """

    def __init__(
        self,
        query: Embedding,
        gallery: Embedding,
        *,
        metric: DistanceName | None = None,
        same_camera: SameCamera = "junk",
        reranking: bool = False,
        distances: Callable[[torch.Tensor, torch.Tensor], Distances] | None = None,
    ) -> None:
        """Prepare the search.

        Args:
            query: Embedding whose split `query` is used, or all of it if it has none.
            gallery: Embedding whose split `gallery` is used, or all of it if it has none.
            metric: How features are compared; None for the metric in the embeddings' metadata.
            same_camera: Whether images of the query's identity from its camera are junk, or a match like any other.
            reranking: Whether to re-rank by k-reciprocal neighbours.
            distances: Function from the features of queries and gallery to their distances; by default according to
                `metric` and `reranking`.

        Raises:
            InputError: If the features do not match.
        """
        self.query, self.gallery = queries_of(query), gallery_of(gallery)
        if not self.gallery.entries:
            raise InputError("The gallery shows no one: all its images have identity -1, or there are none.")
        self.metric: DistanceName = metric or query.metadata.get("distance", gallery.metadata.get("distance", "cosine"))
        self.same_camera: SameCamera = same_camera
        self.features = torch.from_numpy(self.query.features), torch.from_numpy(self.gallery.features)
        self.labels = numbered(self.query, self.gallery)
        if distances is not None:
            self.distances = distances(*self.features)
        elif reranking:
            self.distances = ReRanked(*self.features, metric=self.metric, own=own_files(*self.labels))
        else:
            self.distances = FeatureDistances(*self.features, self.metric)

    def rank(self, chosen: Sequence[int], top: int) -> list[RankedList]:
        """The nearest gallery images of the chosen queries, given by indices in ascending order."""
        query, gallery = self.labels
        found = []
        for start, stop in chunks(self.distances.shape):  # the same chunks as for scores, so that roundings agree
            mine = [number for number in chosen if start <= number < stop]
            if not mine:
                continue
            rows = self.distances.rows(start, stop)[[number - start for number in mine]]
            junk = left_out(query.part(mine), gallery, self.same_camera)
            values, indices = nearest(rows.masked_fill_(junk, torch.inf), top)
            shown = self.distances.display(values)
            for row, number in enumerate(mine):
                kept = int(values[row].isfinite().sum())
                ranking = list(zip(indices[row, :kept].tolist(), shown[row, :kept].tolist(), strict=True))
                found.append(RankedList(number, ranking, int(junk[row].sum())))
        return found

    def scores(self, fprs: Sequence[float] = FPRS) -> dict[str, float]:
        """The scores of `Retrieval.scores` over all queries, in per cent, and how many `queries` are `unmatched`.

        Raises:
            InputError: If the identity of a query is unknown, or no query has a match.
        """
        found = self.score(fprs)
        return found.scores() | {"queries": len(self.query.entries), "unmatched": len(found.unmatched)}

    def score(self, fprs: Sequence[float] = FPRS) -> Retrieval:
        """Score the retrieval of all queries; raises as `scores` does."""
        if unknown := sum(not entry.identity for entry in self.query.entries):
            raise InputError(
                f"The identity of {unknown:,} of {len(self.query.entries):,} queries is not known, and scores need all."
            )
        return retrieval(self.distances, *self.labels, same_camera=self.same_camera, fprs=fprs)

    def describe(self, found: RankedList) -> dict[str, Any]:
        """Describe a query and its results by names; unknown values are None."""
        mine = self.query.entries[found.query]
        results = []
        for rank, (index, distance) in enumerate(found.ranking, start=1):
            entry = self.gallery.entries[index]
            people = mine.identity not in ("", NO_ONE) and entry.identity
            match = mine.identity == entry.identity if people else None
            results.append({"rank": rank, **known(entry), "distance": round(distance, 6), "match": match})
        return {**known(mine), "left_out": found.left_out, "ranking": results}


def known(entry: Entry) -> dict[str, str | None]:
    """Path, identity and camera; None if unknown, or if there is no one."""
    identity = None if entry.identity in ("", NO_ONE) else entry.identity
    return {"path": entry.path, "identity": identity, "camera": entry.camera or None}


def queries_of(embedding: Embedding) -> Embedding:
    """The split `query` if there is one, otherwise everything.

    Distractors of Market-1501 have no particular identity, so as queries their identity is unknown. Other sets number
    identities from 0.
    """
    part = embedding.part("query")
    part = part if part.entries else embedding
    if embedding.metadata.get("labels") != "market":
        return part
    entries = [replace(entry, identity="") if entry.identity == DISTRACTOR else entry for entry in part.entries]
    return replace(part, entries=entries)


def gallery_of(embedding: Embedding) -> Embedding:
    """The split `gallery` if there is one, otherwise everything; without boxes that show no one."""
    part = embedding.part("gallery")
    part = part if part.entries else embedding
    kept = [row for row, entry in enumerate(part.entries) if entry.identity != NO_ONE]
    return replace(part, features=part.features[kept], entries=[part.entries[row] for row in kept])


def numbered(query: Embedding, gallery: Embedding) -> tuple[Labels, Labels]:
    """Number identities, cameras and files so that images left out for a query agree with it in these numbers.

    Unknown values get a number that no other image has.
    """
    numbers: dict[Hashable, int] = {("identity", NO_ONE): JUNK}

    def number(what: str, value: str, unknown: Hashable) -> int:
        return numbers.setdefault((what, value) if value else unknown, len(numbers))

    def labels(embedding: Embedding, side: str) -> Labels:
        entries = embedding.entries
        columns = (
            [number("identity", entry.identity, (side, place)) for place, entry in enumerate(entries)],
            [number("camera", entry.camera, (side, place)) for place, entry in enumerate(entries)],
            [number("file", path, None) for path in real_paths(embedding.root, [entry.path for entry in entries])],
        )
        return Labels(*(torch.tensor(column, dtype=torch.int64) for column in columns))

    return labels(query, "query"), labels(gallery, "gallery")


def choose(count: int, wanted: int, seed: int | None) -> list[int]:
    """The indices of `wanted` of `count` queries: the first ones or, with a seed, random ones in order."""
    if seed is None:
        return list(range(min(count, wanted)))
    return sorted(np.random.default_rng(seed).permutation(count)[:wanted].tolist())
