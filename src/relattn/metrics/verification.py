"""Face verification: whether two images show the same person, from the distance between their features.

This is the protocol of "Labeled Faces in the Wild" (Huang et al., 2007) as used in face recognition since FaceNet, with
the threshold "selected in the range of [0, 4]" (StRA, section 5.2). Distances are squared Euclidean ones between
features of length 1, and a pair counts as one person if its distance is less than the threshold. The pairs, in their
order, are split into ten folds. Each fold is scored with the threshold, from a grid in steps of 0.01, that is most
often correct on the other nine; the lowest if there are several. The scores are the mean and the standard deviation of
the folds' accuracies. Pairs must keep the order of their list, which is balanced fold by fold.

TAR at FAR is ten-fold as well. On nine folds the threshold is chosen from a grid in steps of 0.001, by linear
interpolation between the distinct false accept rates there (for each of which the largest threshold is used), and is
applied to the tenth. ROC, EER and AUC are over all pairs and exact.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError

Floats = NDArray[np.float64]

FARS = (1e-3, 1e-2)
GRID: Floats = np.arange(400) * np.float64(0.01)
FINE_GRID: Floats = np.arange(4000) * np.float64(0.001)
"""Grids of thresholds for the accuracy and for the true accept rates."""


@dataclass(frozen=True)
class Verification:
    """The scores of a list of pairs, in per cent, except thresholds, which are squared distances in [0, 4]."""

    accuracies: Floats
    """`(folds,)`, each at the threshold chosen on the other folds."""
    thresholds: Floats
    """`(folds,)`, the thresholds at which the accuracies are computed."""
    accepted: NDArray[np.bool_]
    """`(P,)`, whether a pair's distance is below the threshold of its fold."""
    tar: dict[float, float]
    """True accept rate by false accept rate; NaN if no fold allows computing it."""
    far: Floats
    """`(R,)` false accept rates of the ROC, in per cent, from 0 to 100."""
    roc: Floats
    """`(R,)` true accept rates at `far`, in per cent."""
    eer: float
    """Equal error rate: the rate at which the share of accepted impostors equals that of rejected genuine pairs."""
    auc: float
    """Area under the ROC."""

    @property
    def accuracy(self) -> float:
        """Mean over the folds."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Population standard deviation over the folds, as in published code."""
        return float(self.accuracies.std())

    @property
    def threshold(self) -> float:
        """Mean of the folds' thresholds, for judging new pairs."""
        return float(self.thresholds.mean())

    def scores(self) -> dict[str, float]:
        """The scores by name: `accuracy`, `std`, `TAR@FAR=...`, `EER`, `AUC` and `threshold`."""
        values = (self.accuracy, self.std, *self.tar.values(), self.eer, self.auc, self.threshold)
        return dict(zip(score_names(list(self.tar)), values, strict=True))


def score_names(fars: Sequence[float] = FARS) -> list[str]:
    """Names of the scores of a `Verification`."""
    return ["accuracy", "std", *(f"TAR@FAR={far:g}" for far in fars), "EER", "AUC", "threshold"]


def pair_distances(features: Tensor) -> Tensor:
    """Squared Euclidean distances of pairs of features, after dividing each feature by its length.

    Args:
        features: `(2 P, D)`, floating point; rows 2 i and 2 i + 1 are pair i.

    Returns:
        `(P,)` float64, in [0, 4].

    Raises:
        InputError: If a feature is not finite, or is 0 and thus has no direction.
    """
    if features.ndim != 2 or len(features) % 2 or not len(features):
        raise InputError(f"Features of pairs have the shape (2 P, D), not {tuple(features.shape)}.")
    parts: list[Tensor] = []
    for part in features.detach().split(4096):  # converting all images to float64 at once would need three copies
        precise = part.double()
        lengths = precise.norm(dim=1, keepdim=True)
        bad = ~((lengths > 0) & lengths.isfinite()).squeeze(1)
        if bad.any():
            row = 2 * sum(map(len, parts)) + int(bad.nonzero()[0])
            kind = "0" if bool(lengths[bad][0] == 0) else "not finite"
            raise InputError(f"The feature of image {row} is {kind}, so that it has no direction.")
        first, second = (precise / lengths).unflatten(0, (-1, 2)).unbind(1)
        parts.append((first - second).square_().sum(dim=1))
    return torch.cat(parts)


def verification(
    distances: Tensor | Floats, same: NDArray[np.bool_] | Tensor, *, folds: int = 10, fars: Sequence[float] = FARS
) -> Verification:
    """Score pairs by their distances.

    Args:
        distances: `(P,)`, as from `pair_distances`, in the order of the list of pairs.
        same: `(P,)` bool, whether a pair shows one person.
        folds: Number of folds.
        fars: False accept rates at which to report the true accept rate.

    Raises:
        InputError: If there are fewer pairs than folds, all pairs are of one kind, the numbers of distances and answers
            differ, or a distance is NaN.
    """
    values = np.asarray(torch.as_tensor(distances).detach().cpu(), dtype=np.float64)
    answers = np.asarray(torch.as_tensor(same).cpu(), dtype=bool)
    check(values, answers, folds, fars)
    fold = np.repeat(np.arange(folds), fold_sizes(len(values), folds))
    accuracies, thresholds = ten_fold(values, answers, fold)
    far, roc, eer, auc = receiver_operating_characteristic(values, answers)
    return Verification(
        accuracies=100 * accuracies,
        thresholds=thresholds,
        accepted=values < thresholds[fold],
        tar=dict(zip(fars, true_accept_rates(values, answers, fold, fars), strict=True)),
        far=100 * far,
        roc=100 * roc,
        eer=100 * eer,
        auc=100 * auc,
    )


