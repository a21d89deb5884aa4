"""A task whose network gives features to compare images by: what `relattn embed`, `search` and `verify` ask of it."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.errors import InputError
from relattn.preprocessing import Preprocessing
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.files import digest
from relattn.tasks.predictor import Pixels, Predictor


class Embedder(nn.Module):
    """Images `(B, 3, H, W)` to the features `(B, D)` that a task compares, of length 1 where their angle counts."""

    def __init__(self, network: nn.Module, *, norm: nn.Module, flip: str, normalised: bool) -> None:
        """Join the parts.

        Args:
            network: Gives the feature of an image.
            norm: What the feature passes before it is compared, or an identity.
            flip: What is done with the mirror image's feature: `sum`, `concatenate`, or `none`.
            normalised: Whether features are brought to length 1.
        """
        super().__init__()
        self.network, self.norm, self.flip, self.normalised = network, norm, flip, normalised

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        feature: Tensor = self.norm(self.network(images))
        if self.flip != "none":
            mirrored = self.norm(self.network(images.flip(3)))
            feature = feature + mirrored if self.flip == "sum" else torch.cat([feature, mirrored], dim=1)
        return F.normalize(feature, dim=1) if self.normalised else feature


class EmbeddingTask(Task):
    """A task whose `forward` maps images to the features that are compared."""

    name_patterns: ClassVar[Mapping[str, str]] = {}
    """Patterns of whole file names that say who is on an image, with the groups `identity` and, optionally, `camera`;
    the first is the default of `relattn embed` and `search`."""

    def check_data(self, data: Data) -> None:
        """Nothing: features of anybody can be compared."""

    @abstractmethod
    def compared_feature(self) -> dict[str, Any]:
        """The feature that is compared: its name `feature`, the module `norm` that it passes, `flip` and `distance`.

        `flip` is `sum`, `concatenate` or `none`; `distance` is `cosine` or `euclidean`.
        """

    @abstractmethod
    def use_flip(self, flip: Any) -> None:
        """Say what is done with the mirror image: a value of `compared_feature()["flip"]`, or True for the sum."""

    def threshold_of_decisions(self) -> float | None:
        """The squared distance of normalised features below which two images show one identity; None if unknown."""
        return None

    def preprocessing(self) -> Preprocessing:
        """How images are prepared, as the data of training prepared those of evaluation."""
        return Preprocessing.from_json(self.specification["preprocessing"])

    def aligned(self, pixels: Pixels, landmarks: Path, path: Path) -> Pixels:
        """An image brought by its landmarks to the place that those of training have.

        Args:
            pixels: The image, `(h, w, 3)`.
            landmarks: A table of landmarks.
            path: The image's file, which the table lists by this path or its name.

        Raises:
            InputError: If images of this task have no landmarks, or the table lacks the image.
        """
        raise InputError(f"Images of the task {self.name} are not aligned by landmarks: leave --landmarks out.")

    def provenance(self, checkpoint: Path) -> dict[str, Any]:
        """The metadata of an embedding: the network that it comes from. Only embeddings that agree can be compared."""
        compared = self.compared_feature()
        return {
            "checkpoint": str(checkpoint),
            "sha256": digest(checkpoint),
            **{name: compared[name] for name in ("distance", "feature", "flip")},
            "image_size": list(self.specification["image_size"]),
            "interpolation": self.specification["preprocessing"]["interpolation"],
        }

    def predictor(self) -> Predictor:
        """The network whose features are compared, a tensor `(images, D)` for images."""
        assert self.network is not None
        compared = self.compared_feature()
        normalised = compared["distance"] == "cosine"
        network = Embedder(self.network, norm=compared["norm"], flip=compared["flip"], normalised=normalised)
        metadata: dict[str, Any] = {name: compared[name] for name in ("feature", "flip", "distance")}
        metadata["threshold"] = self.threshold_of_decisions()

        def answer(network: nn.Module, _pixels: list[Pixels], views: list[Tensor]) -> Tensor:
            features: Tensor = network(torch.stack(views))
            return features

        output = {"name": "feature", "layout": "NC", "normalised": normalised}
        return Predictor(network, output, answer, metadata)

    def most_likely_identities(self, logits: Tensor) -> tuple[Tensor, list[str]]:
        """The largest of logits `(B, identities)`, and the display names of those identities of training."""
        best = logits.argmax(dim=1)
        names = self.specification.get("class_names")
        labels = [f"identity {names[index] if names else index}" for index in best.tolist()]
        return logits.gather(1, best[:, None]).squeeze(1), labels
