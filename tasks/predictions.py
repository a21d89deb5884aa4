"""The class of every image with its probabilities, gathered over batches and processes: `predictions.csv`."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.distributed import get_rank, get_world_size, is_initialized

from relattn.metrics.finite import refuse_nan
from relattn.publish import publish_text
from relattn.tasks.predictor import names_for
from relattn.tasks.run_outputs import rehearses

COLUMNS = ("index", "path", "predicted", "probability", "label")
"""These columns are followed by the probabilities of all classes, each under `p(<name of the class>)`."""


class Prediction(NamedTuple):
    """The prediction for one image."""

    place: int
    label: int | None
    probabilities: list[float]


class ClassPredictions:
    """Rows of `predictions.csv`: see `COLUMNS`; path and label are empty if the data have none."""

    def __init__(self, names: Sequence[str] | None) -> None:
        """Keep the names of the classes; None if they have none."""
        self.names = names
        self.rows: list[Prediction] = []

    def add(self, batch: dict[str, Any], probabilities: Tensor) -> None:
        """Add a batch.

        Args:
            batch: `index` `(B,)`, the images' positions in the set, and `label` `(B,)`, if the data have them; a
                negative label is unknown.
            probabilities: `(B, classes)`.
        """
        count = len(probabilities)
        refuse_nan(probabilities)
        if "index" in batch:
            indices = batch["index"].tolist()
        else:  # Lightning gives process r of w every w-th image, from r on
            rank, world = (get_rank(), get_world_size()) if is_initialized() else (0, 1)
            indices = range(rank + world * len(self.rows), rank + world * (len(self.rows) + count), world)
        labels = batch["label"].tolist() if "label" in batch else [None] * count
        self.rows += map(Prediction, indices, labels, probabilities.tolist())

    def write(self, trainer: Trainer) -> None:
        """Write the rows of all processes, each image once, into the run's folder.

        Raises:
            InputError: If the file cannot be written.
        """
        if rehearses(trainer):
            return
        rows = self.rows
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for part in gathered for row in part]
        if not trainer.is_global_zero:
            return
        unique = {row.place: row for row in reversed(rows)}
        samples = trainer.datamodule.samples("predict")  # type: ignore[attr-defined]
        path_of = getattr(samples, "relative_path", lambda index: "")
        classes = len(rows[0].probabilities) if rows else 0
        names = names_for(classes, self.names) or [str(number) for number in range(classes)]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow([*COLUMNS, *(f"p({name})" for name in names)])
        for index in sorted(unique):
            _, label, probabilities = unique[index]
            best = max(range(classes), key=probabilities.__getitem__)
            known = "" if label is None or label < 0 else names[label] if label < classes else str(label)
            shown = [f"{value:.4f}" for value in (probabilities[best], *probabilities)]
            writer.writerow([index, path_of(index), names[best], shown[0], known, *shown[1:]])
        publish_text(Path(trainer.default_root_dir) / "predictions.csv", text.getvalue())
