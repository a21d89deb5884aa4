"""Image classification: cross entropy, top-1 accuracy, and the error in per cent that the papers report."""

import csv
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from relattn.tasks.base import Data, Task


class Classification(Task):
    """Trains a network with a classifier; any timm backbone, or the papers' for small images.

    Logs `train/loss`, `train/error`, and for validation and test `loss`, `accuracy`, `error` (per cent) and `score`,
    which is the accuracy.
    """

    headline = "accuracy"

    def build_network(self, data: Data) -> nn.Module:
        # Lightning's own mean over processes truncates their mean batch size to an integer; these count every image.
        self.accuracies, self.losses = nn.ModuleDict(), nn.ModuleDict()
        for stage in ("val", "test"):
            self.accuracies[stage] = MulticlassAccuracy(data.num_classes, average="micro", validate_args=False)
            self.losses[stage] = MeanMetric()
        self.training_scores = nn.ModuleDict({"loss": MeanMetric(), "error": MeanMetric()})
        return self.build_backbone(data, num_classes=data.num_classes)

    def assemble(self, data: Data) -> None:
        """Build the network, and keep the names of the classes if they are known; earlier checkpoints have none."""
        super().assemble(data)
        self.shapes["class_names"] = list(getattr(data, "class_names", None) or []) or None

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to logits `(B, classes)`."""
        assert self.network is not None
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self(batch["image"])
        loss = F.cross_entropy(logits, batch["label"])
        wrong = (logits.detach().argmax(dim=1) != batch["label"]).float().mean()
        for name, value in {"loss": loss.detach(), "error": 100 * wrong}.items():
            self.training_scores[name].update(value, len(logits))
            self.log(f"train/{name}", self.training_scores[name], on_step=False, on_epoch=True)
        return loss + self.regularization()

    def evaluate(self, batch: dict[str, Tensor], stage: str) -> None:
        """Score one batch."""
        logits = self(batch["image"])
        self.accuracies[stage].update(logits, batch["label"])
        self.losses[stage].update(F.cross_entropy(logits, batch["label"], reduction="none"))

    def log_scores(self, stage: str) -> None:
        """Log the accuracy over all images and processes."""
        accuracy, loss = 100 * self.accuracies[stage].compute(), self.losses[stage].compute()
        self.accuracies[stage].reset()
        self.losses[stage].reset()
        scores = {"loss": loss, "accuracy": accuracy, "error": 100 - accuracy, "score": accuracy}
        self.log_dict({f"{stage}/{name}": value for name, value in scores.items()})

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        self.log_scores("val")

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        self.log_scores("test")

    def on_predict_start(self) -> None:
        self.predictions: list[dict[str, Any]] = []

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the probabilities `(B, classes)`, and keep the most likely class for `predictions.csv`."""
        probabilities = self(batch["image"]).float().softmax(dim=1)
        best = probabilities.max(dim=1)
        names = self.trainer.datamodule.class_names  # type: ignore[attr-defined]
        for index, label, predicted, value in zip(
            batch["index"].tolist(), batch["label"].tolist(), best.indices.tolist(), best.values.tolist(), strict=True
        ):
            row = {"index": index, "predicted": names[predicted], "label": names[label], "probability": f"{value:.4f}"}
            self.predictions.append(row)
        return probabilities

    def on_predict_end(self) -> None:
        """Write `predictions.csv` of all processes' images, in the order of the data set."""
        rows = self.predictions
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for part in gathered for row in part]
        if self.trainer.is_global_zero:
            path = Path(self.trainer.default_root_dir) / "predictions.csv"
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=["index", "predicted", "label", "probability"])
                writer.writeheader()
                writer.writerows(sorted(rows, key=lambda row: row["index"]))
