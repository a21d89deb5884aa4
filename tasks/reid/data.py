"""The base of all re-identification data sets: reading, checking, augmenting and batching."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from relattn.errors import InputError, some_of
from relattn.preprocessing import Interpolation, Preprocessing
from relattn.tasks.decoding import Pixels
from relattn.tasks.embeddings import Entry
from relattn.tasks.files import content_of, departures, file_numbers, origin
from relattn.tasks.fingerprint import fingerprint
from relattn.tasks.image_data import ImageData, ImageSet, Unvaried, stacked
from relattn.tasks.reid.augmentation import Augmentation, Pipeline
from relattn.tasks.reid.checks import check_images, warn_of_labels
from relattn.tasks.reid.splits import PersonImage, Splits, hold_out_validation
from relattn.tasks.samplers import BatchSampler, EpochOver, IdentityBatches, SampleIndex

Feature = Literal["before_norm", "after_norm"]


class ReIDImages(ImageSet):
    """Images of a split, as samples for the network.

    A sample is `image` (H, W, 3) float32, `label` (class of the training set, -1 outside it), `identity`, `camera`,
    `index` (its position in the split), `file` (equal for the same file) and `query` (whether it is one). All are int64
    except the image and `query`, a bool.
    """

    def __init__(
        self,
        root: Path,
        images: list[PersonImage],
        prepare: Callable[[Pixels, int], Any],
        labels: dict[int, int] | None = None,
        queries: int = 0,
        identity_names: Mapping[int, str] | None = None,
        camera_names: Mapping[int, str] | None = None,
    ) -> None:
        """Keep the images.

        Args:
            root: The folder to which the images' paths are relative.
            images: The images.
            prepare: Maps pixels and a seed to the network's input.
            labels: The training class of each identity.
            queries: The number of queries, which are the first images.
            identity_names: Names of identities, if the data set has names other than their numbers.
            camera_names: Names of cameras, likewise.
        """
        self.root, self.images, self.prepare = root, images, prepare
        self.labels, self.queries = labels or {}, queries
        self.identity_names, self.camera_names = identity_names or {}, camera_names or {}
        # A table may list a file as both query and gallery: it must not match itself.
        self.files = file_numbers(root, [image.path for image in images]) if queries else list(range(len(images)))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def image_key(self, index: int) -> Any:
        return self.root, self.images[index].path

    def image_name(self, index: int) -> str:
        return str(self.root / self.images[index].path)

    def relative_path(self, index: int) -> str:
        return self.images[index].path

    def encoded(self, index: int) -> bytes:
        return content_of(self.root / self.images[index].path)

    def display_name(self, index: int) -> str:
        """The name of an image's identity, as the data set writes it."""
        identity = self.images[index].identity
        return self.identity_names.get(identity, str(identity))

    def entry(self, index: int) -> Entry:
        """The row of an embedding that describes an image, with names as the data set writes them."""
        image = self.images[index]
        camera = self.camera_names.get(image.camera, str(image.camera))  # an empty name is an unknown camera
        split = "query" if index < self.queries else "gallery"
        return Entry(image.path, self.display_name(index), camera, split)

    def __getitem__(self, request: SampleIndex) -> dict[str, Any]:
        """Read and prepare an image."""
        image = self.images[request.index]
        pixels = self.prepare(self.decoded(request.index), request.seed)
        return {
            "image": torch.from_numpy(pixels),
            "label": self.labels.get(image.identity, -1),
            "identity": image.identity,
            "camera": image.camera,
            "index": request.index,
            "file": self.files[request.index],
            "query": request.index < self.queries,
        }


