"""Sets of pairs to verify, and the `.bin` files in which they are published.

Such a file (insightface: `lfw.bin`, `cfp_fp.bin`, ...) is a pickle of `(bins, issame)`: 2P encoded images, of which 2i
and 2i+1 are pair i, and P times whether both show the same person. The order matters: the ten folds of the protocol
(Huang et al., "Labeled Faces in the Wild", 2008) are cut from it, and pairs are listed so that each fold has equally
many same and different ones. Some files were written by Python 2, where images are `str`, others by Python 3, where
they are `bytes` or arrays of uint8.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, some_of
from relattn.tasks.decoding import Pixels, decode_image
from relattn.tasks.files import content_of
from relattn.tasks.fingerprint import fingerprint
from relattn.tasks.image_formats import fault_of_content
from relattn.unpickle import unpickle

OFFICIAL = {"lfw": 6000, "cplfw": 6000, "calfw": 6000, "cfp_fp": 7000, "agedb_30": 6000}
"""The verification sets of StRA's Table 4, and the number of pairs of each."""


@dataclass(frozen=True, eq=False)
class VerificationSet:
    """Pairs of images, in the official order."""

    name: str

    origin: Path
    """The file from which the set was read, for messages."""

    images: Sequence[bytes | Path]
    """2P encoded images, in memory or on disk; images 2i and 2i+1 are pair i."""

    same: NDArray[np.bool_]
    """`(P,)`: whether a pair shows one person."""

    folds: int | None = None
    """Number of folds that the list states; None if it does not."""

    def __len__(self) -> int:
        """Number of images, 2P."""
        return len(self.images)

    def encoded(self, index: int) -> bytes:
        """Read an image file.

        Raises:
            InputError: If it cannot be read.
        """
        image = self.images[index]
        return image if isinstance(image, bytes) else content_of(image)

    def read(self, index: int) -> Pixels:
        """Decode an image to `(H, W, 3)` uint8 RGB.

        Raises:
            InputError: If it cannot be read or decoded.
        """
        return decode_image(self.encoded(index), self.where(index))

    def fingerprint(self) -> str:
        """Identify the pairs by a digest, with the size of the file or of the images."""
        folder = self.origin.parent
        files = [os.path.relpath(image, folder) for image in self.images if isinstance(image, Path)]
        rows = [(self.origin.name, self.same.tolist()), *((file, index) for index, file in enumerate(files))]
        return fingerprint(folder, {self.name: rows})

    def where(self, index: int) -> str:
        """Display name of an image in messages."""
        image = self.images[index]
        return f"{self.origin}: image {index}" if isinstance(image, bytes) else str(image)

    def check(self) -> None:
        """Check the first and the last bytes of every image, without decoding any.

        Raises:
            InputError: If files are empty, cut off, or not images; the message names some of them.
        """
        seen: dict[bytes | Path, int] = {}
        for index, image in enumerate(self.images):
            seen.setdefault(image, index)  # a photograph can be in several pairs
        wrong = [(index, reason) for index in seen.values() if (reason := fault_of_content(self.encoded(index)))]
        if wrong:
            named = some_of([f"{self.where(index)} is {reason}" for index, reason in wrong])
            raise InputError(
                f"{len(wrong):,} of the {len(seen):,} images of {self.origin} cannot be used: {named}. "
                "Get the set again."
            )


def read_bin(path: Path, name: str | None = None) -> VerificationSet:
    """Read a `.bin` file without running code from it.

    Args:
        path: The file.
        name: The set's name; by default the file's.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is damaged, contains anything but images and booleans, or their numbers do not match.
    """
    content = unpickle(path, encoding="bytes")
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise InputError(
            f"{path} holds a {type(content).__name__}, expected the pair (bins, issame) of a verification set."
        )
    bins, same = (as_sequence(part, what, path) for part, what in zip(content, ("bins", "issame"), strict=True))
    images = [as_bytes(image, f"{path}: image {index}") for index, image in enumerate(bins)]
    for index, value in enumerate(same):
        if not isinstance(value, bool | int | np.bool_ | np.integer) or value not in (0, 1):
            raise InputError(f"{path}: issame[{index}] is {described(value)}, expected True or False.")
    return VerificationSet(name or path.stem, path, images, pairs_of(len(images), same, path))


def pairs_of(images: int, same: Sequence[Any], path: Path) -> NDArray[np.bool_]:
    """Convert the labels of the pairs to an array.

    Raises:
        InputError: If there are no pairs, the number of images is odd, or it is not twice the number of labels.
    """
    if not images or not len(same):
        raise InputError(f"{path} is empty: {images} images and {len(same)} labels of pairs.")
    if images % 2:
        raise InputError(f"{path} has {images:,} images, an odd number: images 2i and 2i+1 make pair i.")
    if images != 2 * len(same):
        raise InputError(f"{path} has {images:,} images and {len(same):,} labels of pairs, expected {images // 2:,}.")
    return np.array([bool(value) for value in same])


def as_sequence(part: Any, what: str, path: Path) -> Sequence[Any]:
    """Check that one half of a file is a sequence.

    Raises:
        InputError: If it is not.
    """
    if isinstance(part, np.ndarray) and part.ndim == 1:
        return list(part)
    if not isinstance(part, list | tuple):
        raise InputError(f"{path}: {what} is a {type(part).__name__}, expected a list.")
    return part


def as_bytes(image: Any, what: str) -> bytes:
    """Convert an encoded image to bytes.

    Raises:
        InputError: If it is neither bytes nor an array of uint8.
    """
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size == max(image.shape, default=0):
        return image.tobytes()
    raise InputError(
        f"{what} is {described(image)}, expected an encoded image: bytes, or an array of uint8 in one row."
    )


def described(value: Any) -> str:
    """Describe a value in a message that says it is not as expected."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    return repr(value) if isinstance(value, bool | int | float) else f"of type {type(value).__name__}"
