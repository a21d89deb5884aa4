"""Image classification: cross entropy, top-1 accuracy, and the error in per cent that the papers report."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from relattn.tasks.base import Stage, Task
from relattn.tasks.data import Data


class ClassificationMetric(Metric):
    """Top-1 accuracy and error in per cent, and the mean cross entropy, over all images and processes."""

    full_state_update = False
    higher_is_better = True
    score_names = ("loss", "accuracy", "error")

    correct: Tensor
    images: Tensor
    total_loss: Tensor

    def __init__(self) -> None:
        """Start without images."""
        super().__init__()
        for name in ("correct", "images"):
            self.add_state(name, torch.tensor(0, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total_loss", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits `(B, classes)` and labels `(B,)`."""
        self.correct += (logits.argmax(dim=1) == labels).sum()
        self.images += len(labels)
        self.total_loss += F.cross_entropy(logits.float(), labels, reduction="sum").to(self.total_loss.dtype)

    def compute(self) -> dict[str, Tensor]:
        """`loss`, `accuracy` and `error`."""
        accuracy = 100 * self.correct / self.images
        return {"loss": self.total_loss / self.images, "accuracy": accuracy, "error": 100 - accuracy}


class Classification(Task):
    """Trains a network with a classifier; any timm backbone, or the papers' for small images.

    Logs `train/loss`, `train/error`, and for validation and test `loss`, `accuracy`, `error` (per cent) and `score`,
    which is the accuracy.
    """

    name: ClassVar[str] = "classification"

    def __init__(self, backbone: str, *, loss: Callable[..., Any] | None = None, **arguments: Any) -> None:
        """Define the task.

        Args:
            backbone: A timm network, or one of the papers' networks for small images.
            loss: Maps logits `(B, classes)` and labels `(B,)` to a scalar; by default cross entropy.
            arguments: Arguments shared by all tasks, see `Task`.
        """
        super().__init__(backbone, **arguments)
        self.loss = loss or F.cross_entropy

    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        return self.build_backbone(specification, num_classes=specification["num_classes"])

    def build_metric(self, data: Data) -> Metric:
        return ClassificationMetric()

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to logits `(B, classes)`."""
        assert self.network is not None
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self(batch["image"])
        loss: Tensor = self.loss(logits, batch["label"])
        wrong = (logits.detach().argmax(dim=1) != batch["label"]).float().mean()
        self.log_training({"loss": loss, "error": 100 * wrong}, len(logits))
        return loss + self.regularization()

    def evaluate(self, batch: dict[str, Tensor], stage: Stage) -> None:
        self.metrics[stage].update(self(batch["image"]), batch["label"])  # type: ignore[operator]
