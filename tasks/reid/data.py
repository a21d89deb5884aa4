"""What the re-identification data sets share: reading, checking, augmenting and batching."""

import warnings
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from relattn.errors import InputError
from relattn.tasks.files import agrees_with_published
from relattn.tasks.fingerprint import fingerprint
from relattn.tasks.images import ImageData, read_image
from relattn.tasks.reid.augmentation import Augmentation, Pipeline
from relattn.tasks.reid.checks import check_images
from relattn.tasks.reid.splits import Image, Splits
from relattn.tasks.samplers import BatchSampler, Draw, Epoch, IdentityBatches

Feature = Literal["before_norm", "after_norm"]


class People(Dataset[dict[str, Any]]):
    """Images of a split, as samples for the network.

    A sample is `image` (H, W, 3) float32, `label` (class of the training set, -1 outside it), `identity`, `camera`,
    `index` (its place in the split) and `query` (whether it is one), all int64 but the image and `query`, a bool.
    """

    def __init__(
        self,
        root: Path,
        images: list[Image],
        pipeline: Pipeline,
        labels: dict[int, int] | None = None,
        queries: int = 0,
    ) -> None:
        """Keep the images; the first `queries` of them are queries, `labels` are the classes of identities."""
        self.root, self.images, self.pipeline = root, images, pipeline
        self.labels, self.queries = labels or {}, queries

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Read and process an image."""
        image = self.images[draw.index]
        pixels = self.pipeline(read_image(self.root / image.path), draw.seed)
        return {
            "image": torch.from_numpy(pixels),
            "label": self.labels.get(image.identity, -1),
            "identity": image.identity,
            "camera": image.camera,
            "index": draw.index,
            "query": draw.index < self.queries,
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack samples; `image` becomes (B, 3, H, W) and stays channels-last in memory."""
    batch: dict[str, Tensor] = default_collate(samples)
    batch["image"] = batch["image"].permute(0, 3, 1, 2)
    return batch


