"""Retrieval scores from the ranks of matches: CMC, mAP in both definitions, mINP, TPR at FPR.

Two definitions of average precision are in use, and published numbers mix them. With r_i the rank of the i-th of P
matches (from 1):

    by step        AP = 1/P sum_i i / r_i
    by trapezoid   AP = 1/P sum_i 1/2 (i / r_i + (i - 1) / (r_i - 1)),   the second term 1 where r_i = 1

The second is Market-1501's official evaluation (and scikit-learn's before 0.19, which RGA used); most code since,
including StRA's, computes the first. The second is never larger; for the same ranking the difference is 0.5 to 1 point
on Market-1501 and up to 2.7 on CUHK03.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError, some_of
from relattn.metrics.distances import Distances, MatrixDistances
from relattn.metrics.ranks import (
    JUNK,
    Labels,
    MatchRanks,
    Partners,
    SameCamera,
    Ties,
    as_labels,
    chunks,
    match_ranks,
)

FPRS = (1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Retrieval:
    """The scores of a retrieval, in per cent; means are over the queries that have at least one match."""

    cmc: Tensor
    """`(ranks,)` float64: share of queries with a match among the first 1, 2, ... images."""
    mean_ap: float
    """Mean average precision, by step."""
    mean_ap_trapezoid: float
    """Mean average precision by Market-1501's official definition."""
    mean_inp: float
    """Mean inverse negative penalty, P / r_P: how early the last match is found (Ye et al., TPAMI 2022, Eq. 5)."""
    tpr: dict[float, float]
    """True positive rate by false positive rate when accepting pairs by distance: at the largest threshold whose false
    positives do not exceed the rate. A pair at an infinite distance is never accepted."""
    average_precisions: Tensor
    """`(Q,)` float64, by step, for each query; NaN if it has no match."""
    first_ranks: Tensor
    """`(Q,)` int64, rank of each query's nearest match; 0 if it has none."""
    unmatched: Tensor
    """`(U,)` int64, indices of the queries without a match, which the scores leave out."""

    def scores(self, ranks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """The scores by name: `mAP`, `mAP_trapezoid`, `mINP`, `rank1`, ... and `TPR@FPR=...`."""
        means = (self.mean_ap, self.mean_ap_trapezoid, self.mean_inp)
        curve = (float(self.cmc[min(rank, len(self.cmc)) - 1]) for rank in ranks)
        return dict(zip(score_names(ranks, list(self.tpr)), (*means, *curve, *self.tpr.values()), strict=True))

    def headline(self, way: str) -> dict[str, float]:
        """The scores to report for another way of ranking, with names that end in it: `mAP_reranked`, ..."""
        return {f"{name}_{way}": value for name, value in self.scores((1,)).items() if "FPR" not in name}


def score_names(ranks: Sequence[int] = (1, 5, 10), fprs: Sequence[float] = FPRS) -> list[str]:
    """Names of the scores of a `Retrieval`."""
    return ["mAP", "mAP_trapezoid", "mINP", *(f"rank{rank}" for rank in ranks), *(f"TPR@FPR={fpr:g}" for fpr in fprs)]


Matrix = Tensor | NDArray[Any] | Sequence[Sequence[float]]


def retrieval(
    distances: Distances | Matrix,
    query: Labels,
    gallery: Labels,
    *,
    same_camera: SameCamera = "junk",
    ties: Ties = "order",
    ranks: int = 50,
    fprs: Sequence[float] = FPRS,
) -> Retrieval:
    """Score a retrieval without ever storing the whole matrix of distances.

    Args:
        distances: Distances of Q queries to G gallery images: an object that computes them, or the matrix `(Q, G)`, as
            for `MatrixDistances`; an infinite distance ranks last.
        query: Identities and cameras of the queries, and their files if queries may be in the gallery.
        gallery: The same for the gallery. `relattn.metrics.ranks` defines which images are junk.
        same_camera: Whether a gallery image of the query's identity and camera is `"junk"`, or a `"match"` like others.
        ties: How equal distances rank; see `match_ranks`.
        ranks: Length of the CMC.
        fprs: False positive rates at which to report the true positive rate.

    Raises:
        InputError: If no query has a match, or the labels do not fit the distances. Features with NaN are refused when
            their distances are created.
    """
    distances = as_distances(distances)
    query, gallery = as_labels(query, gallery)
    pairs = impostor_pairs(query, gallery)
    found = match_ranks(distances, query, gallery, same_camera=same_camera, ties=ties, keep=kept_impostors(pairs, fprs))
    return score(found, query, gallery, same_camera=same_camera, ranks=ranks, fprs=fprs)


def as_distances(distances: Distances | Matrix) -> Distances:
    """Return distances as an object that computes rows."""
    computed = not isinstance(distances, Tensor) and hasattr(distances, "rows")
    return distances if computed else MatrixDistances(distances)  # type: ignore[return-value, arg-type]


def impostor_pairs(query: Labels, gallery: Labels) -> int:
    """Number of pairs of a query and a gallery image with different identities, without junk."""
    row, column = Partners.of_file(query, gallery).pairs()
    whose, of = query.identities[row], gallery.identities[column]
    own_files = ((whose != of) & (whose != JUNK) & (of != JUNK)).count_nonzero()
    same = Partners.of_identity(query, gallery).count()
    queries, images = ((labels.identities != JUNK).count_nonzero() for labels in (query, gallery))
    return int(queries * images - same - own_files)


def kept_impostors(pairs: int, fprs: Sequence[float]) -> int:
    """Number of smallest impostor distances needed to find the thresholds of the false positive rates.

    Raises:
        InputError: If a rate is not in (0, 1).
    """
    for fpr in fprs:
        if not 0 < fpr < 1:
            raise InputError(f"fprs has {fpr}, expected false positive rates in (0, 1).")
    return min(int(max(fprs) * pairs) + 1, pairs) if fprs else 0


def score(
    found: MatchRanks,
    query: Labels,
    gallery: Labels,
    *,
    same_camera: SameCamera = "junk",
    ranks: int = 50,
    fprs: Sequence[float] = FPRS,
) -> Retrieval:
    """Compute the scores from the ranks of all queries; arguments as in `retrieval`, and raises as it does."""
    counts, matched = found.counts, found.counts > 0
    unmatched = found.queries[~matched]
    if not matched.any():
        raise InputError(explain_unmatched(unmatched, query, gallery, same_camera))
    row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    starts = counts.cumsum(0) - counts
    number = torch.arange(1, len(row) + 1, device=counts.device) - starts[row]
    rank = found.ranks.double()
    step = number / rank
    before = torch.where(found.ranks > 1, (number - 1) / (rank - 1), 1.0)

    def mean_of_matches(values: Tensor) -> Tensor:
        return torch.zeros(len(counts), dtype=torch.float64, device=counts.device).index_add_(0, row, values) / counts

    average_precisions = mean_of_matches(step)
    first = found.ranks[starts[matched]]
    last = starts[matched] + counts[matched] - 1
    hits = torch.bincount(first.clamp(max=ranks + 1), minlength=ranks + 2)[1 : ranks + 1]
    pairs = impostor_pairs(query, gallery)
    first_ranks = torch.zeros_like(counts)
    first_ranks[matched] = first
    return Retrieval(
        cmc=100 * hits.cumsum(0).double() / len(first),
        mean_ap=100 * float(average_precisions[matched].mean()),
        mean_ap_trapezoid=100 * float(mean_of_matches((step + before) / 2)[matched].mean()),
        mean_inp=100 * float(step[last].mean()),
        tpr={fpr: true_positive_rate(found, int(fpr * pairs)) for fpr in fprs},
        average_precisions=100 * average_precisions,
        first_ranks=first_ranks,
        unmatched=unmatched,
    )


def true_positive_rate(found: MatchRanks, false_positives: int) -> float:
    """Share of matching pairs, in per cent, nearer than the first impostor that must be rejected."""
    known = false_positives < len(found.impostors)
    threshold = float(found.impostors[false_positives]) if known else torch.inf
    return 100 * float((found.distances < threshold).double().mean())


def explain_unmatched(unmatched: Tensor, query: Labels, gallery: Labels, same_camera: SameCamera) -> str:
    """Describe how many queries have no match, and why."""
    total = len(query.identities)
    query = query.part(unmatched.to(query.identities.device))
    nobody = query.identities == JUNK
    absent = ~nobody & ~torch.isin(query.identities, gallery.identities)
    rest = int((~absent & ~nobody).sum())
    reasons = []
    if nobody.any():
        reasons.append(f"{int(nobody.sum())} show no one (identity {JUNK})")
    if absent.any():
        reasons.append(f"for {int(absent.sum())}, the gallery has no image of the identity")
    if rest and same_camera == "junk":
        reasons.append(
            f"for {rest}, it has images from the query's own camera only, which are junk (a set with one camera is "
            "scored with same_camera: match)"
        )
    elif rest:
        reasons.append(f"for {rest}, it has the query's own file only, which does not count")
    named = some_of(unmatched.tolist())
    count = f"{len(unmatched)} of {total} (numbers {named})"
    return f"Queries without a match in the gallery: {count}: {'; '.join(reasons)}."


def single_shot_cmc(
    distances: Distances | Matrix,
    query: Labels,
    gallery: Labels,
    *,
    repeats: int = 10,
    ranks: int = 50,
    seed: int = 0,
) -> Tensor:
    """CMC in which each query is compared with one random image of every identity: the classic protocol of CUHK03.

    Li et al., "DeepReID", CVPR 2014. A draw puts the gallery in a random order, and each identity is represented by its
    first image that is not junk because of the query's camera. The curve is the mean over draws and over the queries
    that have a match.

    Args:
        distances: As in `retrieval`.
        query: Labels of Q queries.
        gallery: Labels of the gallery.
        repeats: Number of draws.
        ranks: Length of the CMC.
        seed: Random seed of the draws.

    Returns:
        `(ranks,)` float64, per cent.

    Raises:
        InputError: If no query has a match.
    """
    distances = as_distances(distances)
    device = distances.device
    query, gallery = (labels.to(device) for labels in as_labels(query, gallery))
    people = gallery.identities != JUNK
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(gallery.identities), generator=generator).to(device) for _ in range(repeats)]
    orders = [order[people[order]] for order in orders]
    identities = gallery.identities[people].unique()
    everyone = torch.arange(len(query.identities))
    if not len(identities):
        raise InputError(explain_unmatched(everyone, query, gallery, "junk"))
    draws = [first_of_each(order, gallery.identities, identities) for order in orders]
    hits, trials = torch.zeros(ranks, dtype=torch.float64, device=device), 0
    for start, stop in chunks(distances.shape):
        rows = distances.rows(start, stop)
        place = torch.searchsorted(identities, query.identities[start:stop]).clamp(max=len(identities) - 1)
        known = identities[place] == query.identities[start:stop]
        for camera in query.cameras[start:stop].unique():
            mine = (known & (query.cameras[start:stop] == camera)).nonzero().squeeze(1)
            for order, drawn in zip(orders, draws, strict=True):
                elsewhere = order[gallery.cameras[order] != camera]
                own = first_of_each(elsewhere, gallery.identities, identities)[place[mine]]
                matched = own >= 0
                row, own, target = mine[matched], own[matched], place[mine][matched]
                candidates = rows[row][:, drawn]
                value = rows[row, own][:, None]
                ahead = (candidates < value) | ((candidates == value) & (drawn < own[:, None]))
                ahead[torch.arange(len(row), device=device), target] = False
                rank = ahead.count_nonzero(dim=1)
                hits += torch.bincount(rank.clamp(max=ranks), minlength=ranks + 1)[:ranks]
                trials += len(rank)
    if not trials:
        raise InputError(explain_unmatched(everyone, query, gallery, "junk"))
    return 100 * hits.cumsum(0) / trials


def first_of_each(order: Tensor, labels: Tensor, identities: Tensor) -> Tensor:
    """The first image in `order` of each identity; -1 if there is none."""
    place = torch.searchsorted(identities, labels[order])
    first = torch.full((len(identities),), len(order), device=order.device)
    first.scatter_reduce_(0, place, torch.arange(len(order), device=order.device), "amin")
    return torch.where(first < len(order), order[first.clamp(max=len(order) - 1)], -1)
