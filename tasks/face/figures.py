"""The figure specific to face verification: `pairs`, the hardest wrong decisions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from relattn.errors import InputError, suggest
from relattn.figures.pairs import DecidedPair, hardest, pairs_figure
from relattn.metrics.verification import fold_sizes, pair_distances, verification
from relattn.tasks.data import Data
from relattn.tasks.face.data import FaceData
from relattn.tasks.figure import FigureOptions, MeasuredFigure, TaskFigure, honours

if TYPE_CHECKING:
    from relattn.tasks.base import Task


@honours("set", "columns", "font", "font_size", "bare")
def pairs(task: "Task", data: Data, options: FigureOptions) -> MeasuredFigure:
    """The hardest wrong decisions of verification, each with the threshold of its fold; faces."""
    assert isinstance(data, FaceData)
    asked = options.choices.get("set")
    if asked is not None and asked not in data.verification:
        raise InputError(f"--set: the run has no verification set {asked!r}. {suggest(asked, data.verification)}")
    chosen = {name: one for name, one in data.verification.items() if asked in (None, name)}
    decisions = [decide(task, data, name) for name in chosen]
    numbers = [(name, pair) for name, one in chosen.items() for pair in range(len(one.same))]
    distances, thresholds, accepted = (np.concatenate(parts) for parts in zip(*decisions, strict=True))
    same = np.concatenate([one.same for one in chosen.values()])
    # The distance minus the threshold measures how hard a decision is, and is comparable across sets.
    wrong = hardest(distances - thresholds, same, accepted, options.count)
    preprocessing = data.preprocessing()

    def decided(index: int) -> DecidedPair:
        name, pair = numbers[index]
        first, second = (preprocessing.resized(chosen[name].read(2 * pair + side)) for side in range(2))
        title = f"{name}, pair {pair}"
        return DecidedPair(first, second, title, float(distances[index]), float(thresholds[index]))

    accepts, rejects = ([decided(index) for index in kind] for kind in wrong)
    measures = {
        "pairs": len(same),
        "of two people, accepted": int((accepted & ~same).sum()),
        "of one person, rejected": int((~accepted & same).sum()),
    }
    counts = ", ".join(f"{name} {number:,}" for name, number in measures.items())
    note = f"Squared distances beside the thresholds of their folds. {', '.join(chosen)}: {counts}."
    return MeasuredFigure(
        pairs_figure(accepts, rejects, title="Hardest pairs", note=note, style=options.style), measures
    )


def decide(task: "Task", data: FaceData, name: str) -> tuple[Any, Any, Any]:
    """Distances, thresholds and decisions of the pairs of a set, `(P,)` each."""
    images = data.sets["test"]
    number = list(data.verification).index(name)
    start, stop = images.starts[number], images.starts[number + 1]
    features = []
    with torch.inference_mode():
        for first in range(start, stop, data.eval_batch_size):
            batch = data.examples("test", range(first, min(first + data.eval_batch_size, stop)))
            features.append(task(batch["image"].to(task.device)).float().cpu())
    distances = pair_distances(torch.cat(features))
    folds: Any = getattr(task, "folds", 10)
    result = verification(distances, data.verification[name].same, folds=folds)
    fold = np.repeat(np.arange(len(result.thresholds)), fold_sizes(len(distances), len(result.thresholds)))
    return distances.numpy(), result.thresholds[fold], result.accepted


FIGURES: Mapping[str, TaskFigure] = {"pairs": pairs}