class ReIDData(ImageData):
    """Training images in batches of identities or shuffled, and queries followed by the gallery for evaluation."""

    joint = "relattn.tasks.reid.joint.Joint"

    holding_out = "--data.validation 100 holds out that many training identities"

    feature: ClassVar[Feature] = "after_norm"
    """The feature by which RGA scores this set (supplement, section 1)."""

    collate = staticmethod(stacked)

    single_shot: bool = False
    """Whether the CMC with one gallery image per identity is also reported."""

    def __init__(
        self,
        root: Path | str = "data",
        *,
        image_size: tuple[int, int] = (256, 128),
        batch_size: int = 64,
        images_per_identity: int | None = 4,
        epoch_over: EpochOver = "identities",
        interpolation: Interpolation = "antialiased",
        augmentation: Augmentation | None = None,
        eval_batch_size: int = 128,
        validation: int = 0,
        split_seed: int = 0,
        single_image_identities: Literal["error", "drop", "repeat"] = "error",
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains the set's own folder.
            image_size: Height and width to which images are resized, in pixels.
            batch_size: Images per step, over all GPUs together.
            images_per_identity: K, the number of images of each identity in a batch; None to shuffle images.
            epoch_over: If a batch has K images of each identity, an epoch contains each of the `identities` once, or
                nearly all `images`.
            interpolation: How images are resized in training and evaluation; see `relattn.preprocessing.resize`. The
                released code of both papers uses PIL's bilinear filter, `antialiased`.
            augmentation: Augmentation of training images.
            eval_batch_size: Images per evaluation step on each GPU.
            validation: Number of training identities held out for validation, each with one query per camera. With 0,
                the curves of a run are computed on the test set; nothing is chosen by them, and the run reports its
                last epoch.
            split_seed: Seed of the choice of held-out identities. It is independent of the run's seed, so that runs
                with different seeds have the same images.
            single_image_identities: What to do about training identities with a single image, which have no positive:
                stop with an `error`, `drop` them, or `repeat` the image.
            arguments: Arguments shared by all image data sets, see `ImageData`.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__(
            root, image_size=image_size, batch_size=batch_size, eval_batch_size=eval_batch_size, **arguments
        )
        self.expect(validation=(validation, 0), split_seed=(split_seed, 0))
        self.expect(images_per_identity=(2 if images_per_identity is None else images_per_identity, 2))
        self.images_per_identity, self.epoch_over = images_per_identity, epoch_over
        self.interpolation, self.augmentation = interpolation, augmentation or Augmentation()
        self.validation, self.split_seed = validation, split_seed
        self.single_image_identities = single_image_identities

    @abstractmethod
    def read_splits(self, *, training: bool) -> Splits:
        """Find the images of the three splits; those for training only if they are needed."""

    def preprocessing(self) -> Preprocessing:
        return Preprocessing(self.image_size, interpolation=self.interpolation)

    def specification(self) -> dict[str, Any]:
        return {**super().specification(), "feature": self.feature}

    def count(self, split: str) -> int:
        """Number of queries, or of images of a split without queries."""
        return self.sets[split].queries or len(self.sets[split])

    def read(self, splits: Sequence[str]) -> None:
        training = "train" in splits
        found = self.read_splits(training=training)
        self.origin = self.origin_of(found, training=training)
        if self.check_files:
            check_images(found)
        plain = Unvaried(self.preprocessing())
        names: dict[str, Any] = {"identity_names": found.identity_names, "camera_names": found.camera_names}
        query, gallery = list(found.query), list(found.gallery)
        test = ReIDImages(found.root, query + gallery, plain, queries=len(query), **names)
        self.sets = {"test": test, "predict": test, **({} if self.validation else {"val": test})}
        if not training:
            return
        train = self.with_positives(list(found.train), found.identity_names)
        train, (query, gallery) = hold_out_validation(train, self.validation, self.split_seed, type(self).__name__)
        self.identities = sorted({image.identity for image in train})
        self.num_classes = len(self.identities)
        self.class_names = [found.identity_names.get(number, str(number)) for number in self.identities]
        labels = {identity: label for label, identity in enumerate(self.identities)}
        varied = Pipeline(self.image_size, self.augmentation, self.interpolation)
        held_out = ReIDImages(found.root, query + gallery, plain, queries=len(query), **names)
        self.sets |= {
            "train": ReIDImages(found.root, train, varied, labels, **names),
            "val": held_out if self.validation else test,
        }

    def origin_of(self, found: Splits, *, training: bool) -> dict[str, bool]:
        """The entry on the origin of the images for the run's record; warns if they are not the published ones."""
        counts = found.counts()
        published = {name: number for name, number in found.published.items() if training or name in counts}
        return origin(type(self).__name__, found.root, departures(counts, published) if published else None)

    def variant(self) -> dict[str, Any]:
        """Which of several versions or protocols of the set this is, for the run's record."""
        return {}

    def with_positives(self, train: list[PersonImage], names: Mapping[int, str]) -> list[PersonImage]:
        """The training images, where identities with a single image are treated as `single_image_identities` says."""
        if self.images_per_identity is None or self.single_image_identities == "repeat":
            return train
        seen: dict[int, list[PersonImage]] = {}
        for image in train:
            seen.setdefault(image.identity, []).append(image)
        alone = [images[0] for images in seen.values() if len(images) == 1]
        if not alone:
            return train
        named = some_of(f"{names.get(image.identity, image.identity)} ({image.path})" for image in alone)
        if self.single_image_identities == "error":
            raise InputError(
                f"{type(self).__name__}: {len(alone)} training identities have one image, so that a triplet has no "
                f"positive: {named}. Choose --data.single_image_identities drop or repeat."
            )
        warnings.warn(f"{len(alone)} training identities with one image are left out: {named}.", stacklevel=2)
        return [image for image in train if len(seen[image.identity]) > 1]

    def sampler(self) -> BatchSampler:
        """Return the sampler of training batches."""
        if self.images_per_identity is None:
            shuffled: BatchSampler = super().sampler()
            return shuffled
        return IdentityBatches(
            [image.identity for image in self.sets["train"].images],
            batch_size=self.batch_size,
            images=self.images_per_identity,
            epoch_over=self.epoch_over,
            seed=self.seed,
            **self.rank_and_world_size(),
        )

    def check(self) -> None:
        train = self.sets["train"].images if "train" in self.sets else []
        test = self.sets["test"]
        task: Any = getattr(self.trainer, "lightning_module", None)  # none where only data are checked
        warn_of_labels(
            train,
            test.images,
            test.files,
            test.queries,
            shuffled=self.images_per_identity is None,
            metric_loss=getattr(task, "loss_weight", 1.0) > 0,
            same_camera=getattr(task, "metric_arguments", {}).get("same_camera", "junk"),
        )

    def describe(self) -> dict[str, Any]:
        test = self.sets["test"]
        images = {"query": test.queries, "gallery": len(test) - test.queries}
        lists = {"query": test.images[: test.queries], "gallery": test.images[test.queries :]}
        identities = {}
        if "train" in self.sets:
            train = self.sets["train"].images
            images, lists = {"train": len(train), **images}, {"train": train, **lists}
            identities = {"identities": self.num_classes}
        if self.validation and "val" in self.sets:
            lists["val"] = self.sets["val"].images
        return {
            "data": type(self).__name__,
            "images": images,
            **identities,
            **self.origin,
            **self.variant(),
            "fingerprint": fingerprint(test.root, lists),
        }
