"""What label images reveal before training: classes without pixels, other numberings, lossy files."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, some_of
from relattn.tasks.segmentation.label_files import check_format, read_labels, stored_orientation
from relattn.tasks.segmentation.labels import IGNORED, LabelMap, ranges
from relattn.tasks.segmentation.pairs import LabelledImage

LEAST = 20
"""Minimum number of label images that are read; more are read until each class has been seen."""

MOSTLY_IGNORED = 0.5
"""Share of ignored pixels above which a warning is given."""


def count_values(root: Path, pairs: Iterable[LabelledImage], label_map: LabelMap, *, stop: bool) -> NDArray[np.int64]:
    """Count how many pixels have each value in label images, `(256,)`.

    Args:
        root: The folder to which paths are relative.
        pairs: Images with their labels.
        label_map: Defines which values are classes.
        stop: Whether to stop once every class has been seen, after `LEAST` images at the earliest.

    Raises:
        InputError: If a file cannot be read, or has a value that the set does not have.
    """
    counts = np.zeros(256, np.int64)
    listed = [pair.labels for pair in pairs if pair.labels is not None]
    for number, place in enumerate(np.random.default_rng(0).permutation(len(listed)).tolist()):
        if stop and number >= LEAST and counts[label_map.ids].all():
            break
        labels = read_labels(root / listed[place])
        label_map.to_train(labels, root / listed[place])
        counts += np.bincount(labels.ravel(), minlength=256)
    return counts


def check_values(counts: NDArray[np.int64], label_map: LabelMap, split: str, *, published: bool) -> None:
    """Refuse label images of training with another numbering, or that lack a class; warn of those of other splits.

    Args:
        counts: The counts from `count_values`.
        label_map: The classes.
        split: `training`, `validation` or `test`.
        published: Whether the classes are those of a published set. A part of it may lack some, which only causes a
            warning.

    Raises:
        InputError: With the values that occur.
    """
    ids, name = label_map.ids.tolist(), label_map.name
    values, total = np.flatnonzero(counts).tolist(), max(int(counts.sum()), 1)
    shares = some_of([f"{value} ({100 * counts[value] / total:.1f} %)" for value in values], 12)
    missing = [label_map.classes[place] for place, number in enumerate(ids) if not counts[number]]
    from_zero = list(range(len(ids)))
    if split != "training":
        if values == [0, IGNORED] and IGNORED not in ids:
            warnings.warn(
                f"{name}: the label images of {split} hold {shares}, and {IGNORED} is ignored. If it is a class, say "
                f"so: --data.ids [0,{IGNORED}].",
                stacklevel=3,
            )
        return
    if missing and ids != from_zero and {*values} <= {*from_zero, IGNORED}:
        raise InputError(
            f"{name}: label images of training hold {shares}, as train ids from 0 on do, and classes are "
            f"{ranges(sorted(ids))}. Put the set's own label ids there, or say what they hold (--data.ids of Folders)."
        )
    if missing and not published:
        hint = "Remove the class, or add images."
        if values == [0, IGNORED] and IGNORED not in ids:
            hint = f"If {IGNORED} is a class and not to be ignored, say so: --data.ids [0,{IGNORED}]."
        elif 0 in ids and not counts[0] and values and values[0] == 1:
            hint = f"If they count from 1, say so: --data.ids [{','.join(str(number + 1) for number in from_zero)}]."
        raise InputError(
            f"{name}: no pixel of the label images of training is of {some_of(missing)}; they hold {shares}. {hint}"
        )
    if missing:
        warnings.warn(f"{name}: no pixel of the label images of training is of {some_of(missing)}.", stacklevel=3)
    ignored = [value for value in values if value not in ids]
    share = sum(int(counts[value]) for value in ignored) / total
    if share > MOSTLY_IGNORED:
        warnings.warn(
            f"{name}: {100 * share:.0f} % of the pixels of training hold {ranges(ignored)}, which are ignored: neither "
            "trained on nor scored.",
            stacklevel=3,
        )


def check_label_files(root: Path, pairs: Iterable[LabelledImage]) -> None:
    """Refuse label images compressed with loss, and warn of images that EXIF rotates while their labels stay unrotated.

    Raises:
        InputError: If a label image is compressed with loss, for example a JPEG.
    """
    turned = []
    for pair in pairs:
        if pair.labels is None:
            continue
        check_format(root / pair.labels)
        if stored_orientation(root / pair.image) != 1 == stored_orientation(root / pair.labels):
            turned.append(pair.image)
    if turned:
        warnings.warn(
            f"{root}: {len(turned):,} images are turned upright by their EXIF orientation, and their label images, "
            f"which have none, are taken as upright: {some_of(turned)}.",
            stacklevel=3,
        )
