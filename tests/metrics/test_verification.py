"""Verification: the ten-fold protocol against plain loops, bit for bit, and inputs that cannot be scored."""

import bisect
import math
import warnings

import numpy as np
import pytest
import torch

from relattn.errors import InputError
from relattn.metrics.verification import pair_distances, verification

# --- The protocol in plain loops --------------------------------------------------------------------------------------


def slow_folds(pairs: int, folds: int) -> list[list[int]]:
    """Split like scikit-learn's KFold without shuffling: the first folds have one more."""
    parts, start = [], 0
    for fold in range(folds):
        size = pairs // folds + (1 if fold < pairs % folds else 0)
        parts.append(list(range(start, start + size)))
        start += size
    return parts


def slow_accuracies(distances: list[float], same: list[bool], folds: int) -> tuple[list[float], list[float]]:
    """Accuracy of each fold in per cent, and its threshold."""
    accuracies, thresholds = [], []
    for test in slow_folds(len(distances), folds):
        train = [pair for pair in range(len(distances)) if not test[0] <= pair <= test[-1]]
        best, chosen = -1, 0.0
        for step in range(400):
            right = sum((distances[pair] < step * 0.01) == same[pair] for pair in train)
            if right > best:
                best, chosen = right, step * 0.01
        right = sum((distances[pair] < chosen) == same[pair] for pair in test)
        accuracies.append(100 * (right / len(test)))
        thresholds.append(chosen)
    return accuracies, thresholds


def slow_tar(distances: list[float], same: list[bool], folds: int, far: float) -> float:
    """TAR at FAR in per cent, by interpolating the threshold between the distinct FARs of nine folds."""
    rates = []
    for test in slow_folds(len(distances), folds):
        others = [distances[p] for p in range(len(distances)) if not test[0] <= p <= test[-1] and not same[p]]
        mine = [distances[p] for p in test if same[p]]
        if not others or not mine:
            continue
        others.sort()
        largest = {}
        for step in range(4000):
            largest[bisect.bisect_left(others, step * 0.001) / len(others)] = step * 0.001
        known = sorted(largest)
        place = bisect.bisect_left(known, far)
        if place == len(known):
            threshold = largest[known[-1]]
        elif known[place] == far:
            threshold = largest[known[place]]
        else:
            low, high = known[place - 1], known[place]
            slope = (largest[high] - largest[low]) / (high - low)
            threshold = slope * (far - low) + largest[low]
        rates.append(sum(value < threshold for value in mine) / len(mine))
    return 100 * float(np.mean(rates)) if rates else math.nan


def slow_auc(distances: list[float], same: list[bool]) -> float:
    """Fraction of (genuine pair, impostor pair) combinations in the right order, ties counted half."""
    genuine = [d for d, s in zip(distances, same, strict=True) if s]
    impostors = [d for d, s in zip(distances, same, strict=True) if not s]
    wins = sum((g < i) + 0.5 * (g == i) for g in genuine for i in impostors)
    return 100 * wins / (len(genuine) * len(impostors))


