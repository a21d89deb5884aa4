"""The scores of a segmentation as a torchmetrics metric, updated by batches; independent of the number of processes."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from relattn.errors import InputError
from relattn.metrics.confusion import ConfusionScores, confusion_matrix, score_confusion
from relattn.metrics.counted_once import first_of_each


class ConfusionMetric(Metric):
    """Gathers a confusion matrix for every image, and scores their sum.

    Images carry their index in the evaluation set, so that images repeated by a distributed sampler count once. The
    matrices are integers, so that neither batches, nor their order, nor processes change a score.
    """

    full_state_update = False
    higher_is_better = True

    matrices: list[Tensor]
    indices: list[Tensor]

    def __init__(self, classes: int | Sequence[str], *, ignore: int = 255, **arguments: Any) -> None:
        """Define the metric.

        Args:
            classes: Number of classes, or their names.
            ignore: Label of pixels that do not count.
            arguments: Passed to torchmetrics' `Metric`.
        """
        super().__init__(**arguments)
        self.names = [str(number) for number in range(classes)] if isinstance(classes, int) else list(classes)
        self.ignore = ignore
        self.result: ConfusionScores | None = None
        for name in ("matrices", "indices"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    @property
    def score_names(self) -> list[str]:
        """Names of the scores that `compute` returns."""
        return ["mIoU", "pixel_accuracy", "mean_accuracy", *(f"IoU/{name}" for name in self.names)]

    def update(self, predictions: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Add a batch.

        Args:
            predictions: (B, H, W) integer, classes.
            labels: (B, H, W) integer, classes or `ignore`.
            indices: (B,) int64, the image's position in the evaluation set.
        """
        for prediction, label in zip(predictions, labels, strict=True):
            matrix = confusion_matrix(prediction, label, len(self.names), ignore=self.ignore)
            self.matrices.append(matrix.unsqueeze(0))
        self.indices.append(indices)

    def matrix(self) -> Tensor:
        """The confusion matrix of all images, each counted once, `(C, C)` int64, with labels in rows.

        Raises:
            InputError: If there are no images.
        """
        if not len(self.indices):
            raise InputError("The evaluation set has no images: nothing can be scored.")
        _, first = first_of_each(dim_zero_cat(self.indices))
        return dim_zero_cat(self.matrices)[first].sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """Compute `mIoU`, `pixel_accuracy`, `mean_accuracy` and `IoU/<class>`, in per cent, float64.

        `result` keeps the scores; classes without a score are NaN.
        """
        self.result = score_confusion(self.matrix())
        return {
            "mIoU": self.result.mean_iou,
            "pixel_accuracy": self.result.pixel_accuracy,
            "mean_accuracy": self.result.mean_accuracy,
            **{f"IoU/{name}": value for name, value in zip(self.names, self.result.iou, strict=True)},
        }
