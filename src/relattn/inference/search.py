"""Ranking a gallery for each query of two embeddings, and scoring the ranking."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from relattn.errors import InputError
from relattn.metrics.distances import DistanceName, Distances, FeatureDistances, nearest
from relattn.metrics.ranks import Labels, SameCamera, chunks
from relattn.metrics.reranking import ReRanked
from relattn.metrics.retrieval import retrieval
from relattn.tasks.embeddings import Embedding, Entry

JUNK, DISTRACTOR = "-1", "0"
"""Identities of badly cropped boxes, and of people whom no query shows where file names number identities from 1."""


@dataclass(frozen=True)
class RankedList:
    """The ranking of a query."""

    query: int
    """Its place among the queries."""
    ranking: list[tuple[int, float]]
    """Places in the gallery with their distances, nearest first."""
    left_out: int
    """Gallery images that do not count: the query's identity by its camera, or the query itself."""


class Search:
    """Queries, a gallery, and the distances between them.

    Gallery images of the query's identity by the query's camera are left out of its ranking, where both are known, and
    so is the query itself. Boxes that show no one (identity -1 of Market-1501) are left out of the gallery.

    Attributes:
        query: The queries.
        gallery: The gallery without what shows no one.
        metric: `cosine` or `euclidean`.
        distances: Of the queries to the gallery.
    """

    def __init__(
        self,
        query: Embedding,
        gallery: Embedding,
        *,
        metric: DistanceName | None = None,
        same_camera: SameCamera = "junk",
        reranking: bool = False,
    ) -> None:
        """Prepare the search.

        Args:
            query: Its split `query` is taken if it has one, and everything else if it has not.
            gallery: Likewise its split `gallery`.
            metric: How features are compared; None for what the embeddings say of themselves.
            same_camera: Whether images of the query's identity by its camera are junk, or a match as any other.
            reranking: Whether to re-rank by k-reciprocal neighbours.

        Raises:
            InputError: If the features do not go together.
        """
        self.query, self.gallery = queries_of(query), gallery_of(gallery)
        self.metric: DistanceName = metric or query.metadata.get("distance", gallery.metadata.get("distance", "cosine"))
        features = torch.from_numpy(self.query.features), torch.from_numpy(self.gallery.features)
        self.distances: Distances = (
            ReRanked(*features, metric=self.metric) if reranking else FeatureDistances(*features, self.metric)
        )
        self.labels = numbered(self.query, self.gallery, same_camera)

    def rank(self, chosen: Sequence[int], top: int) -> list[RankedList]:
        """The nearest gallery images of the chosen queries, which are places in ascending order."""
        query, gallery = self.labels
        found = []
        for start, stop in chunks(self.distances.shape):  # as the scores have it, so that roundings agree
            mine = [number for number in chosen if start <= number < stop]
            if not mine:
                continue
            rows = self.distances.rows(start, stop)[[number - start for number in mine]]
            left_out = query.identities[mine, None] == gallery.identities
            left_out &= query.cameras[mine, None] == gallery.cameras
            values, indices = nearest(rows.masked_fill_(left_out, torch.inf), top)
            shown = self.distances.display(values)
            for row, number in enumerate(mine):
                kept = int(values[row].isfinite().sum())
                ranking = list(zip(indices[row, :kept].tolist(), shown[row, :kept].tolist(), strict=True))
                found.append(RankedList(number, ranking, int(left_out[row].sum())))
        return found

    def scores(self) -> dict[str, float] | None:
        """`rank1` and `mAP` over all queries, in per cent, and how many of the `queries` are `unmatched`.

        None if the identity of a query is not known, or no query has a match.
        """
        if not all(entry.identity for entry in self.query.entries):
            return None
        try:
            found = retrieval(self.distances, *self.labels, fprs=())
        except InputError:  # all else was checked: no query has a match
            return None
        scores = {name: found.scores((1,))[name] for name in ("rank1", "mAP")}
        return scores | {"queries": len(self.query.entries), "unmatched": len(found.unmatched)}

    def describe(self, found: RankedList) -> dict[str, Any]:
        """A query and its results, by names; what is not known is None."""
        mine = self.query.entries[found.query]
        results = []
        for rank, (index, distance) in enumerate(found.ranking, start=1):
            entry = self.gallery.entries[index]
            match = mine.identity == entry.identity if mine.identity and entry.identity else None
            results.append({"rank": rank, **known(entry), "distance": max(0.0, round(distance, 6)), "match": match})
        return {**known(mine), "left_out": found.left_out, "ranking": results}


def known(entry: Entry) -> dict[str, str | None]:
    """Path, identity and camera; None where they are not known."""
    return {"path": entry.path, "identity": entry.identity or None, "camera": entry.camera or None}


def queries_of(embedding: Embedding) -> Embedding:
    """The split `query` if there is one, else everything.

    Boxes that show no one have no identity, nor have distractors of Market-1501, who are nobody in particular. Other
    sets count identities from 0.
    """
    part = embedding.part("query")
    part = part if part.entries else embedding
    nobody = {JUNK, DISTRACTOR} if embedding.metadata.get("labels") == "market" else {JUNK}
    entries = [replace(entry, identity="") if entry.identity in nobody else entry for entry in part.entries]
    return replace(part, entries=entries)


def gallery_of(embedding: Embedding) -> Embedding:
    """The split `gallery` if there is one, else everything; without boxes that show no one."""
    part = embedding.part("gallery")
    part = part if part.entries else embedding
    kept = [row for row, entry in enumerate(part.entries) if entry.identity != JUNK]
    return replace(part, features=part.features[kept], entries=[part.entries[row] for row in kept])


def numbered(query: Embedding, gallery: Embedding, same_camera: SameCamera) -> tuple[Labels, Labels]:
    """Numbers for identities and cameras, such that what is left out agrees with the query in both.

    What is not known is a number that only this file has: an image never finds itself, whatever is known of it, and
    nothing else is left out. The same stands for cameras where those of the same camera are matches.
    """
    numbers: dict[Hashable, int] = {}

    def number(what: str, value: str, file: str) -> int:
        return numbers.setdefault((what, value) if value else ("file", file), len(numbers))

    def labels(embedding: Embedding) -> Labels:
        root = embedding.root.resolve()
        files = [str(root / entry.path) for entry in embedding.entries]
        pairs = list(zip(embedding.entries, files, strict=True))
        identities = [number("identity", entry.identity, file) for entry, file in pairs]
        cameras = [number("camera", entry.camera if same_camera == "junk" else "", file) for entry, file in pairs]
        return Labels(torch.tensor(identities, dtype=torch.int64), torch.tensor(cameras, dtype=torch.int64))

    return labels(query), labels(gallery)


def choose(count: int, wanted: int, seed: int | None) -> list[int]:
    """The places of `wanted` of `count` queries: the first ones, or with a seed some at random, in their order."""
    if seed is None:
        return list(range(min(count, wanted)))
    return sorted(np.random.default_rng(seed).permutation(count)[:wanted].tolist())