def random_pairs(pairs: int, seed: int, spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    same = generator.random(pairs) < 0.5
    return np.clip(np.where(same, 1.2, 2.0) + spread * generator.normal(size=pairs), 0, 4), same


def cases() -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Distances, answers and folds."""
    plain, same = random_pairs(60, 0)
    odd, odd_same = random_pairs(47, 1)
    wide, wide_same = random_pairs(50, 2, spread=3)
    grid = np.round(plain, 2)
    turns = np.arange(60) % 2 == 0
    return {
        "random": (plain, same, 10),
        "47 pairs": (odd, odd_same, 10),
        "out to 0 and 4": (wide, wide_same, 10),
        "on the grid": (grid, same, 10),
        "exact thresholds": (0.01 * np.round(100 * plain), same, 10),
        "all equal": (np.full(60, 1.0), turns, 10),
        "all zero": (np.zeros(60), turns, 10),
        "all 4": (np.full(60, 4.0), turns, 10),
        "perfect": (np.where(same, 0.5, 1.5), same, 10),
        "upside down": (np.where(same, 1.5, 0.5), same, 10),
        "a fold a pair": (*random_pairs(12, 3), 12),
        "two folds": (odd, odd_same, 2),
        "sorted": (np.sort(plain), np.arange(60) < 30, 10),
        "impostors in one fold": (plain, np.arange(60) >= 6, 10),
    }


@pytest.mark.filterwarnings("ignore:Fold")
@pytest.mark.parametrize("name", cases())
def test_scores_are_those_of_plain_loops_to_the_last_bit(name: str) -> None:
    distances, same, folds = cases()[name]
    found = verification(distances, same, folds=folds, fars=(1e-3, 1e-2, 0.25))
    listed = distances.tolist(), same.tolist()
    accuracies, thresholds = slow_accuracies(*listed, folds)
    assert found.accuracies.tolist() == accuracies
    assert found.thresholds.tolist() == thresholds
    assert found.accuracy == np.mean(accuracies)
    assert found.std == np.std(accuracies)
    assert found.threshold == np.mean(thresholds)
    for far, value in found.tar.items():
        assert (
            value == slow_tar(*listed, folds, far)
            or (math.isnan(value) and name == "impostors in one fold")
            or (math.isnan(value) and math.isnan(slow_tar(*listed, folds, far)))
        )
    assert found.auc == pytest.approx(slow_auc(*listed), abs=1e-10)
    decided = [d < t for part, t in zip(slow_folds(len(same), folds), thresholds, strict=True) for d in distances[part]]
    assert found.accepted.tolist() == decided


def test_roc_and_equal_error_rate() -> None:
    same = np.array([True, True, False, True, False, False])
    found = verification(np.array([0.1, 0.2, 0.3, 0.3, 0.5, 0.6]), same, folds=2)
    third = 100 / 3
    np.testing.assert_allclose(found.roc, [0, third, 2 * third, 100, 100, 100])
    np.testing.assert_allclose(found.far, [0, 0, 0, third, 2 * third, 100])
    # Between (0, 2/3) and (1/3, 1) the ROC crosses FAR = 1 - TAR in the middle.
    assert found.eer == pytest.approx(100 / 6)
    assert found.auc == pytest.approx(100 * 17 / 18)
    perfect = verification(np.where(same, 0.5, 1.5), same, folds=2)
    assert (perfect.eer, perfect.auc) == (0, 100)
    constant = verification(np.ones(6), same, folds=2)
    assert (constant.eer, constant.auc) == (50, 50)


def test_a_distance_at_the_threshold_is_not_accepted() -> None:
    distances = np.array([0.01, 0.02, 0.01, 0.02])
    found = verification(distances, np.array([True, False, True, False]), folds=2)
    assert found.thresholds.tolist() == [0.02, 0.02]
    assert found.accuracies.tolist() == [100, 100]


def test_distances_are_squared_and_of_normalised_features() -> None:
    features = torch.randn(2 * 5000, 6, generator=torch.Generator().manual_seed(0))  # more than one part
    found = pair_distances(4 * features)
    plain = features.double().numpy()
    a, b = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (plain[::2], plain[1::2]))
    np.testing.assert_allclose(found.numpy(), ((a - b) ** 2).sum(axis=1), atol=1e-12)
    assert pair_distances(torch.ones(4, 3)).tolist() == [0, 0]
    assert pair_distances(torch.tensor([[1.0, 0], [-5, 0]])).tolist() == [4]


@pytest.mark.parametrize(
    ("distances", "same", "options", "message"),
    [
        (np.ones(9), np.arange(9) % 2 == 0, {}, "9 pairs cannot be cut into 10 folds"),
        (np.ones(9), np.arange(9) % 2 == 0, {"folds": 1}, "1 folds"),
        (np.ones(20), np.ones(20, dtype=bool), {}, "All 20 pairs show one person"),
        (np.ones(20), np.zeros(20, dtype=bool), {}, "All 20 pairs show two people"),
        (np.ones(20), np.arange(19) % 2 == 0, {}, r"\(20,\) and answers \(19,\)"),
        (np.append(np.ones(19), np.nan), np.arange(20) % 2 == 0, {}, "1 of 20 distances are NaN"),
        (np.ones(20), np.arange(20) % 2 == 0, {"fars": (0,)}, "fars has 0"),
    ],
    ids=str,
)
def test_what_cannot_be_scored_is_refused(distances: np.ndarray, same: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        verification(distances, same, **options)


@pytest.mark.parametrize(("value", "message"), [(math.nan, "not finite"), (math.inf, "not finite"), (0.0, "is 0")])
@pytest.mark.parametrize("row", [3, 5003])
def test_features_that_say_nothing_are_refused(value: float, message: str, row: int) -> None:
    features = torch.ones(6000, 2)
    features[row] = value
    with pytest.raises(InputError, match=f"image {row} .*{message}" if value else f"image {row} {message}"):
        pair_distances(features)


def test_folds_of_one_kind_are_warned_of() -> None:
    distances, same = random_pairs(100, 0)
    with pytest.warns(UserWarning, match=r"Fold 1, 2, 3.* of 10 has pairs of one kind only.*keep their order"):
        verification(distances, np.sort(same))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verification(distances, same)
