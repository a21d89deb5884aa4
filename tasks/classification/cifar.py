"""CIFAR-10 and CIFAR-100 in their original python layout, kept completely on the training device.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. 50,000 training and 10,000 test images,
32x32, in 10 classes or in 100 (20 coarse classes of 5 each).
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from relattn.errors import InputError, MissingFileError
from relattn.preprocessing import Preprocessing
from relattn.tasks.classification.device_batches import DeviceBatches
from relattn.tasks.data import Data
from relattn.tasks.files import not_found, origin
from relattn.tasks.fingerprint import combined
from relattn.tasks.image_data import ImageSet
from relattn.tasks.samplers import SampleIndex
from relattn.unpickle import unpickle

SIZE = 32
PIXELS = 3 * SIZE * SIZE

Part = tuple[Tensor, Tensor]
"""Images `(N, 32, 32, 3)` uint8 and labels `(N,)` int64."""


class CIFARImages(ImageSet):
    """The images of a split, completely in memory.

    Attributes:
        images: `(N, 32, 32, 3)` uint8.
        labels: `(N,)` int64.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        """Keep the images and labels."""
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitem__(self, request: SampleIndex) -> dict[str, Any]:
        """Return the image `(32, 32, 3)` uint8, its `label` and its `index`."""
        index = request.index
        return {"image": self.images[index], "label": int(self.labels[index]), "index": index}

    def inspect(self, index: int) -> bytes:
        """Return a digest of the pixels; there is no file to check, since `setup` has read it completely."""
        return hashlib.blake2b(self.images[index].numpy().tobytes(), digest_size=16).digest()


class CIFAR(Data):
    """The base of CIFAR-10 and CIFAR-100."""

    image_size = (SIZE, SIZE)
    folder: ClassVar[str]
    train_files: ClassVar[dict[str, str]]
    """Training files with the MD5 digests of the genuine ones."""
    test_files: ClassVar[dict[str, str]]
    meta: ClassVar[tuple[str, str]]
    """The file that holds the names of the classes, and the key of the names in it."""
    label_key: ClassVar[str]
    holding_out = "--data.validation 5000 holds out that many training images"

    def __init__(
        self,
        root: Path | str = "data",
        *,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        padding: int = 4,
        validation: int = 0,
        split_seed: int = 0,
        seed: int | None = None,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains the set's own folder.
            batch_size: Images per step, over all GPUs together.
            eval_batch_size: Images per evaluation step on each GPU.
            padding: Width in pixels of the border of zeros around a training image before it is cropped at random.
            validation: Number of training images held out for validation. He et al. hold out 5,000 for choosing, then
                none. With 0, the curves of a run are computed on the test set; nothing is chosen by them, and the
                run reports its last epoch.
            split_seed: Seed of the choice of held-out images. It is independent of the run's seed, so that runs with
                different seeds have the same images.
            seed: Seed of permutations, crops and flips; by default the run's seed.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("padding", padding, 0),
            ("validation", validation, 0),
            ("split_seed", split_seed, 0),
        ):
            if value < least:
                raise InputError(f"{type(self).__name__}: {name} is {value}, expected at least {least}.")
        self.root, self.padding = Path(root), padding
        self.validation, self.split_seed = validation, split_seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.sets: dict[str, CIFARImages] = {}
        self.origin: dict[str, bool] = {}
        self.digests: dict[str, str] = {}
        self.class_names: list[str] | None = None

    def setup(self, stage: str) -> None:
        """Read the files that a stage needs, once."""
        splits = self.splits_of(stage)
        if all(split in self.sets for split in splits):
            return
        training = "train" in splits
        files = {"test": self.test_files, **({"train": self.train_files} if training else {})}
        folder = self.find(files.values())
        self.class_names = self.read_class_names(folder)
        published = {name: digest for part in files.values() for name, digest in part.items()}
        self.digests = {
            name: hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest() for name in published
        }
        differing = [f"another {name}" for name, digest in self.digests.items() if digest != published[name]]
        self.origin = origin(type(self).__name__, folder, differing)
        parts = {split: read_batches(folder, part, self.label_key, self.num_classes) for split, part in files.items()}
        test = CIFARImages(*parts["test"])
        self.sets = {"test": test, "predict": test, **({} if self.validation else {"val": test})}
        if training:
            train, held_out = self.hold_out(parts["train"])
            self.sets["train"] = CIFARImages(*train)
            if held_out is not None:
                self.sets["val"] = CIFARImages(*held_out)

    def hold_out(self, train: Part) -> tuple[Part, Part | None]:
        """Split off the validation images; None if there are none.

        Raises:
            InputError: If no image is left for training.
        """
        if not self.validation:
            return train, None
        if self.validation >= len(train[0]):
            raise InputError(
                f"{type(self).__name__}: validation is {self.validation}, but there are only {len(train[0])} training "
                "images."
            )
        order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(self.split_seed))
        held_out, rest = (part.sort().values for part in (order[: self.validation], order[self.validation :]))
        return (train[0][rest], train[1][rest]), (train[0][held_out], train[1][held_out])

    def read_class_names(self, folder: Path) -> list[str]:
        """Read the names of the classes from the set's file of names.

        Raises:
            InputError: If the file does not contain them.
        """
        file, key = self.meta
        content = unpickle(folder / file)
        names = content.get(key) if isinstance(content, dict) else None
        if not isinstance(names, list) or len(names) != self.num_classes:
            raise InputError(f"{folder / file} has no list {key!r} of {self.num_classes} names.")
        return [str(name) for name in names]

    def preprocessing(self) -> Preprocessing:
        """Pass CIFAR's images unchanged, as they have the network's size; the filter is only for other images."""
        return Preprocessing(self.image_size, interpolation="area_or_linear", mean=self.mean, std=self.std)

    def prepare_as(self, preprocessing: Preprocessing) -> None:
        """Normalise as for the network's training.

        Raises:
            InputError: If the network was trained on images of another size.
        """
        if preprocessing.size != self.image_size:
            height, width = preprocessing.size
            raise InputError(
                f"The network was trained on images of {height}x{width}, and those of {type(self).__name__} are 32x32."
            )
        super().prepare_as(preprocessing)

    def examples(self, split: str, indices: Sequence[int]) -> dict[str, Any]:
        self.check_indices(split, indices)
        part, rows = self.sets[split], list(indices)
        batches = DeviceBatches(
            part.images[rows], part.labels[rows], batch_size=len(rows), mean=self.mean, std=self.std
        )
        return next(iter(batches))

    def find(self, parts: Iterable[Mapping[str, str]]) -> Path:
        """Find the folder with the files of some parts, in `root` or `root` itself.

        Raises:
            MissingFileError: If files are missing; the message says which are expected, where, and where to get them.
        """
        expected = [*(file for part in parts for file in part), self.meta[0]]
        for folder in (self.root / self.folder, self.root):
            missing = [name for name in expected if not (folder / name).is_file()]
            if not missing:
                return folder
            if len(missing) < len(expected) and folder != self.root:
                raise MissingFileError(
                    f"{folder} is incomplete: {', '.join(missing)} missing. Unpack the archive again."
                )
        name = type(self).__name__
        source = "Its author offers the python version at https://www.cs.toronto.edu/~kriz/cifar.html."
        raise not_found(name, self.root, [f"{self.folder}/{file}" for file in expected], source, name.lower())

    def batches(self, split: str) -> DeviceBatches:
        """Build the batches of a split for the trainer's device and process."""
        part = self.sets[split]
        trainer, training = self.trainer, split == "train"
        assert trainer is not None
        return DeviceBatches(
            part.images,
            part.labels,
            batch_size=self.batch_size if training else self.eval_batch_size * trainer.world_size,
            mean=self.mean,
            std=self.std,
            padding=self.padding if training else None,
            seed=self.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            device=trainer.strategy.root_device,
            repeats=training and bool(trainer.overfit_batches),  # type: ignore[attr-defined]
        )

    def train_dataloader(self) -> DeviceBatches:
        return self.batches("train")

    def val_dataloader(self) -> DeviceBatches:
        return self.batches("val")

    def test_dataloader(self) -> DeviceBatches:
        return self.batches("test")

    def predict_dataloader(self) -> DeviceBatches:
        return self.batches("test")

    def describe(self) -> dict[str, Any]:
        images = {split: len(part) for split, part in self.sets.items() if split != "predict"}
        made_of = {"files": self.digests, "validation": [self.validation, self.validation and self.split_seed]}
        return {"data": type(self).__name__, "images": images, **self.origin, "fingerprint": combined(made_of)}


