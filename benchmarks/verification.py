"""The ten-fold protocol of face verification compared with the usual plain loops over folds and thresholds.

    python benchmarks/verification.py

There are 6,000 pairs, as in all official packs but one. The loops compare all distances with one threshold at a time:
400 thresholds for the accuracy and 4,000 for TAR at FAR, on nine folds and, for the accuracy, on the tenth. The suite
counts all distances below all thresholds at once. Its time includes ROC, EER and AUC, which the loops leave out.
"""

import numpy as np
from claims import parser, report

from relattn.costs.side_by_side import Claim, seconds, take_turns
from relattn.metrics.verification import FARS, FINE_GRID, GRID, verification

FOLDS = 10


def loops(distances: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Accuracy and threshold of every fold, and TAR at each FAR, in per cent, by looping over folds and thresholds."""
    pairs, found = np.arange(len(distances)), []
    rates: list[list[float]] = []
    for test in np.array_split(pairs, FOLDS):
        train = np.setdiff1d(pairs, test)
        known, answers = distances[train], same[train]
        accuracies = [np.mean((known < threshold) == answers) for threshold in GRID]
        threshold = GRID[int(np.argmax(accuracies))]
        found += [100 * np.mean((distances[test] < threshold) == same[test]), threshold]
        impostors = known[~answers]
        largest: dict[float, float] = {}  # the largest threshold with each false accept rate
        for threshold in FINE_GRID:
            largest[float(np.mean(impostors < threshold))] = threshold
        chosen = np.interp(FARS, list(largest), list(largest.values()))
        genuine = distances[test][same[test]]
        rates.append([np.mean(genuine < threshold) for threshold in chosen])
    return np.array([*found, *100 * np.mean(rates, axis=0)])


def protocol(distances: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Compute the same numbers with the suite."""
    scores = verification(distances, same)
    per_fold = np.stack([scores.accuracies, scores.thresholds], axis=1).ravel()
    return np.array([*per_fold, *scores.tar.values()])


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("--pairs", type=int, default=6_000)
    asked = options.parse_args(arguments)
    pairs = 200 if asked.quick else asked.pairs
    random = np.random.default_rng(0)
    same = np.tile(np.repeat([True, False], pairs // (2 * FOLDS)), FOLDS)
    distances = np.clip(random.normal(np.where(same, 1.2, 1.9), 0.3), 0, 4)
    results = {}
    sides = take_turns(
        {
            "all at once": lambda: 1000 * seconds(lambda: results.update(ours=protocol(distances, same))),
            "loops": lambda: 1000 * seconds(lambda: results.update(other=loops(distances, same))),
        },
        rounds=asked.rounds,
        warmup=1,
    )
    differ = float(np.abs(results["ours"] - results["other"]).max())
    claim = Claim("ten-fold protocol: time", *sides.values(), "ms", sizes={"pairs": pairs}, difference=differ)
    report("verification", asked, [claim])


if __name__ == "__main__":
    main()
