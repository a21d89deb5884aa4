"""Your own photos, one folder per class as in unpacked ImageNet: `train/<class>/...`, `val/...`, `test/...`.

If all or some of these folders are missing, a share of the training images of each class is held out instead.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError, some_of
from relattn.preprocessing import Interpolation, Preprocessing
from relattn.tasks.classification.augmentation import Augmentation, Pipeline
from relattn.tasks.decoding import Pixels
from relattn.tasks.files import check_files, content_of, origin
from relattn.tasks.fingerprint import fingerprint
from relattn.tasks.image_data import ImageData, ImageSet, Unvaried, stacked
from relattn.tasks.image_folders import (
    check_no_class_among,
    check_split_folders,
    folders_in,
    images_below,
    say_left_out,
)
from relattn.tasks.samplers import SampleIndex
from relattn.tasks.shares import (
    check_shares,
    check_trainable,
    hold_out,
    say_not_scored,
    shares_of,
    stand_in_for_missing,
)

SPLITS = ("train", "val", "test", "predict")
"""Folders that determine the split of an image."""

UNKNOWN = -1
"""Label of an image whose class is unknown."""


class Photo(NamedTuple):
    """An image and its class."""

    path: str
    """Path relative to the root of the set, with forward slashes."""
    label: int


class Photos(ImageSet):
    """The images of a split.

    A sample is `image` (H, W, 3) float32, `label`, which is -1 if unknown, and `index`.
    """

    def __init__(self, root: Path, photos: list[Photo], prepare: Callable[[Pixels, int], NDArray[np.float32]]) -> None:
        """Keep the images; `prepare` maps pixels and a seed to the network's input."""
        self.root, self.photos, self.prepare = root, photos, prepare

    def __len__(self) -> int:
        """Number of images."""
        return len(self.photos)

    def image_key(self, index: int) -> Any:
        return self.root, self.photos[index].path

    def image_name(self, index: int) -> str:
        return str(self.root / self.photos[index].path)

    def relative_path(self, index: int) -> str:
        return self.photos[index].path

    def encoded(self, index: int) -> bytes:
        return content_of(self.root / self.photos[index].path)

    def __getitem__(self, request: SampleIndex) -> dict[str, Any]:
        """Read and prepare an image."""
        photo = self.photos[request.index]
        pixels = self.prepare(self.decoded(request.index), request.seed)
        return {"image": torch.from_numpy(pixels), "label": photo.label, "index": request.index}


