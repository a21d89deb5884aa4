"""Training images in folders: one folder an identity, as CASIA-WebFace, CelebA by identity or VGGFace are kept."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError
from relattn.tasks.files import content_of, file_faults, some_of
from relattn.tasks.fingerprint import fingerprint

SUFFIXES = (".jpg", ".jpeg", ".png")


class IdentityFolders:
    """The images of a folder of folders, sorted by path."""

    def __init__(self, path: Path) -> None:
        """List the images below `path`; images of an identity may lie in further folders.

        Raises:
            MissingFileError: If there is no such folder.
            InputError: If it has no folders with images.
        """
        if not path.is_dir():
            raise MissingFileError(f"{path}: no such folder.")
        self.path, self.name = path, path.name
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        self.identities: list[str] = []
        self.files: list[str] = []
        labels: list[int] = []
        for name in names:
            if files := images_below(path, name):
                labels += [len(self.identities)] * len(files)
                self.identities.append(name)
                self.files += files
        if not self.files:
            raise InputError(f"{path} has no images: expected a folder for each identity, with .jpg or .png files.")
        self.labels: NDArray[np.int64] = np.array(labels)

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
        """Which images these are."""
        return fingerprint(self.path, {self.name: zip(self.files, self.labels.tolist(), strict=True)})

    def where(self, index: int) -> str:
        """Display name of an image in messages."""
        return str(self.path / self.files[index])

    def check(self) -> None:
        """Look at the first and the last bytes of every image, without decoding any.

        Raises:
            InputError: If files are empty, cut off, or neither JPEG nor PNG; the message names some of them.
        """
        if wrong := file_faults(str(self.path), self.files):
            raise InputError(
                f"{len(wrong):,} of the {len(self):,} images in {self.path} cannot be used: {some_of(wrong)}. Unpack "
                "the archive again, or replace these files."
            )


def images_below(root: Path, folder: str) -> list[str]:
    """Images in a folder and those below it, relative to the root, sorted."""
    found = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found += images_below(root, f"{folder}/{entry.name}")
            elif entry.name.lower().endswith(SUFFIXES):
                found.append(f"{folder}/{entry.name}")
    return sorted(found)
