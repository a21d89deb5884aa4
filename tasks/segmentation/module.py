"""Semantic segmentation: cross entropy of every pixel in training, mean IoU in evaluation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from relattn.backbones import dilated, family, padded, padding_step
from relattn.backbones.dilation import FirstDilation
from relattn.backbones.placement import specimen
from relattn.backbones.stages import stage_indices
from relattn.errors import InputError
from relattn.figures.segmentation import Segmented, overlay, segmentation
from relattn.heads import SegmentationNetwork
from relattn.heads.convolution import Activation
from relattn.heads.relation_context import ContextMode
from relattn.heads.segmentation import Head
from relattn.losses import PixelCrossEntropy
from relattn.metrics.finite import refuse_nan
from relattn.publish import publish_bytes
from relattn.tasks.base import Stage, Task
from relattn.tasks.data import Data
from relattn.tasks.decoding import read_image
from relattn.tasks.figure import TaskFigure
from relattn.tasks.predictor import Pixels, Predictor
from relattn.tasks.run_outputs import rehearses, save_picture
from relattn.tasks.score import Score
from relattn.tasks.segmentation.confusion_metric import ConfusionMetric
from relattn.tasks.segmentation.data import SegmentationData, SegmentationImages
from relattn.tasks.segmentation.figures import FIGURES
from relattn.tasks.segmentation.inference import Inference
from relattn.tasks.segmentation.labels import IGNORED

WHOLE = Inference()


class Segmentation(Task):
    """Trains a dilated network with a head for every pixel, and scores it by the confusion matrix of the whole set.

    Logs `train/loss`, its parts, and `train/error` (per cent of wrongly classified labelled pixels); for validation and
    test `mIoU`, `pixel_accuracy`, `mean_accuracy`, `IoU/<class>` of every class that occurs, and `score`, which is
    `mIoU`; all in per cent. Pictures of the first images are saved in the run's folder `pictures/`.
    """

    name: ClassVar[str] = "segmentation"
    headline = "mIoU"
    metrics_of_training = ("loss", "segmentation_loss", "auxiliary_loss", "error")
    data_type: ClassVar[type] = SegmentationData

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
        loss: Callable[..., Any] | None = None,
        auxiliary_weight: float = 0.4,
        class_weights: bool = True,
        inference: Inference = WHOLE,
        pictures: int = 4,
        **arguments: Any,
    ) -> None:
        """Define the task.

        Args:
            backbone: A timm network, or one of the papers' networks for small images.
            head: `fcn`, a 3x3 convolution, `ppm`, pyramid pooling, or `aspp`, atrous spatial pyramid pooling.
            attention_at: Where attention is placed: on the head's last features, with which its output is concatenated
                (`context`, as in the paper's Table 6), or in the `backbone`, as in the other tasks. By default in the
                backbone if it replaces convolutions or if `stages` or `placement` are given.
            context_mode: How attention of a fixed size is applied to images of any size: `pooled`, `masks` or `full`.
                `pooled` attends to features pooled to a grid of that size; `masks` takes only the change made by
                attention from the grid; `full` attends at the features' own size.
            pool: Height and width of the grid.
            output_stride: Ratio of the image's size to that of the last features. A network that cannot be dilated
                keeps its own strides, and a warning says so.
            first_dilation: Dilation of a dilated stage's first block: its own (`full`, OCNet) or that of the stage
                before (`previous`, timm and torchvision).
            activation: Activation of the heads.
            width: Number of channels of the head's features.
            align_corners: How logits are resized to the image's size, see `SegmentationNetwork`.
            loss: Loss of the main head: maps logits `(B, classes, H, W)` and labels `(B, H, W)`, 255 for unlabelled
                pixels, to a scalar; with class weights it also receives `weight=`. By default cross entropy;
                `relattn.losses.OHEMCrossEntropy` counts only hard pixels.
            auxiliary_weight: Weight of the cross entropy of an auxiliary head on the second last stage; 0 for no such
                head.
            class_weights: Whether the loss uses the data set's class weights, if it has any (Cityscapes: OCNet's).
            inference: How images are segmented in validation and test: whole or by windows, scales, flip.
            pictures: Number of images of an evaluation that are drawn.
            arguments: Arguments shared by all tasks, see `Task`.
        """
        super().__init__(backbone, **arguments)
        if attention_at == "context" and (self.stages is not None or self.placement is not None):
            raise InputError(
                "Segmentation: stages and placement say where attention goes in the backbone, but attention_at is "
                "context: leave them out, or give --model.attention_at backbone."
            )
        self.head_name, self.attention_at = head, attention_at
        self.pool = pool
        self.network_arguments: dict[str, Any] = {
            "context_mode": context_mode,
            "pool": pool,
            "activation": activation,
            "width": width,
            "align_corners": align_corners,
            "auxiliary": auxiliary_weight > 0,
        }
        self.dilation: dict[str, Any] = {"output_stride": output_stride, "first_dilation": first_dilation}
        if auxiliary_weight < 0:
            raise InputError(f"Segmentation: auxiliary_weight is {auxiliary_weight}, expected 0 or more.")
        for name, value, least in (
            ("width", width, 1),
            ("pool", min(pool), 1),
            ("pictures", pictures, 0),
        ):
            if value < least:
                raise InputError(f"Segmentation: {name} is {value}, expected at least {least}.")
        self.loss, self.auxiliary_weight, self.class_weights = (
            loss or PixelCrossEntropy(),
            auxiliary_weight,
            class_weights,
        )
        self.auxiliary_loss = PixelCrossEntropy()
        self.inference, self.protocol, self.pictures = inference, str(inference), pictures

    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        place = self.attention_at
        if place is None and self.attention is not None:
            chosen = self.stages is not None or self.placement is not None
            belongs = specimen(self.attention, 512, self.pool).placement
            place = "backbone" if chosen or belongs != "stage" else "context"
        crop = specification["image_size"]
        step = padding_step(self.backbone, crop, **self.backbone_options) if family(self.backbone) == "timm" else 1
        backbone = dilated(
            self.backbone,
            attention=self.attention if place == "backbone" else None,
            stages=self.stages,
            placement=self.placement,
            size=padded(crop, step),
            any_size=True,
            pretrained=self.pretrained,
            **self.dilation,
            **self.backbone_options,
        )
        weights = specification.get("class_weights") if self.class_weights else None
        self.register_buffer("weights", None if weights is None else torch.tensor(weights), persistent=False)
        return SegmentationNetwork(
            backbone,
            num_classes=specification["num_classes"],
            head=self.head_name,
            context=self.attention if place == "context" else None,
            crop=padded(crop, step),
            step=step,
            indices=stage_indices(backbone)[-2:],
            **self.network_arguments,
        )

    def classifiers(self) -> list[str]:
        assert isinstance(self.network, SegmentationNetwork)
        auxiliary = [] if self.network.auxiliary is None else ["network.auxiliary"]
        return ["network.classifier", *auxiliary]

    def training_only(self) -> list[str]:
        return ["network.auxiliary", "loss"]

    def trunk(self) -> nn.Module:
        assert isinstance(self.network, SegmentationNetwork)
        return self.network.backbone

    def build_metric(self, data: Data) -> ConfusionMetric:
        assert data.class_names is not None
        return ConfusionMetric(data.class_names)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to logits `(B, classes, H, W)`."""
        assert self.network is not None
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert isinstance(self.network, SegmentationNetwork)
        labels = batch["label"]
        # In a single call of the network, which is what `compile_mode` compiles.
        logits, auxiliary = self.network(batch["image"], training=True)
        weight: dict[str, Any] = {} if self.weights is None else {"weight": self.weights}
        parts = {"segmentation_loss": self.loss(logits, labels, **weight)}
        loss = parts["segmentation_loss"]
        if auxiliary is not None:
            parts["auxiliary_loss"] = self.auxiliary_loss(auxiliary, labels, **weight)
            loss = loss + self.auxiliary_weight * parts["auxiliary_loss"]
        loss = loss + self.regularization()
        self.log_training({**parts, "loss": loss}, len(labels))
        labelled = labels != IGNORED
        wrong = (logits.detach().argmax(dim=1) != labels) & labelled
        pixels = labelled.sum()
        self.log_training({"error": 100 * wrong.sum() / pixels.clamp(min=1)}, pixels)
        return loss

    def evaluate(self, batch: dict[str, Tensor], stage: Stage) -> None:
        """Segment a batch, update the metric, and draw the first images."""
        prediction = self.segment(batch["image"])
        self.metrics[stage].update(prediction, batch["label"], batch["index"])  # type: ignore[operator]
        if self.trainer.is_global_zero and not self.trainer.sanity_checking:
            for index, classes in zip(batch["index"].tolist(), prediction, strict=True):
                if index < self.pictures:
                    self.draw(stage, index, classes)

    def segment(self, images: Tensor) -> Tensor:
        """Predict the class of every pixel of images `(B, 3, H, W)`, `(B, H, W)` int64, by the chosen way of inference.

        Raises:
            InputError: If attention in the network accepts only the size of the training crops, and images are larger,
                or the network's outputs are NaN.
        """
        try:
            scores = self.inference.scores(self, images)
        except InputError as error:
            height, width = self.specification["image_size"]
            if self.inference.crop == (height, width):
                raise
            raise InputError(
                f"{error} The network was built for the training crops; segment whole images by windows of that size: "
                f"--model.inference.crop [{height},{width}]."
            ) from error
        refuse_nan(scores)
        return scores.argmax(dim=1)

    def draw(self, stage: Stage, index: int, prediction: Tensor) -> None:
        """Draw an image and its classes into the run's folder, and for W&B if the run uses it."""
        images = self.images_of(stage)
        image, truth = images.decode(index)
        label_map = images.label_map
        sample = Segmented(image, prediction.cpu().numpy(), truth)
        name = images.paths[index].name
        figure = segmentation([sample], label_map.palette, label_map.classes, title=f"{stage}, image {index}: {name}")
        number = "-".join(filter(None, (str(index), self.extra_set)))
        save_picture(self.trainer, figure, stage, number, str(images.paths[index]))

    def images_of(self, split: str) -> SegmentationImages:
        """A split of the run's data."""
        images: SegmentationImages = self.trainer.datamodule.sets[split]  # type: ignore[attr-defined]
        return images

    @classmethod
    def scores(cls) -> tuple[Score, ...]:
        return (Score("mIoU"), Score("pixel_accuracy", "pixel accuracy"), Score("mean_accuracy", "mean accuracy"))

    @classmethod
    def figures(cls) -> Mapping[str, TaskFigure]:
        return FIGURES

    def class_scores(self, images: Tensor) -> tuple[Tensor, list[str]]:
        """The most frequent class of each image's pixels; its score is the mean logit over these pixels."""
        logits = self(images)
        predicted = logits.argmax(dim=1).flatten(1)
        best = predicted.mode(dim=1).values
        chosen = (predicted == best[:, None]).to(logits.dtype)
        scores = logits.flatten(2).gather(1, best[:, None, None].expand(-1, 1, chosen.shape[1])).squeeze(1)
        names = self.specification["class_names"]
        return (scores * chosen).sum(dim=1) / chosen.sum(dim=1), [str(names[index]) for index in best.tolist()]

    def predictor(self) -> Predictor:
        """Return the network that classifies every pixel; its answer is a map `(h, w)` uint8 of each image's size."""
        assert self.network is not None

        def answer(_network: nn.Module, pixels: list[Pixels], views: list[Tensor]) -> list[Pixels]:
            maps = [self.segment(view[None])[0].to(torch.uint8).cpu().numpy() for view in views]
            return [
                cv2.resize(classes, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8)
                if classes.shape != image.shape[:2]
                else classes
                for classes, image in zip(maps, pixels, strict=True)
            ]

        specification = self.specification
        output = {"name": "logits", "layout": "NCHW", "classes": specification["num_classes"]}
        labels = {"classes": specification["class_names"], "palette": specification["palette"]}
        return Predictor(self.network, output, answer, {**labels, "inference": str(self.inference)})

    def on_predict_start(self) -> None:
        """Collect nothing: each image is written when it is segmented."""

    def on_predict_end(self) -> None:
        """Write nothing: all images have been written."""

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the classes `(B, H, W)`, and write each image's label ids and a coloured overlay, at its own size.

        Files have the image's path relative to the set; Cityscapes' names end as its server expects.

        Raises:
            InputError: If a file cannot be written.
        """
        segmented = self.segment(batch["image"])
        if rehearses(self.trainer):
            return segmented
        predictions = segmented.cpu().numpy()
        images, folder = self.images_of("predict"), Path(self.trainer.default_root_dir)
        for index, prediction in zip(batch["index"].tolist(), predictions, strict=True):
            image = read_image(images.root / images.paths[index])
            classes = prediction.astype(np.uint8)
            if classes.shape != image.shape[:2]:
                classes = cv2.resize(classes, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            name = str(images.paths[index].with_suffix("")).removesuffix("_leftImg8bit")
            overlaid = cv2.cvtColor(overlay(image, classes, images.label_map.palette), cv2.COLOR_RGB2BGR)
            for kind, pixels in (("labelIds", images.label_ids(classes)), ("overlay", overlaid)):
                publish_bytes(folder / kind / f"{name}_{kind}.png", cv2.imencode(".png", pixels)[1].tobytes())
        return segmented

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "head": self.head_name}
