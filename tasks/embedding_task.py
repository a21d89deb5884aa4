"""A task whose network computes features to compare images: what `relattn embed`, `search` and `verify` use."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.errors import InputError
from relattn.preprocessing import Preprocessing
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.files import digest
from relattn.tasks.predictor import Pixels, Predictor

Flip = Literal["none", "sum", "concatenate"]
"""The compared feature: that of the image alone, or its sum or concatenation with that of the mirror image."""


def joined(feature: Tensor, mirrored: Tensor, flip: Flip) -> Tensor:
    """The sum or the concatenation of features `(B, D)` of images and of their mirror images."""
    return feature + mirrored if flip == "sum" else torch.cat((feature, mirrored), dim=1)


class Embedder(nn.Module):
    """Maps images `(B, 3, H, W)` to the features `(B, D)` that a task compares, normalised for cosine distance."""

    def __init__(self, network: nn.Module, *, norm: nn.Module, flip: Flip, normalised: bool) -> None:
        """Join the parts.

        Args:
            network: Computes the feature of an image.
            norm: Normalisation applied to the feature before it is compared; an identity for none.
            flip: How the mirror image's feature is used.
            normalised: Whether features are normalised to length 1.
        """
        super().__init__()
        self.network, self.norm, self.flip, self.normalised = network, norm, flip, normalised

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        feature: Tensor = self.norm(self.network(images))
        if self.flip != "none":
            feature = joined(feature, self.norm(self.network(images.flip(3))), self.flip)
        return F.normalize(feature, dim=1) if self.normalised else feature


class EmbeddingTask(Task):
    """A task whose `forward` maps images to the features that are compared."""

    name_patterns: ClassVar[Mapping[str, str]] = {}
    """Patterns of whole file names that state who an image shows, with the groups `identity` and, optionally, `camera`;
    the first is the default of `relattn embed` and `search`."""

    def __init__(self, backbone: str, *, flip: Flip = "none", **arguments: Any) -> None:
        """Define the task.

        Args:
            backbone: As in `Task`.
            flip: The compared feature: that of the image alone (`none`), or its `sum` with that of the mirror image, or
                both, `concatenate`d.
            arguments: As in `Task`.

        Raises:
            InputError: If `flip` is unknown.
        """
        super().__init__(backbone, **arguments)
        self.flip = flip

    @property
    def flip(self) -> Flip:
        """How the mirror image is used for the compared feature."""
        return self._flip

    @flip.setter
    def flip(self, flip: Flip) -> None:
        if flip not in get_args(Flip):
            raise InputError(f"flip is {flip!r}, expected one of {', '.join(get_args(Flip))}.")
        self._flip = flip

    def check_data(self, data: Data) -> None:
        """Accept all data: features can be compared whatever the classes are."""

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to their features `(B, D)`, without the mirror images."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, 3, H, W)` to the features `(B, D)` or `(B, 2 D)` that are compared, not normalised."""
        if self.flip == "none":
            return self.embed(images)
        # In a single run of the network: a second run of a CUDA graph would overwrite the output of the first.
        feature, mirrored = self.embed(torch.cat((images, images.flip(3)))).chunk(2)
        return joined(feature, mirrored, self.flip)

    @abstractmethod
    def compared_feature(self) -> dict[str, Any]:
        """Describe the compared feature: its name `feature`, the module `norm` applied to it, and its `distance`.

        `distance` is `cosine` or `euclidean`.
        """

    def threshold_of_decisions(self) -> float | None:
        """Squared distance of normalised features below which two images show one identity; None if unknown."""
        return None

    def preprocessing(self) -> Preprocessing:
        """The preprocessing that the training data used for evaluation images."""
        return Preprocessing.from_json(self.specification["preprocessing"])

    def aligned(self, pixels: Pixels, landmarks: Path, path: Path, template: str | None = None) -> Pixels:
        """Align an image by its landmarks as the training images are aligned.

        Args:
            pixels: The image, `(h, w, 3)`.
            landmarks: A table of landmarks.
            path: The image's file, which the table lists by this path or its name.
            template: Height and width to align to, such as `112x112`; by default those of the training images.

        Raises:
            InputError: If images of this task have no landmarks, or the table lacks the image.
        """
        raise InputError(f"Images of the task {self.name} are not aligned by landmarks: leave --landmarks out.")

    def provenance(self, checkpoint: Path) -> dict[str, Any]:
        """Metadata of an embedding: the network it comes from. Only embeddings whose metadata agree can be compared."""
        compared = self.compared_feature()
        return {
            "checkpoint": str(checkpoint),
            "sha256": digest(checkpoint),
            **{name: compared[name] for name in ("distance", "feature")},
            "flip": self.flip,
            "image_size": list(self.specification["image_size"]),
            "interpolation": self.specification["preprocessing"]["interpolation"],
        }

    def predictor(self) -> Predictor:
        """Return the network whose features are compared; it answers with a tensor `(images, D)`."""
        assert self.network is not None
        compared = self.compared_feature()
        normalised = compared["distance"] == "cosine"
        network = Embedder(self.network, norm=compared["norm"], flip=self.flip, normalised=normalised)
        metadata = {
            "feature": compared["feature"],
            "flip": self.flip,
            "distance": compared["distance"],
            "threshold": self.threshold_of_decisions(),
        }

        def answer(network: nn.Module, _pixels: list[Pixels], views: list[Tensor]) -> Tensor:
            features: Tensor = network(torch.stack(views))
            return features

        output = {"name": "feature", "layout": "NC", "normalised": normalised}
        return Predictor(network, output, answer, metadata)

    def most_likely_identities(self, logits: Tensor) -> tuple[Tensor, list[str]]:
        """Return the largest of logits `(B, identities)` per image, and the training identities' display names."""
        best = logits.argmax(dim=1)
        names = self.specification.get("class_names")
        labels = [f"identity {names[index] if names else index}" for index in best.tolist()]
        return logits.gather(1, best[:, None]).squeeze(1), labels
