"""Face verification: identities are classified in training, and pairs of faces compared in evaluation."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import MeanMetric

from relattn.backbones import Stem, family, map_shape
from relattn.errors import InputError
from relattn.heads import ArcFace, CosFace, FaceEmbedding, Softmax
from relattn.heads.margin import Beyond, Gradient
from relattn.tasks.base import Data
from relattn.tasks.embedding_task import EmbeddingTask
from relattn.tasks.face.data import CENTRE, RANGE
from relattn.tasks.face.images import central
from relattn.tasks.face.verification_metric import VerificationMetric
from relattn.tasks.files import digest

Loss = Literal["softmax", "cosface", "arcface"]
Flip = Literal["concatenate", "sum", "none"]


class FaceNetwork(nn.Module):
    """A backbone that does not pool, and the embedding of its map."""

    def __init__(self, backbone: nn.Module, embedding: nn.Module, *, pools: bool) -> None:
        """Join them; of a backbone that pools, the last stage's map is taken."""
        super().__init__()
        self.backbone, self.embedding, self.pools = backbone, embedding, pools

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to embeddings `(B, D)`."""
        features = self.backbone.forward_features(images) if self.pools else self.backbone(images)  # type: ignore[operator]
        embedding: Tensor = self.embedding(features)
        return embedding


@dataclass(frozen=True)
class Prepare:
    """From an image `(h, w, 3)` uint8 RGB to what the network sees, `(*size, 3)` float32."""

    size: tuple[int, int]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Cut the centre out and normalise it."""
        return (central(pixels, self.size).astype(np.float32) - np.float32(CENTRE)) / np.float32(RANGE)


