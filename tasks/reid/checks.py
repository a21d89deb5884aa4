"""What is checked of a re-identification set before a run of hours starts: its splits, its counts, its files."""

import warnings

from relattn.errors import InputError
from relattn.tasks.files import check_files, some_of
from relattn.tasks.reid.splits import Splits


def check_splits(splits: Splits, name: str, *, training: bool = True, shared_numbering: bool = True) -> None:
    """Refuse empty splits, and warn of people who are trained on and searched for.

    Args:
        splits: The data set.
        name: How messages call it.
        training: Whether images to train with are needed.
        shared_numbering: Whether a number means the same person in training and in test. Where each list counts from 0
            (MSMT17) it does not, and the same numbers are no sign of anything.

    Raises:
        InputError: If there are no images to train with, none to search for, or none to search in.
    """
    for split, images in (("train", splits.train), ("query", splits.query), ("gallery", splits.gallery)):
        if not images and (training or split != "train"):
            raise InputError(
                f"{name}: there is no {split} image in {splits.root}, expected at least one. Unpack the archive again, "
                "or correct the lists."
            )
    if not shared_numbering:
        return
    test = {image.identity for images in (splits.query, splits.gallery) for image in images}
    if both := sorted(test & {image.identity for image in splits.train}):
        warnings.warn(
            f"{name} in {splits.root}: {len(both):,} identities are in training and in test ({some_of(both)}). Scores "
            "on people who were trained on say little of anybody else.",
            stacklevel=2,
        )


def check_images(splits: Splits) -> None:
    """Look at the first and the last bytes of every image, without decoding any.

    Raises:
        InputError: If files are missing, empty, cut off, or no images; the message names some of them.
    """
    paths = sorted({image.path for images in (splits.train, splits.query, splits.gallery) for image in images})
    check_files(splits.root, paths)
