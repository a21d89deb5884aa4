"""The figure specific to re-identification: `ranks`, the nearest gallery images of queries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from relattn.errors import InputError
from relattn.tasks.data import Data
from relattn.tasks.figure import FigureOptions, MeasuredFigure, TaskFigure, evenly_spread, honours
from relattn.tasks.reid.data import ReIDData
from relattn.tasks.reid.ranked_lists import ranked_lists
from relattn.tasks.reid.retrieval_metric import RetrievalMetric

if TYPE_CHECKING:
    from relattn.tasks.base import Task


RESULTS = 10
"""Number of gallery images per query."""


@honours("images", "columns")
def ranks(task: "Task", data: Data, options: FigureOptions) -> MeasuredFigure:
    """The nearest gallery images of queries; re-identification."""
    if options.files is not None:
        raise InputError(
            "ranks draws queries of a test set: give their numbers, or rank image files by relattn search."
        )
    assert isinstance(data, ReIDData)
    people = data.sets[options.split]
    chosen = options.indices if options.indices is not None else evenly_spread(people.queries, options.count)
    if not 1 <= len(chosen) <= 8 or not 0 <= min(chosen) <= max(chosen) < people.queries:
        raise InputError(f"ranks: queries {chosen} are requested, expected 1 to 8 of 0 to {people.queries - 1}.")
    metric: Any = task.build_metric(data)
    assert isinstance(metric, RetrievalMetric)
    loader = data.evaluation_loader_alone(options.split)
    with torch.inference_mode():
        for batch in loader:
            labels = (batch[name] for name in ("identity", "camera", "query", "index", "file"))
            metric.update(task(batch["image"].to(task.device)).cpu(), *labels)
    scores = metric.compute()
    measures = {name: float(scores[name]) for name in ("rank1", "mAP")}
    columns = options.style.columns or RESULTS
    drawn = ranked_lists(metric, people, queries=list(dict.fromkeys(chosen)), results=RESULTS, columns=columns)
    return MeasuredFigure(drawn, measures)


FIGURES: Mapping[str, TaskFigure] = {"ranks": ranks}
