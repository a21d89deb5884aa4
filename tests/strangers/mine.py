"""A user's module outside the package: an attention module, a data set, a task, and a modified task of the suite."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from relattn.attention import Attention
from relattn.errors import MissingFileError
from relattn.tasks.base import Stage, Task
from relattn.tasks.data import Data
from relattn.tasks.decoding import read_image
from relattn.tasks.image_data import ImageData, ImageSet
from relattn.tasks.reid import ReID
from relattn.tasks.samplers import SampleIndex


class Spot(Attention):
    """A gate for every position, from the mean over the channels. Records `spatial` `(B, 1, H, W)`."""

    placement = "stage"

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None, start: float = 1.0) -> None:
        super().__init__(channels, size=size)
        self.scale = nn.Parameter(torch.full((), start))

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        mask = torch.sigmoid(self.scale * x.mean(dim=1, keepdim=True))
        self.record("spatial", mask)
        return x * mask


class PhotoFiles(ImageSet):
    """The files of a split: `image` `(3, H, W)` float32, `label` and `index`."""

    def __init__(self, folder: Path, preprocessing: Any) -> None:
        if not folder.is_dir():
            raise MissingFileError(f"{folder} is not there. Expected {folder}/<class>/*.png.")
        self.classes = sorted(path.name for path in folder.iterdir())
        self.files = sorted(folder.rglob("*.png"))
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.files)

    def image_name(self, index: int) -> str:
        return str(self.files[index])

    def encoded(self, index: int) -> bytes:
        return self.files[index].read_bytes()

    def __getitem__(self, request: SampleIndex) -> dict[str, Any]:
        file = self.files[request.index]
        pixels = torch.from_numpy(self.preprocessing(read_image(file))).permute(2, 0, 1)
        return {"image": pixels, "label": self.classes.index(file.parent.name), "index": request.index}


class Photos(ImageData):
    """Photos in folders: `<root>/train/<class>/*.png` and `<root>/test/<class>/*.png`."""

    def __init__(
        self,
        root: Path | str = "photos",
        *,
        image_size: tuple[int, int] = (32, 32),
        batch_size: int = 4,
        eval_batch_size: int = 8,
        **arguments: Any,
    ) -> None:
        super().__init__(
            root, image_size=image_size, batch_size=batch_size, eval_batch_size=eval_batch_size, **arguments
        )

    def setup(self, stage: str) -> None:
        if self.sets:
            return
        train, test = (PhotoFiles(self.root / split, self.preprocessing()) for split in ("train", "test"))
        self.num_classes, self.class_names = len(train.classes), train.classes
        self.sets = {"train": train, "val": test, "test": test}

    def describe(self) -> dict[str, Any]:
        return {"data": type(self).__name__, "images": {split: len(part) for split, part in self.sets.items()}}


class QuarterTurns(Task):
    """Tells by how many quarter turns an image was turned. Logs `train/loss`, and `accuracy` in per cent."""

    headline = "accuracy"
    metrics_of_training = ("loss",)

    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        return self.build_backbone(specification, num_classes=4)

    def build_metric(self, data: Data) -> Metric:
        return MetricCollection({"accuracy": Percent(num_classes=4, average="micro")})  # type: ignore[return-value]

    def forward(self, images: Tensor) -> Tensor:
        assert self.network is not None
        return self.network(images)

    def turned(self, images: Tensor) -> tuple[Tensor, Tensor]:
        turns = torch.arange(len(images), device=images.device) % 4
        return torch.stack([image.rot90(int(turn), (1, 2)) for image, turn in zip(images, turns, strict=True)]), turns

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        images, turns = self.turned(batch["image"])
        loss = F.cross_entropy(self(images), turns)
        self.log_training({"loss": loss}, len(turns))
        return loss + self.regularization()

    def evaluate(self, batch: dict[str, Any], stage: Stage) -> None:
        images, turns = self.turned(batch["image"])
        self.metrics[stage].update(self(images), turns)


class Percent(MulticlassAccuracy):
    """Accuracy in per cent."""

    def compute(self) -> Tensor:
        return 100 * super().compute()


class SoftReID(ReID):
    """Re-identification with softer labels."""

    def __init__(self, backbone: str = "resnet50", *, label_smoothing: float = 0.3, **arguments: Any) -> None:
        super().__init__(backbone, label_smoothing=label_smoothing, **arguments)
