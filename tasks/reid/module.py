"""Person re-identification: identity classification and a triplet loss in training, retrieval in evaluation."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.utilities.distributed import gather_all_tensors

from relattn.backbones import EarlyStages
from relattn.errors import InputError
from relattn.heads import BNNeck, PlainNeck
from relattn.losses import batch_hard_triplet
from relattn.metrics.ranks import SameCamera
from relattn.tasks.base import Data
from relattn.tasks.embedding_task import EmbeddingTask, Preparation
from relattn.tasks.embeddings import Embedding, Entry
from relattn.tasks.files import digest
from relattn.tasks.reid.augmentation import Pipeline
from relattn.tasks.reid.pictures import ranked_lists
from relattn.tasks.reid.retrieval_metric import RetrievalMetric


class ReID(EmbeddingTask):
    """Trains an embedding of people and scores it by retrieval.

    Logs `train/loss`, its parts, and `train/error` (per cent of wrongly classified training images); for validation
    and test `mAP` (by step), `mAP_trapezoid` (Market-1501's official definition, which RGA reports), `mINP`, `rank1`,
    `rank5`, `rank10`, `TPR@FPR=...`, `unmatched` (queries without a match) and `score`, which is `mAP`; all in per cent
    but `unmatched`.
    """

    headline = "mAP"
    progress = (*EmbeddingTask.progress, "mAP", "rank1")
    shapes_of = (*EmbeddingTask.shapes_of, "feature")

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        neck: Literal["bnneck", "plain"] = "bnneck",
        last_stride: Literal[1, 2] = 1,
        label_smoothing: float = 0.1,
        triplet_weight: float = 1.0,
        margin: float = 0.3,
        mine_across_processes: bool = False,
        frozen_epochs: int = 0,
        feature: Literal["paper", "before_norm", "after_norm"] = "paper",
        distance: Literal["cosine", "euclidean"] = "cosine",
        same_camera: SameCamera = "junk",
        flip_test: bool = False,
        reranking: bool = False,
        expansion: int = 0,
        pictures: int = 4,
        **arguments: Any,
    ) -> None:
        """Define the task.

        Args:
            backbone: A timm network, or one of the papers' networks for small images.
            neck: `bnneck` normalises the pooled feature before the classifier; `plain` is the classifier alone.
            last_stride: Stride of the last stage; 1 keeps its input's size.
            label_smoothing: Of the classification's cross entropy.
            triplet_weight: Weight of the triplet loss on the feature before the norm; 0 for none, as StRA has it.
            margin: Of the triplet loss.
            mine_across_processes: Whether the triplets of a distributed run are made of the images of all processes, as
                one process with the whole batch has them, instead of each process's own.
            frozen_epochs: First epochs in which all stages but the last keep their weights and statistics.
            feature: What is compared: the pooled feature `before_norm` or `after_norm`; `paper` takes RGA's choice for
                the data set (after the norm on Market-1501, before it on CUHK03 and MSMT17).
            distance: How features are compared. RGA's L2-normalised Euclidean distance ranks as cosine does.
            same_camera: Whether a gallery image of the query's identity and camera is junk, or a `match` as any other,
                as for sets with one camera.
            flip_test: Whether the feature is the sum of the image's and its mirror image's.
            reranking: Whether k-reciprocal re-ranking is scored beside (`mAP_reranked`, ...).
            expansion: Neighbours of the query expansion scored beside (`mAP_expanded`, ...); 0 for none.
            pictures: Queries of a test that are drawn with their nearest images, to the run's folder `pictures/`.
            arguments: Shared by all tasks, see `Task`.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__(backbone, **arguments)
        if not 0 <= label_smoothing < 1:
            raise InputError(f"ReID: label_smoothing is {label_smoothing}, expected from 0 to below 1; RGA has 0.1.")
        for name, value in (
            ("triplet_weight", triplet_weight),
            ("margin", margin),
            ("frozen_epochs", frozen_epochs),
            ("expansion", expansion),
            ("pictures", pictures),
        ):
            if value < 0:
                raise InputError(f"ReID: {name} is {value}, expected 0 or more.")
        self.neck, self.last_stride, self.label_smoothing = neck, last_stride, label_smoothing
        self.triplet_weight, self.margin, self.frozen_epochs = triplet_weight, margin, frozen_epochs
        self.mine_across_processes = mine_across_processes
        self.feature, self.flip_test, self.pictures = feature, flip_test, pictures
        self.metric_arguments = {
            "distance": distance,
            "same_camera": same_camera,
            "reranking": reranking,
            "expansion": expansion,
        }

    def build_network(self, data: Data) -> nn.Module:
        backbone = self.build_backbone(data, last_stride=self.last_stride)
        self.head = (BNNeck if self.neck == "bnneck" else PlainNeck)(backbone.num_features, data.num_classes)
        self.compared = data.feature if self.feature == "paper" else self.feature
        single_shot = 10 if getattr(data, "single_shot", False) else 0
        self.retrieval = nn.ModuleDict(
            {stage: RetrievalMetric(single_shot=single_shot, **self.metric_arguments) for stage in ("val", "test")}
        )
        self.losses = nn.ModuleDict({name: MeanMetric() for name in ("loss", "identity_loss", "triplet_loss", "error")})
        return backbone

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to the features `(B, D)` that are compared, not normalised."""
        feature = self.embed(images)
        return feature + self.embed(images.flip(3)) if self.flip_test else feature

    def embed(self, images: Tensor) -> Tensor:
        """The feature of the images as they are."""
        assert self.network is not None
        pooled = self.network(images)
        return pooled if self.compared == "before_norm" else self.head(pooled)[0]

    def on_train_epoch_start(self) -> None:
        """Freeze or thaw the early stages."""
        self.frozen: list[nn.Parameter] = []
        if self.frozen_epochs:
            assert self.network is not None
            early, frozen = EarlyStages(self.network), self.current_epoch < self.frozen_epochs
            early.train(not frozen)
            self.frozen = early.parameters if frozen else []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave frozen weights out of the step; they have gradients, since a distributed run expects one of each."""
        for parameter in self.frozen:
            parameter.grad = None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert self.network is not None
        pooled = self.network(batch["image"])
        _, logits = self.head(pooled)
        labels = batch["label"]
        identity = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        parts = {"identity_loss": identity}
        loss = identity
        if self.triplet_weight:
            parts["triplet_loss"] = batch_hard_triplet(
                pooled, labels, self.margin, across_processes=self.mine_across_processes
            )
            loss = loss + self.triplet_weight * parts["triplet_loss"]
        loss = loss + self.regularization()
        parts |= {"loss": loss, "error": 100 * (logits.argmax(dim=1) != labels).float().mean()}
        for name, value in parts.items():
            self.losses[name].update(value.detach(), len(labels))
            self.log(f"train/{name}", self.losses[name], on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "test")

    def evaluate(self, batch: dict[str, Tensor], stage: str) -> None:
        """Take the features of a batch."""
        labels = (batch[name] for name in ("identity", "camera", "query", "index"))
        self.retrieval[stage].update(self(batch["image"]), *labels)

    def on_validation_epoch_end(self) -> None:
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        self.log_scores("test")

    def log_scores(self, stage: str) -> None:
        """Rank, and log the scores; the details stay in `self.retrieval[stage].result`."""
        metric = self.retrieval[stage]
        if self.trainer.sanity_checking or self.trainer.fast_dev_run:  # a few queries without a gallery
            metric.reset()
            return
        scores = metric.compute()
        if stage == "test" and self.pictures:
            self.draw(metric)
        metric.reset()
        scores["score"] = scores[self.headline]
        self.log_dict({f"{stage}/{name}": value.float() for name, value in scores.items()})

    def draw(self, metric: RetrievalMetric) -> None:
        """Write a sheet of ranked lists to the run's folder, and to W&B if the run has it."""
        with metric.sync_context():  # several processes have a part of the features each
            if not self.trainer.is_global_zero:
                return
            people = self.trainer.datamodule.sets["test"]  # type: ignore[attr-defined]
            sheet = ranked_lists(metric, people, queries=self.pictures)
        folder = Path(self.trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        sheet.save(folder / "test_ranking.jpg", quality=90)
        for logger in self.trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("test/pictures", [sheet])

    def preparation(self) -> Preparation:
        """The image in the network's size, normalised."""
        return partial(Pipeline(self.shapes["image_size"]), seed=0)

    def use_flip(self, flip: bool) -> None:
        """Say whether the mirror image's feature is added."""
        self.flip_test = flip

    def provenance(self, checkpoint: Path) -> dict[str, Any]:
        """What an embedding says of the network that it comes from; only what agrees can be compared."""
        return {
            "checkpoint": str(checkpoint),
            "sha256": digest(checkpoint),
            "distance": self.metric_arguments["distance"],
            "feature": self.compared,
            "flip": self.flip_test,
            "image_size": list(self.shapes["image_size"]),
        }

    def on_predict_start(self) -> None:
        self.predicted: list[tuple[Tensor, Tensor]] = []

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the features `(B, D)`, and keep them for the embedding that is written at the end."""
        features: Tensor = self(batch["image"])
        self.predicted.append((batch["index"], features.float()))
        return features

    def on_predict_end(self) -> None:
        """Write the embedding of queries and gallery, which `relattn search` reads."""
        indices, features = (torch.cat(parts) for parts in zip(*self.predicted, strict=True))
        if self.trainer.world_size > 1:
            indices, features = (torch.cat(gather_all_tensors(part)) for part in (indices, features))
        if not self.trainer.is_global_zero:
            return
        people = self.trainer.datamodule.sets["test"]  # type: ignore[attr-defined]
        rows = dict(zip(indices.tolist(), range(len(indices)), strict=True))  # what a sampler repeated counts once
        order = sorted(rows)
        entries = [
            Entry(image.path, str(image.identity), str(image.camera), "query" if index < people.queries else "gallery")
            for index, image in ((index, people.images[index]) for index in order)
        ]
        kept = features[[rows[index] for index in order]].cpu().numpy()
        checkpoint = self.trainer.ckpt_path
        about = self.provenance(Path(checkpoint)) if checkpoint else {"distance": self.metric_arguments["distance"]}
        folder = Path(self.trainer.default_root_dir) / "embedding"
        Embedding(kept, entries, people.root, about).save(folder)
