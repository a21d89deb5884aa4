"""Person re-identification: identity classification and a triplet loss in training, retrieval in evaluation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.utilities.distributed import gather_all_tensors

from relattn.backbones import pooled_width
from relattn.errors import InputError
from relattn.heads import BNNeck, EmbeddingNeck, PlainNeck
from relattn.losses import BatchHardTriplet
from relattn.metrics.distances import DistanceName
from relattn.metrics.ranks import SameCamera
from relattn.tasks.base import Stage
from relattn.tasks.data import Data
from relattn.tasks.embedding_task import EmbeddingTask
from relattn.tasks.embeddings import Embedding
from relattn.tasks.figure import TaskFigure
from relattn.tasks.reid.checks import explained, unmatched_queries
from relattn.tasks.reid.data import ReIDData, ReIDImages
from relattn.tasks.reid.figures import FIGURES
from relattn.tasks.reid.ranked_lists import ranked_lists
from relattn.tasks.reid.retrieval_metric import RetrievalMetric
from relattn.tasks.run_outputs import rehearses, save_picture
from relattn.tasks.score import Score


class ReID(EmbeddingTask):
    """Trains an embedding of people and scores it by retrieval.

    Logs `train/loss`, its parts, and `train/error` (per cent of wrongly classified training images); for validation
    and test `mAP` (by step), `mAP_trapezoid` (Market-1501's official definition, which RGA reports), `mINP`, `rank1`,
    `rank5`, `rank10`, `TPR@FPR=...`, `unmatched` (queries without a match) and `score`, which is `mAP`; all in per cent
    except `unmatched`.
    """

    name: ClassVar[str] = "reid"
    headline = "mAP"
    metrics_of_training = ("loss", "identity_loss", "metric_loss", "error")
    data_type: ClassVar[type] = ReIDData
    name_patterns: ClassVar[Mapping[str, str]] = {
        "market": r"(?P<identity>-1|\d{4})_c(?P<camera>[1-6])s\d_\d{6}_\d\d(\.jpg)?\.\w+",
        "duke": r"(?P<identity>\d{4})_c(?P<camera>[1-8])_f\d{7}\.\w+",
        "cuhk03": r"(?P<identity>\d{4})_c(?P<camera>[12])_\d{1,2}\.\w+",
    }

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        neck: Literal["bnneck", "embedding", "plain"] = "bnneck",
        dimensions: int = 512,
        last_stride: Literal[1, 2] = 1,
        label_smoothing: float = 0.1,
        loss: Callable[..., Any] | None = None,
        loss_weight: float = 1.0,
        feature: Literal["paper", "before_norm", "after_norm"] = "paper",
        distance: DistanceName = "cosine",
        same_camera: SameCamera = "junk",
        reranking: bool = False,
        expansion: int = 0,
        pictures: int = 4,
        **arguments: Any,
    ) -> None:
        """Define the task.

        Args:
            backbone: A timm network, or one of the papers' networks for small images.
            neck: `bnneck`, `embedding` or `plain`. `bnneck` normalises the pooled feature before the classifier;
                `embedding` first maps it to a shorter one, as StRA's released code does; `plain` is the classifier
                alone.
            dimensions: Length of the feature of `neck="embedding"`.
            last_stride: Stride of the last stage; 1 keeps the size of its input.
            label_smoothing: Label smoothing of the classification's cross entropy.
            loss: Metric loss in addition to the classification loss: maps the pooled features before the norm `(B, D)`
                and the labels `(B,)` to a scalar; by default the batch-hard triplet loss with margin 0.3.
            loss_weight: Weight of the metric loss; 0 for none, as in StRA.
            feature: The compared feature: the pooled feature, `before_norm`, or the neck's output, `after_norm`;
                `paper` takes RGA's choice for the data set (after the norm on Market-1501, before it on CUHK03 and
                MSMT17).
            distance: How features are compared. RGA's L2-normalised Euclidean distance gives the same ranking as
                cosine.
            same_camera: Whether a gallery image of the query's identity and camera is junk, or a `match` like any
                other, as for sets with one camera.
            reranking: Whether to also score k-reciprocal re-ranking (`mAP_reranked`, ...).
            expansion: Number of neighbours for query expansion, which is also scored (`mAP_expanded`, ...); 0 for none.
                Expanded queries have length 1 and are compared by cosine distance, whatever `distance` is.
            pictures: Number of test queries that are drawn with their nearest images into the run's folder `pictures/`.
            arguments: `flip`, see `EmbeddingTask`, and arguments shared by all tasks, see `Task`.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__(backbone, **arguments)
        if not 0 <= label_smoothing < 1:
            raise InputError(f"ReID: label_smoothing is {label_smoothing}, expected from 0 to below 1; RGA has 0.1.")
        if dimensions < 1:
            raise InputError(f"ReID: dimensions is {dimensions}, expected at least 1; StRA's released code has 512.")
        for name, value in (
            ("loss_weight", loss_weight),
            ("expansion", expansion),
            ("pictures", pictures),
        ):
            if value < 0:
                raise InputError(f"ReID: {name} is {value}, expected 0 or more.")
        self.neck, self.dimensions = neck, dimensions
        self.last_stride, self.label_smoothing = last_stride, label_smoothing
        self.loss, self.loss_weight = loss or BatchHardTriplet(), loss_weight
        self.feature, self.pictures = feature, pictures
        self.distance: DistanceName = distance
        self.metric_arguments: dict[str, Any] = {
            "distance": distance,
            "same_camera": same_camera,
            "reranking": reranking,
            "expansion": expansion,
        }

    def check_data(self, data: Data) -> None:
        """Refuse data in which no query has a match.

        Raises:
            InputError: If there is none; the message gives the reason.
        """
        if self.trainer.state.fn == "predict":
            return
        rule: SameCamera = self.metric_arguments["same_camera"]
        for stage in ("val", "test"):
            images = data.sets.get(stage)
            if isinstance(images, ReIDImages) and images.queries:
                unmatched = unmatched_queries(images.images, images.files, images.queries, rule)
                if len(unmatched) == images.queries:
                    raise InputError(explained(images.images, images.queries, unmatched, rule))

    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        backbone = self.build_backbone(specification, last_stride=self.last_stride)
        sizes = pooled_width(backbone, specification["image_size"]), specification["num_classes"]
        self.head: BNNeck | EmbeddingNeck | PlainNeck
        if self.neck == "embedding":
            self.head = EmbeddingNeck(*sizes, dimensions=self.dimensions)
        else:
            self.head = BNNeck(*sizes) if self.neck == "bnneck" else PlainNeck(*sizes)
        self.compared = specification["feature"] if self.feature == "paper" else self.feature
        return backbone

    def build_metric(self, data: Data) -> RetrievalMetric:
        draws = 10 if getattr(data, "single_shot", False) else 0
        return RetrievalMetric(single_shot=draws, **self.metric_arguments)

    def embed(self, images: Tensor) -> Tensor:
        """Compute the feature of the images, `(B, D)`: that before or after the neck's norm."""
        assert self.network is not None
        pooled: Tensor = self.network(images)
        return pooled if self.compared == "before_norm" else self.head.feature(pooled)

    def classifiers(self) -> list[str]:
        return ["head.classifier"]

    def training_only(self) -> list[str]:
        return ["head.classifier", "loss"]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert self.network is not None
        labels = batch["label"]
        pooled = self.network(batch["image"])
        _, logits = self.head(pooled)
        identity = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        parts, loss = {"identity_loss": identity}, identity
        if self.loss_weight:
            parts["metric_loss"] = self.loss(pooled, labels)
            loss = loss + self.loss_weight * parts["metric_loss"]
        loss = loss + self.regularization()
        error = 100 * (logits.argmax(dim=1) != labels).float().mean()
        self.log_training({**parts, "loss": loss, "error": error}, len(labels))
        return loss

    def evaluate(self, batch: dict[str, Tensor], stage: Stage) -> None:
        labels = (batch[name] for name in ("identity", "camera", "query", "index", "file"))
        self.metrics[stage].update(self(batch["image"]), *labels)  # type: ignore[operator]

    def after_scoring(self, metric: RetrievalMetric, stage: Stage, scores: dict[str, Tensor]) -> None:
        """Draw ranked lists of the test into the run's folder, and for W&B if the run uses it."""
        if stage == "val" or not self.pictures:
            return
        with metric.sync_context():  # with several processes, each has a part of the features
            if self.trainer.is_global_zero:
                people = self.trainer.datamodule.sets["test"]  # type: ignore[attr-defined]
                name = "-".join(filter(None, ("ranking", self.extra_set)))
                save_picture(self.trainer, ranked_lists(metric, people, queries=self.pictures), "test", name)

    @classmethod
    def scores(cls) -> tuple[Score, ...]:
        return (Score("mAP"), Score("mAP_trapezoid", "mAP (trapezoid)"), Score("rank1", "rank-1"), Score("mINP"))

    @classmethod
    def figures(cls) -> Mapping[str, TaskFigure]:
        return FIGURES

    def class_scores(self, images: Tensor) -> tuple[Tensor, list[str]]:
        """Return the most likely training identity of each image, and its logit."""
        assert self.network is not None
        logits: Tensor = self.head(self.network(images))[1]
        return self.most_likely_identities(logits)

    def compared_feature(self) -> dict[str, Any]:
        return {
            "feature": self.compared,
            "norm": self.head.feature if self.compared == "after_norm" else nn.Identity(),
            "distance": self.distance,
        }

    def on_predict_start(self) -> None:
        """Start collecting the features of all images."""
        self.features: list[tuple[Tensor, Tensor]] = []

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the features `(B, D)`, and keep them for the embedding written at the end."""
        features: Tensor = self(batch["image"])
        self.features.append((batch["index"], features.to(torch.float32, copy=True)))
        return features

    def on_predict_end(self) -> None:
        """Write the embedding of queries and gallery, which `relattn search` reads."""
        if rehearses(self.trainer):
            return
        indices, features = (torch.cat(parts) for parts in zip(*self.features, strict=True))
        if self.trainer.world_size > 1:
            indices, features = (torch.cat(gather_all_tensors(part)) for part in (indices, features))
        if not self.trainer.is_global_zero:
            return
        people = self.trainer.datamodule.sets["test"]  # type: ignore[attr-defined]
        rows = dict(zip(indices.tolist(), range(len(indices)), strict=True))  # repeated images count once
        order = sorted(rows)
        kept = features[[rows[index] for index in order]].cpu().numpy()
        checkpoint = self.trainer.ckpt_path
        metadata = self.provenance(Path(checkpoint)) if checkpoint else {"distance": self.distance}
        folder = Path(self.trainer.default_root_dir) / "embedding"
        Embedding(kept, [people.entry(index) for index in order], people.root, metadata).save(folder)
