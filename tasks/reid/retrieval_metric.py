"""The scores of a retrieval as a torchmetrics metric, updated by batches; independent of the number of processes."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from relattn.errors import InputError
from relattn.metrics.counted_once import first_of_each
from relattn.metrics.distances import Distances, FeatureDistances
from relattn.metrics.query_expansion import expand_queries
from relattn.metrics.ranks import Labels, MatchRanks, SameCamera, Ties, chunks, match_ranks, own_files
from relattn.metrics.reranking import ReRanked
from relattn.metrics.retrieval import (
    FPRS,
    Retrieval,
    explain_unmatched,
    impostor_pairs,
    kept_impostors,
    score,
    score_names,
    single_shot_cmc,
)


class RetrievalMetric(Metric):
    """Gathers features of queries and gallery, and scores the retrieval.

    Images carry their index in the evaluation set. By it, their order, which breaks ties, is the same in whatever order
    the images come in, and images repeated by a distributed sampler count once. With several processes, each has all
    features and works on its share of the chunks of queries, and the ranks are gathered: the scores equal those of a
    single process to the last bit.
    """

    full_state_update = False
    higher_is_better = True
    needs_all_images = True  # a few batches may hold queries and no gallery

    features: list[Tensor]
    identities: list[Tensor]
    cameras: list[Tensor]
    in_query: list[Tensor]
    indices: list[Tensor]
    files: list[Tensor]

    def __init__(
        self,
        distance: Literal["cosine", "euclidean"] = "cosine",
        *,
        same_camera: SameCamera = "junk",
        ties: Ties = "order",
        ranks: int = 50,
        fprs: Sequence[float] = FPRS,
        reranking: bool = False,
        expansion: int = 0,
        single_shot: int = 0,
        **arguments: Any,
    ) -> None:
        """Define the metric.

        Args:
            distance: How features are compared.
            same_camera: As in `retrieval`.
            ties: As in `retrieval`.
            ranks: Length of the CMC.
            fprs: False positive rates at which to report the true positive rate.
            reranking: Whether to score k-reciprocal re-ranking as well, under names that end in `_reranked`.
            expansion: Number of neighbours for query expansion, which is also scored, under names that end in
                `_expanded`; 0 for none.
            single_shot: Number of draws of the single-gallery-shot CMC, under names that end in `_single_shot`; 0 for
                none.
            arguments: Passed to torchmetrics' `Metric`.
        """
        super().__init__(**arguments)
        self.reranking, self.expansion, self.single_shot = reranking, expansion, single_shot
        self.result: Retrieval | None = None
        self.distance, self.same_camera, self.ties = distance, same_camera, ties
        self.ranks, self.fprs = ranks, tuple(fprs)
        for name in ("features", "identities", "cameras", "in_query", "indices", "files"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    @property
    def score_names(self) -> list[str]:
        """Names of the scores that `compute` returns."""
        names = [*score_names(fprs=self.fprs), "unmatched"]
        if self.single_shot:
            names += [f"rank{rank}_single_shot" for rank in (1, 5, 10)]
        ways = [way for way, asked in (("reranked", self.reranking), ("expanded", self.expansion)) if asked]
        return names + [f"{name}_{way}" for way in ways for name in score_names((1,), ())]

    def update(
        self,
        features: Tensor,
        identities: Tensor,
        cameras: Tensor,
        in_query: Tensor,
        indices: Tensor,
        files: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            features: (B, D), any floating-point type; kept as float32.
            identities: (B,) int64.
            cameras: (B,) int64.
            in_query: (B,) bool, whether the image is a query; the others are gallery images.
            indices: (B,) int64, the image's position in the evaluation set.
            files: (B,) int64, a number for each file; by default no query's file is in the gallery.
        """
        self.features.append(features.detach().to(torch.float32, copy=True))  # CUDA graphs overwrite their outputs
        self.identities.append(identities)
        self.cameras.append(cameras)
        self.in_query.append(in_query)
        self.indices.append(indices)
        self.files.append(indices if files is None else files)

    def gathered(self) -> tuple[Tensor, Labels, Tensor, Labels]:
        """Features and labels of the queries, then of the gallery, in the order of the evaluation set.

        Raises:
            InputError: If there is no query, or no gallery image.
        """
        indices = dim_zero_cat(self.indices) if len(self.indices) else torch.empty(0, dtype=torch.int64)
        _, first = first_of_each(indices)
        parts: list[Any] = []
        for name, wanted in (("query", True), ("gallery", False)):
            rows = first[dim_zero_cat(self.in_query)[first] == wanted] if len(first) else first
            if not len(rows):
                raise InputError(f"The retrieval has no {name} images: nothing can be scored.")
            parts.append(dim_zero_cat(self.features)[rows])
            labels = (dim_zero_cat(values)[rows] for values in (self.identities, self.cameras, self.files))
            parts.append(Labels(*labels))
        return tuple(parts)

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores of `Retrieval.scores`, in per cent, float64; `result` keeps the details."""
        query_features, query, gallery_features, gallery = self.gathered()
        distances: Distances = FeatureDistances(query_features, gallery_features, self.distance)
        self.result = self.score(distances, query, gallery)
        if len(self.result.unmatched) and self.process()[0] == 0:
            warnings.warn(explain_unmatched(self.result.unmatched, query, gallery, self.same_camera), stacklevel=1)
        scores = self.result.scores() | {"unmatched": float(len(self.result.unmatched))}
        if self.single_shot:
            curve = single_shot_cmc(distances, query, gallery, repeats=self.single_shot, ranks=10)
            scores |= {f"rank{rank}_single_shot": float(curve[rank - 1]) for rank in (1, 5, 10)}
        own = own_files(query, gallery)
        if self.reranking:
            distances = ReRanked(query_features, gallery_features, metric=self.distance, own=own)
            scores |= self.score(distances, query, gallery).headline("reranked")
        if self.expansion:
            expanded = expand_queries(query_features, gallery_features, neighbours=self.expansion, own=own)
            distances = FeatureDistances(expanded, gallery_features)
            scores |= self.score(distances, query, gallery).headline("expanded")
        return {
            name: torch.tensor(value, dtype=torch.float64, device=query.cameras.device)
            for name, value in scores.items()
        }

    def process(self) -> tuple[int, int]:
        """Rank of this process, and the number of processes that work on the same images."""
        shared = self._is_synced and torch.distributed.is_initialized()
        return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)

    def score(self, distances: Distances, query: Labels, gallery: Labels) -> Retrieval:
        """Rank this process's share of the chunks, gather the ranks, and score them."""
        keep = kept_impostors(impostor_pairs(query, gallery), self.fprs)
        rank, processes = self.process()
        found = match_ranks(
            distances,
            query,
            gallery,
            same_camera=self.same_camera,
            ties=self.ties,
            keep=keep,
            part=chunks(distances.shape)[rank::processes],
        )
        if processes > 1:
            found = gather(found, keep)
        return score(found, query, gallery, same_camera=self.same_camera, ranks=self.ranks, fprs=self.fprs)


def gather(found: MatchRanks, keep: int) -> MatchRanks:
    """Gather the ranks of all processes, in the order of the queries."""
    queries, counts, ranks, distances, impostors = (
        torch.cat(gather_all_tensors(values))
        for values in (found.queries, found.counts, found.ranks, found.distances, found.impostors)
    )
    of = torch.repeat_interleave(queries, counts)
    matches, order = of.argsort(stable=True), queries.argsort()
    return MatchRanks(queries[order], counts[order], ranks[matches], distances[matches], impostors.sort().values[:keep])