def check(distances: Floats, same: NDArray[np.bool_], folds: int, fars: Sequence[float]) -> None:
    """Refuse what cannot be scored, and warn of folds with pairs of only one kind."""
    if distances.ndim != 1 or distances.shape != same.shape:
        raise InputError(f"Distances are {distances.shape} and answers {same.shape}: expected (pairs,) both.")
    if folds < 2 or len(distances) < folds:
        raise InputError(
            f"{len(distances)} pairs cannot be cut into {folds} folds: expected 2 folds or more, of a pair or more."
        )
    if wrong := [far for far in fars if not 0 < far < 1]:
        raise InputError(f"fars has {wrong[0]}, expected false accept rates in (0, 1).")
    if np.isnan(distances).any():
        raise InputError(f"{int(np.isnan(distances).sum())} of {len(distances)} distances are NaN.")
    if same.all() or not same.any():
        kind = "one person" if same.all() else "two people"
        raise InputError(f"All {len(same)} pairs show {kind}, so no threshold can be chosen: both kinds are needed.")
    cut = np.split(same, np.cumsum(fold_sizes(len(same), folds))[:-1])
    if lopsided := [number for number, part in enumerate(cut, start=1) if part.all() or not part.any()]:
        named = ", ".join(map(str, lopsided))
        warnings.warn(
            f"Fold {named} of {folds} has pairs of one kind only: lists of pairs are balanced in every fold, and must "
            "keep their order.",
            stacklevel=3,
        )


def fold_sizes(pairs: int, folds: int) -> NDArray[np.int64]:
    """Sizes of the folds, in the order of the pairs; if they cannot be equal, the first ones have one pair more."""
    return np.asarray(pairs // folds + (np.arange(folds) < pairs % folds), dtype=np.int64)


def accepted(distances: Floats, fold: NDArray[np.int64], folds: int, thresholds: Floats) -> NDArray[np.int64]:
    """Number of distances below each threshold, `(folds, thresholds)`."""
    first = np.searchsorted(thresholds, distances, side="right")  # the first threshold above a distance
    columns = len(thresholds) + 1  # the last column is for distances above all thresholds
    counts = np.bincount(fold * columns + first, minlength=folds * columns).reshape(folds, columns)
    return counts[:, :-1].cumsum(axis=1)


def by_kind(
    distances: Floats, same: NDArray[np.bool_], fold: NDArray[np.int64], thresholds: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The `accepted` genuine pairs and their total number in each fold, `(folds, 1)`; then the same for impostors."""
    folds = int(fold[-1]) + 1
    genuine, impostors = (accepted(distances[kind], fold[kind], folds, thresholds) for kind in (same, ~same))
    numbers = (np.bincount(fold[kind], minlength=folds)[:, None] for kind in (same, ~same))
    return genuine, next(numbers), impostors, next(numbers)


def ten_fold(distances: Floats, same: NDArray[np.bool_], fold: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Accuracy of each fold, as a fraction, at the threshold that is best on the other folds; and these thresholds."""
    genuine, _, impostors, number = by_kind(distances, same, fold, GRID)
    right = genuine + number - impostors
    best = (right.sum(axis=0) - right).argmax(axis=1)
    return right[np.arange(len(right)), best] / np.bincount(fold), GRID[best]


def true_accept_rates(
    distances: Floats, same: NDArray[np.bool_], fold: NDArray[np.int64], fars: Sequence[float]
) -> list[float]:
    """Mean over the folds of the true accept rates, in per cent, at each false accept rate of the other folds.

    A fold is left out if it has no genuine pair, or if the other folds have no impostors.
    """
    _, genuine_number, impostors, number = by_kind(distances, same, fold, FINE_GRID)
    others, others_number = impostors.sum(axis=0) - impostors, number.sum() - number
    rates = np.full((len(number), len(fars)), np.nan)
    for test in range(len(number)):
        if not others_number[test] or not genuine_number[test]:
            continue
        counts, from_last = np.unique(others[test, ::-1], return_index=True)
        thresholds = FINE_GRID[len(FINE_GRID) - 1 - from_last]  # the largest with each count
        chosen = np.interp(fars, counts / others_number[test], thresholds)
        mine = np.sort(distances[same & (fold == test)])
        rates[test] = np.searchsorted(mine, chosen, side="left") / genuine_number[test]
    usable = ~np.isnan(rates).any(axis=1)
    return [float(100 * rates[usable, column].mean()) if usable.any() else np.nan for column in range(len(fars))]


def receiver_operating_characteristic(
    distances: Floats, same: NDArray[np.bool_]
) -> tuple[Floats, Floats, float, float]:
    """False and true accept rates for growing thresholds, equal error rate and area under the curve, as fractions."""
    order = np.argsort(distances, kind="stable")
    last = np.append(np.diff(distances[order]) > 0, True)  # equal distances are accepted together
    genuine, impostors = (np.append(0, np.cumsum(kind[order])[last]) for kind in (same, ~same))
    tar, far = genuine / same.sum(), impostors / (~same).sum()
    area = float(((far[1:] - far[:-1]) * (tar[1:] + tar[:-1])).sum() / 2)
    excess = far - (1 - tar)  # rises from -1 to 1
    after = int((excess >= 0).argmax())
    share = -excess[after - 1] / (excess[after] - excess[after - 1])
    return far, tar, float(far[after - 1] + share * (far[after] - far[after - 1])), area
