"""Classes of the segmentation data sets: values in label images, train ids, and colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError
from relattn.synthetic.streets.labels import LABELS

Labels = NDArray[np.uint8]

IGNORED = 255
"""The train id of pixels that count in neither the loss nor the scores."""

UNKNOWN = 254
"""Marks ids that a set does not have, so that they are found."""


class LabelMap:
    """Translates between the ids in a set's label images and train ids: 0 to C - 1, and 255 for pixels to ignore.

    Predictions are translated back only to the ids of the C classes: a void id is never predicted.
    """

    def __init__(
        self, classes: Sequence[str], palette: Any, ids: Sequence[int], ignored: Sequence[int], *, name: str
    ) -> None:
        """Define the translation.

        Args:
            classes: Name of each class.
            palette: Colour of each class, (C, 3) RGB.
            ids: The value in label images of each class.
            ignored: The values in label images of pixels to ignore.
            name: Name of the set in messages.

        Raises:
            InputError: If there are no classes or more than 254, two have one name, or an id has two meanings.
        """
        if not 1 <= len(classes) <= UNKNOWN:
            raise InputError(f"{name}: there are {len(classes)} classes, expected 1 to {UNKNOWN}.")
        if len(set(classes)) < len(classes):
            raise InputError(f"{name}: classes are {list(classes)}, expected each of them once.")
        if len({*ids, *ignored}) < len(ids) + len(ignored) or len(ids) != len(classes):
            raise InputError(f"{name}: each of the {len(classes)} classes needs one id of its own, got {list(ids)}.")
        self.classes, self.palette, self.name = list(classes), np.array(palette, np.uint8), name
        self.ids = np.array(ids, np.uint8)
        self.table = np.full(256, UNKNOWN, np.uint8)
        self.table[self.ids] = np.arange(len(ids))
        self.table[list(ignored)] = IGNORED
        self.known = sorted([*ids, *ignored])

    def to_train(self, labels: Labels, file: Path | str) -> Labels:
        """Translate the ids of a label image, (H, W), to train ids.

        Args:
            labels: The ids, which are not changed.
            file: The file they come from, for messages.

        Raises:
            InputError: If an id occurs that the set does not have.
        """
        found: Any = cv2.LUT(labels, self.table)
        wrong = found == UNKNOWN
        if wrong.any():
            ids = np.unique(labels[wrong]).tolist()
            raise InputError(
                f"{file}: {int(wrong.sum()):,} pixels have the label {', '.join(map(str, ids[:5]))}, and {self.name} "
                f"has {ranges(self.known)}. Put the set's own label images there, not coloured or renumbered ones."
            )
        return found

    def to_ids(self, predictions: Labels | Tensor) -> Labels:
        """Translate predicted train ids, of any shape, to the set's ids, for writing as an image.

        Raises:
            InputError: If a prediction is not one of the classes.
        """
        if isinstance(predictions, Tensor):
            predictions = predictions.to(torch.int64).cpu().numpy()
        found = np.asarray(predictions)
        if found.size and not 0 <= found.min() <= found.max() < len(self.ids):
            raise InputError(
                f"{self.name}: predictions are {found.min()} to {found.max()}, expected train ids from 0 to "
                f"{len(self.ids) - 1}."
            )
        return self.ids[found]

    def colour(self, labels: Labels) -> NDArray[np.uint8]:
        """Colour train ids, (H, W), by the palette: (H, W, 3) RGB, with black for ignored pixels."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(self.palette)] = self.palette
        return palette[labels]


def ranges(numbers: Sequence[int]) -> str:
    """Format numbers in words, joining neighbours: `0 to 11, 255`."""
    starts = [number for number in numbers if number - 1 not in numbers]
    stops = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, stops, strict=True))


SCORED = tuple(sorted((label for label in LABELS if label.train_id is not None), key=lambda label: label.train_id or 0))

CITYSCAPES = LabelMap(
    [label.name for label in SCORED],
    [label.colour for label in SCORED],
    [label.id for label in SCORED],
    # The official scripts give a licence plate the id -1, which an image of bytes stores as 255.
    [*(label.id for label in LABELS if label.train_id is None), 255],
    name="Cityscapes",
)

CITYSCAPES_WEIGHTS = (
    0.8373, 0.9180, 0.8660, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023, 0.9539, 0.9843, 1.1116, 0.9037,
    1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)  # fmt: skip
"""Class weights in the loss, OCNet's (Yuan and Wang, arXiv:1809.00916), in the order of the train ids."""

CAMVID = LabelMap(
    ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"],
    [
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ],
    range(11),
    [11, 255],
    name="CamVid",
)  # fmt: skip
"""The 11 classes of SegNet (Badrinarayanan et al., PAMI 2017) and its colours; 11 is unlabelled."""


def own_labels(
    classes: Sequence[str], ignored: Sequence[int] | None, name: str, ids: Sequence[int] | None = None
) -> LabelMap:
    """Build the translation for the user's own label images, with well-separated colours.

    Args:
        classes: Name of each class.
        ignored: The values in label images of pixels to ignore; by default 255, unless it is a class's.
        name: Name of the set in messages.
        ids: The value in label images of each class; by default 0, 1, ... in the order of the classes.

    Raises:
        InputError: As in `LabelMap`, or if an id is out of range.
    """
    ids = list(range(len(classes))) if ids is None else [int(number) for number in ids]
    ignored = [number for number in (IGNORED,) if number not in ids] if ignored is None else list(ignored)
    if wrong := [number for number in (*ids, *ignored) if not 0 <= number <= 255]:
        raise InputError(f"{name}: ids and ignored have {wrong[0]}, and label images hold ids from 0 to 255.")
    numbers = np.arange(len(classes))
    # Hues begin at blue and differ by the golden ratio; saturation and brightness cycle through a few values.
    shades = np.stack([(0.6 + numbers * 0.61803) % 1 * 360, 1 - numbers % 3 * 0.24, 0.92 - numbers % 2 * 0.3], axis=1)
    colours = cv2.cvtColor(shades[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0] if len(classes) else shades
    palette = np.rint(255 * colours).astype(np.uint8)
    return LabelMap(classes, palette, ids, ignored, name=name)
