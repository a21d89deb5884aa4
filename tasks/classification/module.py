"""Image classification: cross entropy, top-1 accuracy, and the error in per cent that the papers report."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from relattn.errors import InputError
from relattn.metrics.counted_once import first_of_each
from relattn.metrics.finite import refuse_nan
from relattn.tasks.base import Stage, Task
from relattn.tasks.data import Data


class ClassificationMetric(Metric):
    """Top-1 accuracy and error in per cent, and the mean cross entropy, over all images and processes.

    Images carry their index in the evaluation set, so that images repeated by a distributed sampler count once.
    """

    full_state_update = False
    higher_is_better = True
    score_names = ("loss", "accuracy", "error")

    correct: list[Tensor]
    losses: list[Tensor]
    indices: list[Tensor]

    def __init__(self) -> None:
        """Start without images."""
        super().__init__()
        for name in ("correct", "losses", "indices"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            logits: (B, classes).
            labels: (B,) int64.
            indices: (B,) int64, the image's position in the evaluation set; without it, every image counts.
        """
        if indices is None:
            indices = torch.full_like(labels, -1, dtype=torch.int64)
        self.correct.append(logits.argmax(dim=1) == labels)
        self.losses.append(F.cross_entropy(logits.float(), labels, reduction="none"))
        self.indices.append(indices)

    def compute(self) -> dict[str, Tensor]:
        """`loss`, `accuracy` and `error`, float64.

        Raises:
            InputError: If there are no images, or the network's outputs are NaN.
        """
        if not len(self.indices):
            raise InputError("The evaluation set has no images: nothing can be scored.")
        refuse_nan(dim_zero_cat(self.losses))
        indices = dim_zero_cat(self.indices)
        known, unknown = (rows.nonzero().flatten() for rows in (indices >= 0, indices < 0))
        counted = torch.cat([known[first_of_each(indices[known])[1]], unknown])
        accuracy = 100 * dim_zero_cat(self.correct)[counted].double().mean()
        loss = dim_zero_cat(self.losses)[counted].double().mean()
        return {"loss": loss, "accuracy": accuracy, "error": 100 - accuracy}


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
        loss: Tensor = self.loss(logits, batch["label"]) + self.regularization()
        wrong = (logits.detach().argmax(dim=1) != batch["label"]).float().mean()
        self.log_training({"loss": loss, "error": 100 * wrong}, len(logits))
        return loss

    def evaluate(self, batch: dict[str, Tensor], stage: Stage) -> None:
        self.metrics[stage].update(self(batch["image"]), batch["label"], batch.get("index"))  # type: ignore[operator]
