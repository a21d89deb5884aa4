"""The most likely class of every image, gathered over batches and processes and written as `predictions.csv`."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from relattn.tasks.predictor import names_for

COLUMNS = ("index", "predicted", "label", "probability")


class ClassPredictions:
    """Rows of `predictions.csv`: index of the image, predicted class, label where it is known, probability."""

    def __init__(self, names: Sequence[str] | None) -> None:
        """Keep the names of the classes, None where they have none."""
        self.names = names
        self.rows: list[dict[str, Any]] = []

    def add(self, batch: dict[str, Any], probabilities: Tensor) -> None:
        """Add a batch.

        Args:
            batch: `index` `(B,)`, the images' places in the data set, and `label` `(B,)`, as far as the data have them.
            probabilities: `(B, classes)`.
        """
        names = names_for(probabilities.shape[1], self.names)

        def name(number: int) -> str:
            return names[number] if names and 0 <= number < len(names) else str(number)

        count = len(probabilities)
        indices = batch["index"].tolist() if "index" in batch else range(len(self.rows), len(self.rows) + count)
        labels = [name(label) for label in batch["label"].tolist()] if "label" in batch else [""] * count
        best = probabilities.max(dim=1)
        for index, label, predicted, value in zip(
            indices, labels, best.indices.tolist(), best.values.tolist(), strict=True
        ):
            row = {"index": index, "predicted": name(predicted), "label": label, "probability": f"{value:.4f}"}
            self.rows.append(row)

    def write(self, trainer: Trainer) -> None:
        """Write the rows of all processes, each image once, into the run's folder."""
        rows = self.rows
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for part in gathered for row in part]
        if not trainer.is_global_zero:
            return
        unique = {row["index"]: row for row in reversed(rows)}
        with (Path(trainer.default_root_dir) / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=COLUMNS)
            writer.writeheader()
            writer.writerows(unique[index] for index in sorted(unique))
