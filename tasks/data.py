"""The contract of a data set: its loaders, and the methods that the rest of the suite calls.

Code that serves all tasks (records, prediction, figures, export, `relattn data check`) calls the methods of `Data`.
Their defaults suffice for image classification with a data set that only provides loaders.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import default_collate

from relattn.errors import InputError
from relattn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from relattn.tasks.decoding import read_image


def check_one_size(shapes: Iterable[Sequence[int]]) -> None:
    """Check that the images of a figure have one size.

    Args:
        shapes: The shape of each image, in any layout that is the same for all.

    Raises:
        InputError: If they differ.
    """
    sizes = sorted({tuple(shape) for shape in shapes})
    if len(sizes) > 1:
        listed = ", ".join(" x ".join(map(str, size)) for size in sizes)
        raise InputError(
            f"All images of a figure must have one size, and these have {listed}: draw one at a time, with --images 0."
        )


class Data(LightningDataModule):
    """A data set with its loaders; `setup` must set `num_classes` and `image_size`."""

    num_classes: int
    """Number of classes (or identities) in the training set."""

    image_size: tuple[int, int]
    """Height and width of the images that the network is built for, in pixels."""

    class_names: Sequence[str] | None = None
    """Names of the classes in the order of their indices; None if they have none."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of RGB in [0, 1], used by the default `preprocessing`."""

    std: tuple[float, ...] = IMAGENET_STD

    joint: ClassVar[str] = ""
    """Class path of the data set that trains on several such sets at once, called with `joined`; empty for none."""

    holding_out: ClassVar[str] = "no option of this data set gives one"
    """How to get a validation set that is not the test set: a phrase that names the option, for messages."""

    trained_on: str | None = None
    """The folder of the data that the network in use was trained on; None if it is being trained, or unknown."""

    def __init__(self) -> None:
        """Start without samples."""
        super().__init__()
        self.sets: dict[str, Any] = {}
        """The samples by split: `train`, `val`, `test` and, if it differs from the test set, `predict`. A data set that
        only has loaders leaves it empty."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Describe the data for the run's record: name, images per split, whether the set is genuine, fingerprint."""

    def splits_of(self, stage: str) -> tuple[str, ...]:
        """The splits that `setup` reads for a Lightning stage: scoring and prediction need no training images.

        Validation needs them if its images are held out from training.
        """
        if stage == "validate" and getattr(self, "validation", None):
            return ("train", "val")
        splits = {"fit": ("train", "val", "test"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
        return splits[stage]

    def preprocessing(self) -> Preprocessing:
        """How evaluation prepares an image; known without reading any file.

        The default stretches images to `image_size` and normalises them by `mean` and `std`. Override it in a data set
        that prepares its images in another way.
        """
        return Preprocessing(self.image_size, mean=self.mean, std=self.std)

    def prepare_as(self, preprocessing: Preprocessing) -> None:
        """Prepare images for a network that was trained on another kind of data; called before `setup`."""
        self.image_size, self.mean, self.std = preprocessing.size, preprocessing.mean, preprocessing.std
        self.preprocessing = lambda: preprocessing  # type: ignore[method-assign]

    def sample(self, file: Path | str) -> Tensor:
        """Read an image file and prepare it as in evaluation, `(3, H, W)` float32.

        Raises:
            InputError: If it cannot be read.
        """
        return torch.from_numpy(self.preprocessing()(read_image(Path(file)))).permute(2, 0, 1).contiguous()

    def check(self) -> None:
        """Check everything that can be known about the data before training; called after `setup`.

        Raises:
            InputError: If labels or images cannot be trained or scored with.
        """

    def class_shares(self) -> dict[str, float]:
        """The share of each class in training, by images or pixels, for `relattn data check`; empty if unknown."""
        return {}

    def class_shares_seen(self) -> dict[str, float]:
        """The same in the labels that `check` has read, for the start of a run, which reads nothing more for it."""
        return self.class_shares()

    def specification(self) -> dict[str, Any]:
        """Describe the data that networks are built for, and their preprocessing; stored in every checkpoint.

        It suffices to build a network and prepare images without the data set.
        """
        names = None if self.class_names is None else [str(name) for name in self.class_names]
        return {
            "num_classes": self.num_classes,
            "image_size": tuple(self.image_size),
            "class_names": names or None,
            "preprocessing": self.preprocessing().as_json(),
        }

    def samples(self, split: str) -> Any:
        """Return the samples of a split: `self.sets[split]`, or else the data set of the split's loader."""
        if split in self.sets:
            return self.sets[split]
        loader = {"train": self.train_dataloader, "val": self.val_dataloader}.get(split, self.test_dataloader)()
        return getattr(loader, "dataset", loader)

    def holds_out(self) -> bool:
        """Whether validation has its own images, none of which is a test image; known after `setup` for training."""
        validation, test = self.samples("val"), self.samples("test")
        keys = [
            {samples.image_key(index) for index in range(len(samples))} if hasattr(samples, "image_key") else set()
            for samples in (validation, test)
        ]
        return validation is not test and keys[0].isdisjoint(keys[1])

    def count(self, split: str) -> int:
        """Number of images of a split that figures and pictures choose from."""
        return len(self.samples(split))

    def examples(self, split: str, indices: Sequence[int]) -> dict[str, Any]:
        """Collate images of a split into a batch, prepared as in evaluation; it has at least `image` `(B, 3, H, W)`.

        Raises:
            InputError: If there is no such image, or the images differ in size.
        """
        self.check_indices(split, indices)
        samples = self.samples(split)
        batch: dict[str, Any] = default_collate([samples[index] for index in indices])
        return batch

    def check_indices(self, split: str, indices: Sequence[int]) -> None:
        """Raise an InputError unless the split has images at all these indices."""
        total = self.count(split)
        if wrong := [index for index in indices if not 0 <= index < total]:
            raise InputError(
                f"Image {wrong[0]} of the {split} set is requested, but {type(self).__name__} has 0 to {total - 1}."
            )