def read_batches(folder: Path, files: dict[str, str], label_key: str, classes: int) -> tuple[Tensor, Tensor]:
    """Read the images `(N, 32, 32, 3)` uint8 and labels `(N,)` int64 of some files.

    Raises:
        InputError: If a file does not have CIFAR's content.
    """
    images, labels = [], []
    for name in files:
        path = folder / name
        content = unpickle(path)
        try:
            pixels, targets = content["data"], content[label_key]
        except (KeyError, TypeError) as error:
            found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
            raise InputError(f"{path} has no 'data' and {label_key!r}, as CIFAR's files have, but {found}.") from error
        if not isinstance(targets, list):
            raise InputError(f"{path}: {label_key} is of type {type(targets).__name__}, expected a list of integers.")
        if not targets:
            raise InputError(f"{path} holds no image, expected CIFAR's file as its authors give it.")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(targets), PIXELS):
            found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise InputError(
                f"{path}: data is {found}, expected uint8 ({len(targets)}, {PIXELS}), a row for each label."
            )
        if wrong := [target for target in targets if not isinstance(target, int) or not 0 <= target < classes]:
            raise InputError(f"{path}: a label is {wrong[0]!r}, expected an integer from 0 to {classes - 1}.")
        images.append(torch.from_numpy(pixels.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1).copy()))
        labels.append(torch.tensor(targets))
    return torch.cat(images), torch.cat(labels)


class CIFAR10(CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test images in 10 classes."""

    num_classes: int = 10
    folder = "cifar-10-batches-py"
    train_files: ClassVar = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    }
    test_files: ClassVar = {"test_batch": "40351d587109b95175f43aff81a1287e"}
    meta = ("batches.meta", "label_names")
    label_key = "labels"
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class CIFAR100(CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test images in 100 classes."""

    num_classes: int = 100
    folder = "cifar-100-python"
    train_files: ClassVar = {"train": "16019d7e3df5f24257cddd939b257f8d"}
    test_files: ClassVar = {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
    meta = ("meta", "fine_label_names")
    label_key = "fine_labels"
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
