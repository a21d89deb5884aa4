"""Segmentation of street scenes: cross entropy of every pixel in training, mean IoU in evaluation."""

from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from relattn.backbones import dilated
from relattn.backbones.dilation import FirstDilation
from relattn.backbones.placement import default_placement
from relattn.errors import InputError
from relattn.figures.segmentation import overlay, segmentation
from relattn.heads import SegmentationNetwork
from relattn.heads.convolution import Activation
from relattn.heads.relation_context import ContextMode
from relattn.heads.segmentation import Head
from relattn.losses import ohem_cross_entropy, segmentation_cross_entropy
from relattn.metrics.confusion import ConfusionMetric
from relattn.tasks.base import Data, Task
from relattn.tasks.segmentation.data import StreetsData
from relattn.tasks.segmentation.inference import Inference

WHOLE = Inference()


class Segmentation(Task):
    """Trains a dilated network with a head for every pixel, and scores it by the confusion matrix of the whole set.

    Logs `train/loss`, its parts, and `train/error` (per cent of wrongly classified labelled pixels); for validation and
    test `mIoU`, `pixel_accuracy`, `mean_accuracy`, `IoU/<class>` of every class that occurs, and `score`, which is
    `mIoU`; all in per cent. Pictures of the first images go to the run's folder `pictures/`.
    """

    headline = "mIoU"
    progress = (*Task.progress, "mIoU")
    shapes_of = (*Task.shapes_of, "classes")

    def __init__(
        self,
        backbone: str = "resnet101",
        *,
        head: Head = "fcn",
        attention_at: Literal["context", "backbone"] | None = None,
        context_mode: ContextMode = "pooled",
        pool: tuple[int, int] = (48, 48),
        output_stride: Literal[8, 16, 32] = 8,
        first_dilation: FirstDilation = "full",
        activation: Activation = "relu",
        width: int = 512,
        align_corners: bool = True,
        auxiliary_weight: float = 0.4,
        class_weights: bool = True,
        ohem: bool = False,
        ohem_threshold: float = 0.7,
        ohem_min_kept: int = 100_000,
        inference: Inference = WHOLE,
        pictures: int = 4,
        **arguments: Any,
    ) -> None:
        """Define the task.

        Args:
            backbone: A timm network that can be dilated.
            head: `fcn`, a 3x3 convolution; `ppm`, pyramid pooling; `aspp`, atrous spatial pyramid pooling.
            attention_at: Whether attention stands on the head's last features, which it is concatenated with
                (`context`, as in the paper's Table 6), or in the `backbone`, as in the other tasks. By default in the
                backbone if it takes the place of convolutions or if `stages` or `placement` are given.
            context_mode: How attention of one size serves images of any: on features `pooled` to a grid, with only its
                `masks` coming from the grid, or at the features' own size (`full`).
            pool: Height and width of the grid.
            output_stride: How much smaller than the image the last features are.
            first_dilation: Dilation of a dilated stage's first block: its own (`full`, OCNet) or that of the stage
                before (`previous`, timm and torchvision).
            activation: Of the heads.
            width: Channels of the head's features.
            align_corners: How logits are brought to the image's size, see `SegmentationNetwork`.
            auxiliary_weight: Weight of the loss of an auxiliary head on the second last stage; 0 for no such head.
            class_weights: Whether the loss weights classes as the data say (Cityscapes: OCNet's weights).
            ohem: Whether only hard pixels count in the main loss.
            ohem_threshold: Probability of the true class above which a pixel is easy.
            ohem_min_kept: Least number of pixels that count, of each process.
            inference: How images are segmented in validation and test: whole or by windows, scales, flip.
            pictures: Images of an evaluation that are drawn.
            arguments: Shared by all tasks, see `Task`.
        """
        super().__init__(backbone, **arguments)
        self.head_name, self.attention_at = head, attention_at
        self.network_arguments = {
            "context_mode": context_mode,
            "pool": pool,
            "activation": activation,
            "width": width,
            "align_corners": align_corners,
            "auxiliary": auxiliary_weight > 0,
        }
        self.dilation = {"output_stride": output_stride, "first_dilation": first_dilation}
        if auxiliary_weight < 0:
            raise InputError(f"Segmentation: auxiliary_weight is {auxiliary_weight}, expected 0 or more.")
        for name, value, least in (
            ("width", width, 1),
            ("pool", min(pool), 1),
            ("ohem_min_kept", ohem_min_kept, 0),
            ("pictures", pictures, 0),
        ):
            if value < least:
                raise InputError(f"Segmentation: {name} is {value}, expected at least {least}.")
        if not 0 <= ohem_threshold <= 1:
            raise InputError(f"Segmentation: ohem_threshold is {ohem_threshold}, expected a probability.")
        self.auxiliary_weight, self.class_weights = auxiliary_weight, class_weights
        self.ohem = {"threshold": ohem_threshold, "min_kept": ohem_min_kept} if ohem else None
        self.inference, self.protocol, self.pictures = inference, str(inference), pictures

    def build_network(self, data: Data) -> nn.Module:
        place = self.attention_at
        if place is None and self.attention is not None:
            chosen = self.stages is not None or self.placement is not None
            belongs = default_placement(self.attention, 512, self.network_arguments["pool"])
            place = "backbone" if chosen or belongs != "stage" else "context"
        backbone = dilated(
            self.backbone,
            attention=self.attention if place == "backbone" else None,
            stages=self.stages,
            placement=self.placement,
            size=data.image_size,
            pretrained=self.pretrained,
            **self.dilation,
        )
        classes: list[str] = data.classes  # type: ignore[attr-defined]
        self.confusion = nn.ModuleDict({stage: ConfusionMetric(classes) for stage in ("val", "test")})
        names = ("loss", "segmentation_loss", "auxiliary_loss", "error")
        self.losses = nn.ModuleDict({name: MeanMetric() for name in names})
        weights = getattr(data, "class_weights", None) if self.class_weights else None
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)
        return SegmentationNetwork(
            backbone,
            num_classes=data.num_classes,
            head=self.head_name,
            context=self.attention if place == "context" else None,
            crop=data.image_size,
            **self.network_arguments,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to logits `(B, classes, H, W)`."""
        assert self.network is not None
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert isinstance(self.network, SegmentationNetwork)
        labels = batch["label"]
        logits, auxiliary = self.network.scores(batch["image"])
        if self.ohem:
            main = ohem_cross_entropy(logits, labels, weight=self.weights, **self.ohem)
        else:
            main = segmentation_cross_entropy(logits, labels, weight=self.weights)
        parts = {"segmentation_loss": main}
        loss = main
        if auxiliary is not None:
            parts["auxiliary_loss"] = segmentation_cross_entropy(auxiliary, labels, weight=self.weights)
            loss = loss + self.auxiliary_weight * parts["auxiliary_loss"]
        loss = loss + self.regularization()
        parts["loss"] = loss
        for name, value in parts.items():
            self.losses[name].update(value.detach(), len(labels))
        labelled = labels != StreetsData.ignore_label
        wrong = (logits.detach().argmax(dim=1) != labels) & labelled
        pixels = labelled.sum()
        self.losses["error"].update(100 * wrong.sum() / pixels.clamp(min=1), pixels)
        for name in (*parts, "error"):
            self.log(f"train/{name}", self.losses[name], on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "test")

    def evaluate(self, batch: dict[str, Tensor], stage: Literal["val", "test"]) -> None:
        """Segment a batch and count."""
        prediction = self.segment(batch["image"])
        self.confusion[stage].update(prediction, batch["label"], batch["index"])
        if self.trainer.is_global_zero and not self.trainer.sanity_checking:
            for index, classes in zip(batch["index"].tolist(), prediction, strict=True):
                if index < self.pictures:
                    self.draw(stage, index, classes)

    def segment(self, images: Tensor) -> Tensor:
        """The class of every pixel of images `(B, 3, H, W)`, `(B, H, W)` int64, by the chosen way of inference.

        Raises:
            InputError: If attention in the network takes the size of the training crops alone, and images are larger.
        """
        try:
            return self.inference.predict(self, images)
        except InputError as error:
            height, width = self.shapes["image_size"]
            if self.inference.crop == (height, width):
                raise
            raise InputError(
                f"{error} It stands where features have the size of the training crops; segment whole images by "
                f"windows of that size: --model.inference.crop [{height},{width}]."
            ) from error

    def draw(self, stage: Literal["val", "test"], index: int, prediction: Tensor) -> None:
        """Write a picture of an image and its classes to the run's folder, and to W&B if the run has it."""
        data = self.streets
        image, truth = data.sets[stage].read(index)
        picture = segmentation(image, truth, prediction.cpu().numpy(), data.palette, data.classes)
        folder = Path(self.trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{stage}_{index}.jpg", quality=90)
        for logger in self.trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image(f"{stage}/pictures", [picture], caption=[str(data.sets[stage].paths[index])])

    @property
    def streets(self) -> StreetsData:
        """The data of the run."""
        data: StreetsData = self.trainer.datamodule  # type: ignore[attr-defined]
        return data

    def on_validation_epoch_end(self) -> None:
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        self.log_scores("test")

    def log_scores(self, stage: str) -> None:
        """Log the scores; details stay in `self.confusion[stage].result`."""
        metric = self.confusion[stage]
        if not self.trainer.sanity_checking:
            scores = metric.compute()
            scores["score"] = scores[self.headline]
            self.log_dict({f"{stage}/{name}": value.float() for name, value in scores.items() if not value.isnan()})
        metric.reset()

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Write each image's classes as label ids, named as Cityscapes' server expects, and as a coloured overlay."""
        data = self.streets
        streets, folder = data.sets["predict"], Path(self.trainer.default_root_dir)
        for index, prediction in zip(batch["index"].tolist(), self.segment(batch["image"]).cpu().numpy(), strict=True):
            name = streets.paths[index].stem.removesuffix("_leftImg8bit")
            image, _ = streets.read(index)
            for kind, pixels in (
                ("labelIds", streets.label_ids(prediction)),
                ("overlay", cv2.cvtColor(overlay(image, prediction, data.palette), cv2.COLOR_RGB2BGR)),
            ):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / kind / f"{name}_{kind}.png"), pixels)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "head": self.head_name}