class PeopleData(ImageData):
    """Training images in batches of identities or shuffled, and queries followed by the gallery for evaluation."""

    feature: ClassVar[Feature] = "after_norm"
    """Which feature RGA scores this set by (supplement, section 1)."""

    collate = staticmethod(collate)

    single_shot: bool = False
    """Whether the CMC with one gallery image a person is reported as well."""

    def __init__(
        self,
        root: Path | str = "data",
        *,
        image_size: tuple[int, int] = (256, 128),
        batch_size: int = 64,
        images_per_identity: int | None = 4,
        epoch: Epoch = "identities",
        augmentation: Augmentation | None = None,
        eval_batch_size: int = 128,
        validation: int = 0,
        rare: Literal["error", "drop", "repeat"] = "error",
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that holds the set's own folder.
            image_size: Height and width that images are resized to, in pixels.
            batch_size: Images of one step, over all GPUs together.
            images_per_identity: K, the images of each identity in a batch; None to shuffle images.
            epoch: What an epoch is with K images an identity: `identities` (each once) or `chunks` (nearly all images).
            augmentation: How training images are varied.
            eval_batch_size: Images of one step of evaluation, on each GPU.
            validation: Training identities held out for validation, each with one query a camera. With 0 the curves of
                a run are drawn on the test set; nothing is chosen by them, and the last epoch is what a run reports.
            rare: What to do with training identities of one image, which has no other to be near to: `error`, `drop`
                them, or `repeat` the image.
            arguments: Shared by all sets of images, see `ImageData`.

        Raises:
            InputError: If a number is out of range.
        """
        sizes = {"image_size": image_size, "batch_size": batch_size, "eval_batch_size": eval_batch_size}
        super().__init__(root, **sizes, **arguments)
        self.expect(validation=(validation, 0))
        self.expect(images_per_identity=(2 if images_per_identity is None else images_per_identity, 2))
        self.images_per_identity, self.epoch = images_per_identity, epoch
        self.augmentation = augmentation or Augmentation()
        self.validation, self.rare = validation, rare

    @abstractmethod
    def read(self) -> Splits:
        """Find the images of the three splits."""

    def setup(self, stage: str) -> None:
        """Find and check the images, once."""
        if self.sets:
            return
        name = type(self).__name__
        splits = self.read()
        self.genuine = agrees_with_published(name, splits.root, splits.counts(), splits.published)
        if self.check_files:
            check_images(splits)
        train, held_out = self.hold_out(self.without_rare(list(splits.train)))
        query, gallery = list(splits.query), list(splits.gallery)
        self.identities = sorted({image.identity for image in train})
        self.num_classes = len(self.identities)
        labels = {identity: label for label, identity in enumerate(self.identities)}
        plain = Pipeline(self.image_size)
        test = People(splits.root, query + gallery, plain, queries=len(query))
        self.sets = {
            "train": People(splits.root, train, Pipeline(self.image_size, self.augmentation), labels),
            "val": People(splits.root, [*held_out[0], *held_out[1]], plain, queries=len(held_out[0]))
            if self.validation
            else test,
            "test": test,
        }

    def without_rare(self, train: list[Image]) -> list[Image]:
        """The training images, those of one-image identities treated as `rare` says."""
        if self.images_per_identity is None or self.rare == "repeat":
            return train
        seen: dict[int, list[Image]] = {}
        for image in train:
            seen.setdefault(image.identity, []).append(image)
        alone = [images[0] for images in seen.values() if len(images) == 1]
        if not alone:
            return train
        named = ", ".join(f"{image.identity} ({image.path})" for image in alone[:5]) + (
            ", ..." if len(alone) > 5 else ""
        )
        if self.rare == "error":
            raise InputError(
                f"{type(self).__name__}: {len(alone)} training identities have one image, so that a triplet has no "
                f"positive: {named}. Leave them out with --data.rare drop, or use them with --data.rare repeat."
            )
        warnings.warn(f"{len(alone)} training identities with one image are left out: {named}.", stacklevel=2)
        return [image for image in train if len(seen[image.identity]) > 1]

    def hold_out(self, train: list[Image]) -> tuple[list[Image], tuple[list[Image], list[Image]]]:
        """Split off the validation's queries (one of each identity and camera) and gallery.

        Raises:
            InputError: If there are not enough identities seen by two cameras.
        """
        if not self.validation:
            return train, ([], [])
        cameras: dict[int, set[int]] = {}
        for image in train:
            cameras.setdefault(image.identity, set()).add(image.camera)
        eligible = sorted(identity for identity, seen in cameras.items() if len(seen) > 1)
        if len(eligible) < self.validation or len(cameras) - self.validation < 2:
            raise InputError(
                f"{type(self).__name__}: validation is {self.validation}, and of {len(cameras)} training identities "
                f"{len(eligible)} are seen by two cameras or more, as held-out ones must be."
            )
        chosen = set(np.random.default_rng(self.seed).permutation(eligible)[: self.validation].tolist())
        queries = {(image.identity, image.camera): image for image in reversed(train) if image.identity in chosen}
        query = sorted(queries.values())
        gallery = [image for image in train if image.identity in chosen and queries[image[1:]] is not image]
        return [image for image in train if image.identity not in chosen], (query, gallery)

    def sampler(self) -> BatchSampler:
        """The batches of training."""
        if self.images_per_identity is None:
            shuffled: BatchSampler = super().sampler()
            return shuffled
        return IdentityBatches(
            [image.identity for image in self.sets["train"].images],
            batch_size=self.batch_size,
            images=self.images_per_identity,
            epoch=self.epoch,
            seed=self.seed,
            **self.place(),
        )

    def describe(self) -> dict[str, Any]:
        train, test = self.sets["train"], self.sets["test"]
        images = {"train": len(train), "query": test.queries, "gallery": len(test) - test.queries}
        lists = {"train": train.images, "query": test.images[: test.queries], "gallery": test.images[test.queries :]}
        if self.validation:
            lists["val"] = self.sets["val"].images
        return {
            "data": type(self).__name__,
            "images": images,
            "identities": self.num_classes,
            "genuine": self.genuine,
            "fingerprint": fingerprint(test.root, lists),
        }
