"""The images that figures show, from a data set's evaluation or from files, as a network sees them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from relattn.errors import InputError, some_of
from relattn.preprocessing import Pixels
from relattn.tasks.base import Task
from relattn.tasks.data import Data, check_one_size


@dataclass(frozen=True)
class FigureImages:
    """B images."""

    images: Tensor
    """`(B, 3, H, W)` float32, the input of the network."""
    pixels: list[Pixels]
    """B images `(H, W, 3)` uint8 RGB, as shown in a figure."""
    names: list[str]


def images_of_data(data: Data, split: str, indices: Sequence[int]) -> FigureImages:
    """Images from a split of a data set that is set up.

    Raises:
        InputError: If an image does not exist, or the images have different sizes.
    """
    images = data.examples(split, indices)["image"]
    return FigureImages(images, data.preprocessing().restored(images), [f"image {index}" for index in indices])


def check_alike(tasks: Mapping[str, Task]) -> None:
    """Refuse to compare networks that prepare images in different ways, since all are shown the same images.

    Raises:
        InputError: If they do; the message has what differs.
    """
    (first, task), *others = tasks.items()
    before = task.specification["preprocessing"]
    for title, other in others:
        now = other.specification["preprocessing"]
        if differing := [name for name in before if before[name] != now.get(name)]:
            said = "; ".join(f"{name} {before[name]} and {now.get(name)}" for name in differing)
            raise InputError(
                f"{first} and {title} prepare images differently ({said}), so one of them would see images unlike "
                "those of its training: draw each alone, without --beside."
            )


def of_one_size(data: Data, split: str, indices: Sequence[int]) -> list[int]:
    """Those of the images that have the size of the first; warns of the others."""
    sizes = [data.examples(split, [index])["image"].shape for index in indices]
    kept = [index for index, size in zip(indices, sizes, strict=True) if size == sizes[0]]
    if others := [index for index in indices if index not in kept]:
        warnings.warn(f"Images {some_of(others)} have another size than image {kept[0]}: left out.", stacklevel=2)
    return kept


def images_of_files(data: Data, files: Sequence[Path]) -> FigureImages:
    """Image files, prepared like the evaluation images of a data set, which need not be set up.

    Raises:
        InputError: If one cannot be read, or they have different sizes and are not resized.
    """
    samples = [data.sample(file) for file in files]
    check_one_size(sample.shape[1:] for sample in samples)
    images = torch.stack(samples)
    return FigureImages(images, data.preprocessing().restored(images), [file.name for file in files])
