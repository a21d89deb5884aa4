"""The images that figures are drawn of: those of a data set's evaluation, or files, as a network sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError
from relattn.inference.loading import read
from relattn.runs.stored_config import built, part_of
from relattn.tasks.base import Data, Task
from relattn.tasks.classification.cifar import CIFAR
from relattn.tasks.classification.device_batches import DeviceBatches
from relattn.tasks.embedding_task import EmbeddingTask
from relattn.tasks.face.data import CENTRE, RANGE, FacesData
from relattn.tasks.images import ImageData, read_image
from relattn.tasks.reid.augmentation import MEAN, STD
from relattn.tasks.reid.data import PeopleData
from relattn.tasks.samplers import Draw
from relattn.tasks.segmentation.augmentation import STATISTICS, Pipeline
from relattn.tasks.segmentation.data import StreetsData

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """Images, B of them."""

    images: Tensor
    """(B, 3, H, W) float32, what the network sees."""
    pixels: list[Pixels]
    """(H, W, 3) uint8 RGB each, what a figure shows of it."""
    names: list[str]
    truths: list[NDArray[np.uint8] | None]
    """(H, W) train ids each, in segmentation; None where they are not known."""


def data_of(checkpoint: Path | str, root: Path | str | None = None) -> Data:
    """The data set of a checkpoint's run, not set up yet: nothing is read.

    Args:
        checkpoint: A checkpoint of `relattn fit`.
        root: Where the data are, if they have moved.
    """
    config = part_of(read(checkpoint), "data", str(checkpoint))
    arguments = config["init_args"]
    if root is not None:
        arguments["root"] = str(root)
    if "crop" in arguments:
        arguments.pop("image_size", None)  # earlier checkpoints name it; it is the crop
    return built(Data, config, str(checkpoint))


def statistics(data: Data) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of RGB in [0, 255] that images are normalised with."""
    if isinstance(data, FacesData):
        mean, std = (CENTRE,) * 3, (RANGE,) * 3
        return np.array(mean), np.array(std)
    if isinstance(data, CIFAR):
        mean, std = data.mean, data.std
    elif isinstance(data, StreetsData):
        mean, std = STATISTICS[data.normalisation]  # type: ignore[assignment]
    elif isinstance(data, PeopleData):
        mean, std = MEAN, STD
    else:
        raise InputError(f"Figures know the images of CIFAR, people, streets and faces, not of {type(data).__name__}.")
    return 255 * np.array(mean), 255 * np.array(std)


def shown(images: Tensor, data: Data) -> list[Pixels]:
    """Undo the normalisation of images (B, 3, H, W)."""
    mean, std = statistics(data)
    pixels = images.permute(0, 2, 3, 1).double().cpu().numpy() * std + mean
    return list(pixels.round().clip(0, 255).astype(np.uint8))


def evenly(data: Data, count: int, split: str = "test") -> list[int]:
    """The places of `count` images of a split, as far from each other as they can be; of people, among the queries."""
    images = data.sets[split]  # type: ignore[attr-defined]
    total = len(images[1]) if isinstance(data, CIFAR) else getattr(images, "queries", 0) or len(images)
    return sorted({int(place) for place in np.linspace(0, total - 1, min(count, total)).round()})


def from_data(data: Data, places: Sequence[int], split: str = "test") -> Pictures:
    """Images of a split of a data set that is set up.

    Raises:
        InputError: If there is no such place, or the images are of different sizes.
    """
    images = data.sets[split]  # type: ignore[attr-defined]
    total = len(images[1]) if isinstance(data, CIFAR) else len(images)
    for place in places:
        if not 0 <= place < total:
            raise InputError(f"--images has {place}, and {type(data).__name__} has the test images 0 to {total - 1}.")
    truths: list[NDArray[np.uint8] | None] = [None] * len(places)
    if isinstance(data, CIFAR):
        chosen = tuple(part[list(places)] for part in images)
        batches = DeviceBatches(*chosen, batch_size=len(places), mean=data.mean, std=data.std)
        batch = next(iter(batches))
    else:
        assert isinstance(data, ImageData)
        samples = [images[Draw(place, 0)] for place in places]
        check_sizes([tuple(sample["image"].shape[:2]) for sample in samples])
        batch = type(data).collate(samples)
        if isinstance(data, StreetsData):
            truths = [label.numpy().astype(np.uint8) for label in batch["label"]]
    return Pictures(batch["image"], shown(batch["image"], data), [f"image {place}" for place in places], truths)


def from_files(task: Task, data: Data, files: Sequence[Path]) -> Pictures:
    """Image files, prepared as the task prepares those of its evaluation.

    Raises:
        InputError: If one cannot be read, or they are of different sizes where they are not resized.
    """
    prepared = []
    for file in files:
        pixels: Any = read_image(file)
        if isinstance(task, EmbeddingTask):
            prepared.append(torch.from_numpy(task.preparation()(pixels)))
        elif isinstance(data, StreetsData):
            pipeline = Pipeline(data.image_size, normalisation=data.normalisation, scale=data.image_scale)
            labels = np.zeros(pixels.shape[:2], np.uint8)
            prepared.append(torch.from_numpy(pipeline(*pipeline.resize(pixels, labels), 0)[0]))
        else:
            import cv2

            height, width = data.image_size
            mean, std = statistics(data)
            resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
            prepared.append(torch.from_numpy(((resized - mean) / std).astype(np.float32)))
    check_sizes([(image.shape[0], image.shape[1]) for image in prepared])
    images = torch.stack(prepared).permute(0, 3, 1, 2)
    return Pictures(images, shown(images, data), [file.name for file in files], [None] * len(files))


def check_sizes(sizes: Sequence[tuple[int, ...]]) -> None:
    """Raise an InputError unless all images have one size."""
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width in sorted(set(sizes)))  # type: ignore[misc]
        raise InputError(f"The images of one figure have one size, and these have {listed}: draw them one at a time.")
