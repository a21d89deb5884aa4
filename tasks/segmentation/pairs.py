"""Images with their label images: the common form of all segmentation data sets, and checks of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from relattn.errors import InputError, MissingFileError, some_of
from relattn.tasks.decoding import size_of
from relattn.tasks.files import file_fault
from relattn.tasks.image_folders import images_below, say_left_out


class LabelledImage(NamedTuple):
    """An image and its labels, as paths relative to the root of the set, with forward slashes."""

    image: str
    labels: str | None
    """None if the labels are not public."""


def images_in(root: Path, folder: str) -> list[str]:
    """List the paths of all image files below a folder, relative to it, sorted; a warning names other files."""
    found = images_below(root / folder)
    say_left_out(root / folder, found.left_out)
    return found.paths


def matched(
    images: Iterable[tuple[str, str]], labels: Iterable[tuple[str, str]], what: str, root: Path
) -> list[LabelledImage]:
    """Match images and label images by their keys.

    Args:
        images: Key and path of each image.
        labels: Key and path of each label image.
        what: Name of the split in messages.
        root: The folder to which the paths are relative.

    Raises:
        InputError: If two files have the same key.
        MissingFileError: If there is no image, or an image has no label image, or the reverse.
    """
    by_key, of_labels = by_keys(images), by_keys(labels)
    if not by_key and not of_labels:
        raise MissingFileError(f"{what}: there is no image in {root}. Unpack the archive again.")
    for kind, other, own, others in (
        ("images", "no labels", by_key, of_labels),
        ("label images", "no image", of_labels, by_key),
    ):
        if alone := [own[key] for key in sorted(own.keys() - others.keys())]:
            raise MissingFileError(
                f"{what} in {root}: {len(alone):,} of {len(own):,} {kind} have {other}: {some_of(alone)}. An archive "
                "was not unpacked completely: unpack it again, or remove these files."
            )
    return [LabelledImage(by_key[key], of_labels[key]) for key in sorted(by_key)]


def by_keys(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Files by key; each key may belong to one file only."""
    found: dict[str, str] = {}
    for key, path in files:
        if key in found:
            raise InputError(f"{found[key]} and {path} belong to the same labels or image. Remove or rename one.")
        found[key] = path
    return found


def check_pairs(root: Path, pairs: Sequence[LabelledImage]) -> set[tuple[int, int]]:
    """Check the head and the end of every file, without decoding any.

    Returns:
        The sizes that occur, height and width.

    Raises:
        InputError: If files are missing, empty, cut off or not images, or labels differ in size from their image.
    """
    files = [path for pair in pairs for path in pair if path is not None]
    wrong = [f"{path} ({reason})" for path in files if (reason := file_fault(str(root / path)))]
    if wrong:
        raise InputError(
            f"{len(wrong):,} of the {len(files):,} files in {root} cannot be used: {some_of(wrong)}. Unpack the "
            "archive again, or replace these files."
        )
    sizes = set()
    for pair in pairs:
        size = size_of(root / pair.image)
        sizes.add(size)
        if pair.labels is not None and (other := size_of(root / pair.labels)) != size:
            raise InputError(different_sizes(root / pair.labels, other, size))
    return sizes


def different_sizes(file: Path, size: Sequence[int], image: Sequence[int]) -> str:
    """The message for labels whose size differs from their image's; sizes are height and width."""
    turned = ""
    if tuple(size[:2]) == (image[1], image[0]):
        turned = " Images are turned upright by their EXIF orientation: turn the label image as well."
    return (
        f"{file} is {size[0]} x {size[1]} pixels (height x width), and its image {image[0]} x {image[1]}: each pixel "
        f"needs its label. Put label images of the images' size there.{turned}"
    )
