"""Face verification: identities are classified in training, and pairs of faces compared in evaluation."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.backbones import MapView, Stem, map_view, unpooled
from relattn.errors import InputError
from relattn.heads import ArcFace, FaceEmbedding, IdentityClassifier
from relattn.publish import publish_text
from relattn.tasks.base import Stage
from relattn.tasks.data import Data
from relattn.tasks.embedding_task import EmbeddingTask, Flip
from relattn.tasks.face.alignment import TEMPLATES, Template, align
from relattn.tasks.face.data import FaceData
from relattn.tasks.face.figures import FIGURES
from relattn.tasks.face.landmarks import fault_of, read_landmarks
from relattn.tasks.face.verification_metric import VerificationMetric
from relattn.tasks.face.verification_sets import OFFICIAL
from relattn.tasks.figure import TaskFigure
from relattn.tasks.predictor import Pixels
from relattn.tasks.run_outputs import is_part, rehearses
from relattn.tasks.score import Score
from relattn.unread import rest_unread


class FaceNetwork(nn.Module):
    """A backbone and the embedding of its last feature map."""

    def __init__(self, backbone: nn.Module, embedding: nn.Module, *, view: MapView, pools: bool) -> None:
        """Join backbone and embedding; a backbone that pools is used up to its last map.

        Args:
            backbone: The network.
            embedding: Maps the last map `(B, C, H, W)` to the embedding.
            view: How the backbone's output is viewed as that map.
            pools: Whether the backbone pools.
        """
        super().__init__()
        self.backbone, self.embedding, self.view, self.pools = backbone, embedding, view, pools

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to embeddings `(B, D)`."""
        features = self.backbone.forward_features(images) if self.pools else self.backbone(images)  # type: ignore[operator]
        embedding: Tensor = self.embedding(self.view.map_of(features))
        return embedding