class ImageFolders(ImageData):
    """Your own photos: a folder for each class, in train, val and test or with a share held out."""

    collate = staticmethod(stacked)

    holding_out = "--data.validation 0.2 holds out that share of the training images"

    def __init__(
        self,
        root: Path | str,
        *,
        classes: Sequence[str] | None = None,
        validation: float = 0.0,
        test: float | None = None,
        split_seed: int = 0,
        image_size: tuple[int, int] = (224, 224),
        batch_size: int = 32,
        eval_batch_size: int = 64,
        interpolation: Interpolation = "antialiased",
        augmentation: Augmentation | None = None,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains a folder for each class, or `train`, `val` and `test` with such folders.
                `relattn predict` takes the images in `predict`, or in `root` itself, and needs no labels.
            classes: Names of the class folders in the order of the class numbers; by default all, sorted.
            validation: Without `val`, the share of each class in training that is held out for validation. With 0, the
                curves of a run are computed on the test set; nothing is chosen by them.
            test: Without `test`, the share of each class in training that is held out for the test; by default 0.2, or
                0 if there is `val`, which then serves as the test set. With 1, all images are scored or predicted, and
                none can be trained on.
            split_seed: Seed of the split into these shares. It is independent of the run's seed, so that runs with
                different seeds have the same test set.
            image_size: Height and width in pixels: images are resized to cover it, and their centre is cropped.
            batch_size: Images per step, over all GPUs together.
            eval_batch_size: Images per evaluation step on each GPU.
            interpolation: How images are resized in training and evaluation; see `relattn.preprocessing.resize`.
            augmentation: Augmentation of training images.
            arguments: Arguments shared by all image data sets, see `ImageData`.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__(
            root, image_size=image_size, batch_size=batch_size, eval_batch_size=eval_batch_size, **arguments
        )
        check_shares("ImageFolders", validation=validation, test=test or 0.0)
        self.expect(split_seed=(split_seed, 0))
        if classes is not None and (not classes or len(set(classes)) < len(classes)):
            raise InputError(f"ImageFolders: classes are {list(classes)}, expected one or more names, each once.")
        self.classes = None if classes is None else list(classes)
        self.validation, self.test, self.split_seed = validation, test, split_seed
        self.interpolation, self.augmentation = interpolation, augmentation or Augmentation()

    def preprocessing(self) -> Preprocessing:
        return Preprocessing(self.image_size, "cover", self.interpolation)

    def read(self, splits: Sequence[str]) -> None:
        if not self.root.is_dir():
            raise MissingFileError(f"ImageFolders: there is no folder {self.root}. Name it with --data.root.")
        check_split_folders(self.root, SPLITS, "ImageFolders")
        if "train" in splits:
            check_trainable("ImageFolders", self.test)
        there = [split for split in SPLITS if (self.root / split).is_dir()]
        parts = [split for split in there if split != "predict"]
        check_no_class_among(self.root, SPLITS, "ImageFolders")
        names = self.names_of_classes(parts)
        loose = not parts and bool(images_below(self.root, deep=False).paths)
        unsorted = not names or (not parts and not self.are_classes(names))
        if tuple(splits) == ("predict",) and ("predict" in there or loose or unsorted):
            found = self.unlabelled(there)
        elif not names:
            raise InputError(
                f"ImageFolders: {self.root} has no class folders. Expected {self.root}/<class>/ with images, or "
                "such folders in train, val and test."
            )
        else:
            found = self.labelled(parts, names)
            if "train" not in splits and not parts and self.is_new():
                rest, shares = len(found["train"]), shares_of(parts, validation=self.validation, test=self.test)
                total = len({photo.path for photos in found.values() for photo in photos})
                say_not_scored(self.root, rest, total, shares["test"])
            if "train" in splits and "train" not in found:
                raise MissingFileError(
                    f"ImageFolders: {self.root} has {', '.join(parts)} and no train. Expected train/<class>/ beside "
                    "it, or folders of classes alone."
                )
            found = {split: found[split] for split in splits}
            self.class_names, self.num_classes = names, len(names)
        if self.check_files:
            check_files(self.root, sorted({photo.path for photos in found.values() for photo in photos}))
        plain = Unvaried(self.preprocessing())
        varied = Pipeline(self.preprocessing(), self.augmentation)
        self.sets |= {
            split: Photos(self.root, photos, varied if split == "train" else plain) for split, photos in found.items()
        }
        self.origin = origin("ImageFolders", self.root)

    def names_of_classes(self, parts: Sequence[str]) -> list[str]:
        """The names of the classes: those that the user lists, or else the training folders.

        Without training folders, the folders may lack classes of the network that is used.
        """
        if self.classes is not None:
            return self.classes
        if parts:
            found = folders_in(self.root / ("train" if "train" in parts else parts[0]))
        else:
            found = [name for name in folders_in(self.root) if name != "predict"]
        known = self.classes_of_network()
        return list(known) if found and known and {*found} < {*known} else found

    def are_classes(self, names: Sequence[str]) -> bool:
        """Whether folders are classes of the network that is used, and not, for example, years of unsorted photos."""
        known = self.classes_of_network()
        return known is None or {*names} <= {*known}

    def classes_of_network(self) -> Sequence[str] | None:
        """The names of the classes of the trained network that is used, if there is one and they are known."""
        trained_for: Any = getattr(getattr(self.trainer, "lightning_module", None), "trained_for", None)
        found: Sequence[str] | None = None if trained_for is None else trained_for.get("class_names")
        return found

    def unlabelled(self, there: Sequence[str]) -> dict[str, list[Photo]]:
        """Find the images without labels, for prediction.

        Raises:
            MissingFileError: If there are none.
        """
        found = images_below(self.root, "predict" if "predict" in there else ".")
        say_left_out(self.root, found.left_out)
        if not found.paths:
            raise MissingFileError(f"ImageFolders: there is no image in {self.root}.")
        return {"predict": [Photo(path, UNKNOWN) for path in found.paths]}

    def labelled(self, parts: Sequence[str], names: list[str]) -> dict[str, list[Photo]]:
        """Find the images of all splits, with shares held out as the options say; training may be missing.

        Raises:
            InputError: If there is nothing to score.
        """
        found = {part: self.photos_of(part, names) for part in parts} or {"train": self.photos_of("", names)}
        if "train" in found:
            train, shares = found["train"], shares_of(found, validation=self.validation, test=self.test)
            found |= hold_out(train, [photo.label for photo in train], shares, self.split_seed)
        stand_in_for_missing(found)
        if not found["test"]:
            raise InputError(
                f"ImageFolders: there are no test images in {self.root}. Add a folder test, or hold a share out of "
                "training with --data.test, above 0."
            )
        return found

    def photos_of(self, part: str, names: list[str]) -> list[Photo]:
        """Find the images of a folder that contains the class folders.

        Raises:
            InputError: If it contains a folder that is not one of the classes.
        """
        folder = self.root / part
        others = SPLITS if not part else ()
        if strange := [name for name in folders_in(folder) if name not in names and name not in others]:
            raise InputError(
                f"ImageFolders: {folder} has folders that are not training classes: {some_of(strange)}. Expected "
                f"{some_of(names)}; rename or remove them, or name all classes with --data.classes."
            )
        photos: list[Photo] = []
        left_out: list[str] = []
        for label, name in enumerate(names):
            found = images_below(self.root, f"{part}/{name}" if part else name)
            photos += [Photo(path, label) for path in found.paths]
            left_out += found.left_out
        loose = images_below(self.root, part or ".", deep=False)
        say_left_out(self.root, [*left_out, *loose.left_out])
        say_left_out(self.root, loose.paths, "in no folder of a class")
        return photos

    def check(self) -> None:
        if "train" not in self.sets:
            return
        counts = Counter(photo.label for photo in self.sets["train"].photos)
        names = self.class_names or []
        if missing := [name for label, name in enumerate(names) if not counts[label]]:
            raise InputError(
                f"ImageFolders: no training image belongs to {some_of(missing)}. Add images to these folders of "
                f"{self.root}, or remove them."
            )
        if alone := [name for label, name in enumerate(names) if counts[label] == 1]:
            warnings.warn(
                f"{len(alone)} classes of {self.root} have one training image: {some_of(alone)}.", stacklevel=2
            )
        if len(names) < 2:
            raise InputError(f"ImageFolders: {self.root} has one class, {names[0]}, so there is nothing to classify.")

    def class_shares(self) -> dict[str, float]:
        """The share of each class in the training images."""
        counts = Counter(photo.label for photo in self.sets["train"].photos)
        return {name: counts[label] / counts.total() for label, name in enumerate(self.class_names or [])}

    def describe(self) -> dict[str, Any]:
        images = {split: len(part) for split, part in self.sets.items()}
        return {
            "data": type(self).__name__,
            "images": images,
            "classes": len(self.class_names or []),
            **self.origin,
            "fingerprint": fingerprint(self.root, {split: part.photos for split, part in self.sets.items()}),
        }
