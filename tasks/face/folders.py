"""Training images in folders, one per identity, the layout of CASIA-WebFace, CelebA by identity and VGGFace."""

import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError, some_of
from relattn.tasks.files import content_of, file_faults
from relattn.tasks.fingerprint import fingerprint
from relattn.tasks.image_folders import folders_in, images_below, say_left_out

LISTS = ("pairs.txt",)
"""Files beside the identities' folders that are not images and that other code reads."""


class IdentityFolders:
    """The images of a folder with one subfolder per identity, sorted by path."""

    def __init__(self, path: Path, without: Collection[str] = ()) -> None:
        """List the images below `path`; images of an identity may lie in nested folders.

        Args:
            path: The folder.
            without: Identities to leave out; if this leaves nobody, the set is empty.

        Raises:
            MissingFileError: If there is no such folder.
            InputError: If it contains no folders with images.
        """
        if not path.is_dir():
            raise MissingFileError(f"{path}: no such folder.")
        self.path, self.name = path, path.name
        self.identities: list[str] = []
        self.files: list[str] = []
        labels: list[int] = []
        left_out: list[str] = []
        empty: list[str] = []
        names = folders_in(path)
        for name in [name for name in names if name not in without]:
            found = images_below(path, name)
            left_out += found.left_out
            if found.paths:
                labels += [len(self.identities)] * len(found.paths)
                self.identities.append(name)
                self.files += found.paths
            else:
                empty.append(name)
        loose = images_below(path, deep=False)
        if not self.files and not {*names} & {*without}:
            raise InputError(
                f"{path} has no folders with images: expected a folder for each identity, with its images in it. "
                f"There are {len(loose.paths):,} images in the folder itself; relattn embed takes images without such "
                "folders."
            )
        say_left_out(path, [*left_out, *(name for name in loose.left_out if name not in LISTS)])
        say_left_out(path, loose.paths, "in no folder of an identity")
        if empty:
            warnings.warn(f"{path}: {len(empty):,} folders have no image: {some_of(empty)}.", stacklevel=3)
        self.labels: NDArray[np.int64] = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def read(self, index: int) -> bytes:
        """The encoded image `index`.

        Raises:
            InputError: If it cannot be read.
        """
        return content_of(self.path / self.files[index])

    def fingerprint(self) -> str:
        """Identify the images by a digest."""
        return fingerprint(self.path, {self.name: zip(self.files, self.labels.tolist(), strict=True)})

    def where(self, index: int) -> str:
        """Display name of an image in messages."""
        return str(self.path / self.files[index])

    def check(self) -> None:
        """Check the first and the last bytes of every image, without decoding any.

        Raises:
            InputError: If files are empty, cut off, or no images; the message names some of them.
        """
        if wrong := file_faults(str(self.path), self.files):
            raise InputError(
                f"{len(wrong):,} of the {len(self):,} images in {self.path} cannot be used: {some_of(wrong)}. Unpack "
                "the archive again, or replace these files."
            )