class Face(EmbeddingTask):
    """Trains an embedding of faces and scores it by verification.

    Logs `train/loss`, its parts, and `train/error` (per cent of training images whose nearest identity, without the
    margin, is wrong); for validation and test, for each verification set, `accuracy/<set>` (mean of the ten folds),
    `std/<set>`, `TAR@FAR=.../<set>`, `EER/<set>`, `AUC/<set>` and `threshold/<set>`; `accuracy`, the mean over the
    sets, and `score`, which is `accuracy`. All are in per cent except thresholds, which are squared distances.

    The checkpoint stores the mean of the thresholds for `relattn verify`.
    """

    name: ClassVar[str] = "face"
    headline = "accuracy"
    metrics_of_training = ("loss", "identity_loss", "error")
    data_type: ClassVar[type] = FaceData

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        loss: Callable[[int, int], IdentityClassifier] = ArcFace,
        stem: Stem = "face",
        dimensions: int = 512,
        dropout: float = 0.4,
        flip: Flip = "concatenate",
        regularization_weight: float = 0.1,
        folds: int = 10,
        **arguments: Any,
    ) -> None:
        """Define the task.

        Args:
            backbone: A timm network, or one of the papers' networks for small images.
            loss: The classifier for training, to whose logits cross entropy is applied: `relattn.heads.ArcFace`,
                `CosFace` or `Softmax`, or another class that is called with the length of the embedding and the number
                of identities.
            stem: `face` for half the down-sampling of the ImageNet stem, so that the last stage of a ResNet has 7x7
                positions, or `imagenet` for the original stem, with 4x4.
            dimensions: Length of the embedding.
            dropout: Probability of the dropout before the fully connected layer.
            flip: The compared feature: those of the image and its mirror image, `concatenate`d as in the paper or
                `sum`med, or that of the image alone, `none`.
            regularization_weight: Weight of the attention modules' own loss terms: 0.1 for StRA's diversity term here,
                1.0 in re-identification.
            folds: Number of folds of the protocol.
            arguments: Arguments shared by all tasks, see `Task`.

        Raises:
            InputError: If a name is unknown or a number out of range.
        """
        super().__init__(backbone, flip=flip, **arguments)
        if regularization_weight < 0:
            raise InputError(f"Face: regularization_weight is {regularization_weight}, expected 0 or more.")
        self.loss = loss
        self.stem, self.dimensions, self.dropout = stem, dimensions, dropout
        self.folds = folds
        self.regularization_weight = regularization_weight
        with torch.device("meta"):
            self.loss(dimensions, 1)  # refuse a wrong margin before any data are read

    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        size = specification["image_size"]
        arguments = unpooled(self.backbone, size, **self.backbone_options)
        backbone, pools = self.build_backbone(specification, stem=self.stem, **arguments), not arguments
        view = map_view(backbone, size, pools=pools)
        embedding = FaceEmbedding(view.channels, view.size, dimensions=self.dimensions, dropout=self.dropout)
        self.head = self.loss(self.dimensions, specification["num_classes"])
        self.register_buffer("threshold", torch.tensor(torch.nan))
        rest_unread(backbone, "forward_features" if pools else "forward", size)
        return FaceNetwork(backbone, embedding, view=view, pools=pools)

    def classifiers(self) -> list[str]:
        return ["head"]

    def training_only(self) -> list[str]:
        return ["head", "loss"]

    def trunk(self) -> nn.Module:
        assert isinstance(self.network, FaceNetwork)
        return self.network.backbone

    def build_metric(self, data: Data) -> VerificationMetric:
        assert isinstance(data, FaceData)
        for name, pairs in data.verification.items():
            if pairs.folds not in (None, self.folds):
                raise InputError(
                    f"{pairs.origin} states {pairs.folds} folds, and the protocol has {self.folds}: give --model.folds "
                    f"{pairs.folds}, or remove the first line of the list to cut {name} otherwise."
                )
        same = {name: pairs.same for name, pairs in data.verification.items()}
        return VerificationMetric(same, folds=self.folds)

    def embed(self, images: Tensor) -> Tensor:
        """Compute the embedding of the images, `(B, dimensions)`."""
        assert self.network is not None
        embedding: Tensor = self.network(images)
        return embedding

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert self.network is not None
        labels = batch["label"]
        logits = self.head(self.network(batch["image"]))
        identity = F.cross_entropy(self.head.with_margin(logits, labels), labels)
        loss = identity + self.regularization_weight * self.regularization()
        error = 100 * (logits.detach().argmax(dim=1) != labels).float().mean()
        self.log_training({"loss": loss, "identity_loss": identity, "error": error}, len(labels))
        return loss

    def evaluate(self, batch: dict[str, Tensor], stage: Stage) -> None:
        self.metrics[stage].update(self(batch["image"]), batch["index"])  # type: ignore[operator]

    def after_scoring(self, metric: Any, stage: Stage, scores: dict[str, Tensor]) -> None:
        """Keep the mean threshold of the sets."""
        if not self.extra_set:
            self.threshold.fill_(scores["threshold"])  # type: ignore[operator]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the last threshold itself: callbacks that average weights also average buffers."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["state_dict"]["threshold"] = self.threshold.clone()  # type: ignore[operator]

    @classmethod
    def scores(cls) -> tuple[Score, ...]:
        return (Score("accuracy", "mean accuracy"), *(Score(f"accuracy/{name}", name) for name in OFFICIAL))

    @classmethod
    def figures(cls) -> Mapping[str, TaskFigure]:
        return FIGURES

    def class_scores(self, images: Tensor) -> tuple[Tensor, list[str]]:
        """Return the most similar training identity of each image, and its logit without the margin."""
        assert self.network is not None
        return self.most_likely_identities(self.head(self.network(images)))

    def compared_feature(self) -> dict[str, Any]:
        return {"feature": "embedding", "norm": nn.Identity(), "distance": "cosine"}

    def threshold_of_decisions(self) -> float | None:
        """Mean threshold of the last validation or test; None before any."""
        threshold = float(self.threshold)  # type: ignore[arg-type]
        return None if math.isnan(threshold) else threshold

    def aligned(self, pixels: Pixels, landmarks: Path, path: Path, template: str | None = None) -> Pixels:
        table = read_landmarks(landmarks)
        points = table.get(path.as_posix(), table.get(path.name))
        if points is None:
            raise InputError(f"{landmarks} has no row of {path}, by this path or its name. Add its five points.")
        if fault := fault_of(points, pixels.shape[:2]):
            raise InputError(f"{landmarks}: the landmarks of {path} are wrong: {fault}.")
        own = "x".join(map(str, self.specification["image_size"]))
        return align(pixels, points, cast(Template, template or (own if own in TEMPLATES else "112x112")))

    def on_predict_start(self) -> None:
        """Start collecting the features of the images of all pairs.

        Raises:
            InputError: If `limit_predict_batches` leaves out images, without which pairs are incomplete.
        """
        limit: Any = self.trainer.limit_predict_batches
        batches = len(self.trainer.datamodule.predict_dataloader())  # type: ignore[attr-defined]
        if not rehearses(self.trainer) and is_part(limit, batches):
            raise InputError(
                f"--trainer.limit_predict_batches is {limit}, and pairs need the images of all {batches} batches: "
                "leave it out."
            )
        self.pairs = self.build_metric(self.trainer.datamodule)  # type: ignore[attr-defined]
        self.pairs.to(self.device)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the features `(B, D)`, and keep them for the pairs written at the end."""
        features: Tensor = self(batch["image"])
        self.pairs.update(features, batch["index"])
        return features

    def on_predict_end(self) -> None:
        """Write `pairs.csv`: each pair's set and number, distance, whether it shows one person, and the decision."""
        if rehearses(self.trainer):
            return
        metric = self.pairs
        metric.compute()
        if not self.trainer.is_global_zero:
            return
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["set", "pair", "distance", "same", "accepted"])
        for name, result in metric.result.items():
            rows = zip(metric.distances[name], metric.same[name], result.accepted, strict=True)
            for number, (distance, same, accepted) in enumerate(rows):
                writer.writerow([name, number, f"{distance:.6f}", int(same), int(accepted)])
        publish_text(Path(self.trainer.default_root_dir) / "pairs.csv", text.getvalue())