class Face(EmbeddingTask):
    """Trains an embedding of faces and scores it by verification.

    Logs `train/loss`, its parts, and `train/error` (per cent of training images whose identity is not the one nearest
    to them, without the margin); for validation and test, of each pack of pairs, `<pack>` (mean accuracy of the ten
    folds), `<pack>_std`, `<pack>_TAR@FAR=...`, `<pack>_EER`, `<pack>_AUC` and `<pack>_threshold`; `accuracy`, the mean
    of the packs', and `score`, which is `accuracy`; all in per cent but thresholds, which are squared distances.

    The mean of the thresholds is kept in the checkpoint, for `relattn verify`.
    """

    headline = "accuracy"
    progress = (*EmbeddingTask.progress, "accuracy")

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        loss: Loss = "arcface",
        s: float = 20.0,
        m: float | None = None,
        beyond: Beyond = "linear",
        gradient: Gradient = "exact",
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
            loss: Cross entropy of a linear classifier (`softmax`), or of cosines with a margin.
            s: Scale of the cosines.
            m: The margin: for `arcface` in radians, by default 0.15; for `cosface` a cosine, by default 0.2.
            beyond: What `arcface` does at angles that the margin carries beyond pi, see `relattn.heads.ArcFace`.
            gradient: Whether the gradient goes through `arcface`'s margin, see there.
            stem: `face`: half the down-sampling of the ImageNet stem, so that the last stage of a ResNet has 7x7
                positions; `imagenet`: the plain one, with 4x4.
            dimensions: Length of the embedding.
            dropout: Probability of the dropout before the fully connected layer.
            flip: The compared feature: the image's and its mirror image's, `concatenate`d as in the paper or `sum`med;
                or the image's alone, `none`.
            regularization_weight: Weight of the terms that attention modules have of their own: StRA's diversity has
                0.1 here, and 1.0 in re-identification.
            folds: Of the protocol.
            arguments: Shared by all tasks, see `Task`.

        Raises:
            InputError: If a name is unknown or a number out of range.
        """
        super().__init__(backbone, **arguments)
        for name, value, known in (("loss", loss, Loss), ("flip", flip, Flip)):
            if value not in get_args(known):
                raise InputError(f"Face: {name} is {value!r}, expected one of {', '.join(get_args(known))}.")
        if regularization_weight < 0:
            raise InputError(f"Face: regularization_weight is {regularization_weight}, expected 0 or more.")
        if loss == "softmax" and m:
            raise InputError(f"Face: m is {m}, and softmax has no margin: choose --model.loss arcface or cosface.")
        self.loss, self.scale, self.margin = loss, s, m
        self.arc_arguments = {"beyond": beyond, "gradient": gradient}
        self.stem, self.dimensions, self.dropout = stem, dimensions, dropout
        self.flip, self.folds = flip, folds
        self.regularization_weight = regularization_weight
        with torch.device("meta"):
            self.build_classifier(1)  # refuses a wrong margin before any data are read

    def build_classifier(self, identities: int) -> Softmax | CosFace | ArcFace:
        """The classifier of training."""
        margin = {} if self.margin is None else {"m": self.margin}
        if self.loss == "softmax":
            return Softmax(self.dimensions, identities)
        if self.loss == "cosface":
            return CosFace(self.dimensions, identities, s=self.scale, **margin)
        return ArcFace(self.dimensions, identities, s=self.scale, **margin, **self.arc_arguments)  # type: ignore[arg-type]

    def build_network(self, data: Data) -> nn.Module:
        pools = family(self.backbone) != "timm"
        backbone = self.build_backbone(data, stem=self.stem, **({} if pools else {"global_pool": ""}))
        channels, *size = map_shape(backbone, data.image_size, pools=pools)
        embedding = FaceEmbedding(channels, (size[0], size[1]), dimensions=self.dimensions, dropout=self.dropout)
        self.head = self.build_classifier(data.num_classes)
        same = {name: pack.same for name, pack in getattr(data, "packs", {}).items()}
        self.verification = nn.ModuleDict(
            {stage: VerificationMetric(same, folds=self.folds) for stage in ("val", "test", "predict")}
        )
        self.register_buffer("threshold", torch.tensor(torch.nan))
        self.losses = nn.ModuleDict({name: MeanMetric() for name in ("loss", "identity_loss", "error")})
        return FaceNetwork(backbone, embedding, pools=pools)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to the features `(B, D)` that are compared, not normalised."""
        assert self.network is not None
        if self.flip == "none":
            feature: Tensor = self.network(images)
            return feature
        # In one run of the network: of two, a CUDA graph's second would overwrite what the first gave.
        views = self.network(torch.cat((images, images.flip(3)))).chunk(2)
        return views[0] + views[1] if self.flip == "sum" else torch.cat(views, dim=1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert self.network is not None
        labels = batch["label"]
        logits = self.head(self.network(batch["image"]))
        identity = F.cross_entropy(self.head.with_margin(logits, labels), labels)
        loss = identity + self.regularization_weight * self.regularization()
        wrong = 100 * (logits.detach().argmax(dim=1) != labels).float().mean()
        for name, value in {"loss": loss, "identity_loss": identity, "error": wrong}.items():
            self.losses[name].update(value.detach(), len(labels))
            self.log(f"train/{name}", self.losses[name], on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.verification["val"].update(self(batch["image"]), batch["index"])

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.verification["test"].update(self(batch["image"]), batch["index"])

    def on_validation_epoch_end(self) -> None:
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        self.log_scores("test")

    def log_scores(self, stage: str) -> None:
        """Verify, and log the scores; the details stay in `self.verification[stage].result`."""
        metric = self.verification[stage]
        if self.trainer.sanity_checking or self.trainer.fast_dev_run:  # a few images, not the pairs
            metric.reset()
            return
        scores = metric.compute()
        metric.reset()
        self.threshold.fill_(scores["threshold"])  # type: ignore[operator]
        scores["score"] = scores[self.headline]
        self.log_dict({f"{stage}/{name}": value.float() for name, value in scores.items()})

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the features `(B, D)`, and keep them for the pairs that are written at the end."""
        features: Tensor = self(batch["image"])
        self.verification["predict"].update(features, batch["index"])
        return features

    def on_predict_end(self) -> None:
        """Write `pairs.csv`: of each pair its pack, number and distance, what it shows, and what was decided."""
        metric = self.verification["predict"]
        metric.compute()
        if not self.trainer.is_global_zero:
            return
        path = Path(self.trainer.default_root_dir) / "pairs.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["pack", "pair", "distance", "same", "accepted"])
            for name, result in metric.result.items():
                rows = zip(metric.distances[name], metric.same[name], result.accepted, strict=True)
                for number, (distance, same, accepted) in enumerate(rows):
                    writer.writerow([name, number, f"{distance:.6f}", int(same), int(accepted)])

    def preparation(self) -> Prepare:
        """The centre of the image, normalised: images show aligned faces, as those of training do."""
        return Prepare(tuple(self.shapes["image_size"]))

    def use_flip(self, flip: bool | Flip) -> None:
        """Say what is done with the mirror image."""
        self.flip = {True: "sum", False: "none"}.get(flip, flip)  # type: ignore[call-overload, assignment]

    def provenance(self, checkpoint: Path) -> dict[str, Any]:
        """What an embedding says of the network that it comes from; only what agrees can be compared."""
        return {
            "checkpoint": str(checkpoint),
            "sha256": digest(checkpoint),
            "distance": "cosine",
            "feature": "embedding",
            "flip": self.flip,
            "image_size": list(self.shapes["image_size"]),
        }
