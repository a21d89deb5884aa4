"""Finding images in folders: what is taken, and what is left out, which is said.

Files are taken by the ends of their names. Files of operating systems (`.DS_Store`, `Thumbs.db`), and whatever begins
with a dot, are nobody's images and pass without a word.
"""

import os
import posixpath
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from relattn.errors import InputError
from relattn.tasks.files import some_of
from relattn.tasks.image_formats import is_image_name

UNUSABLE = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")
"""What no image's path may have: Python reads a byte that is not UTF-8 as half of a character."""

OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx")


@dataclass
class FoundImages:
    """The files of a folder."""

    paths: list[str] = field(default_factory=list)
    """Of images, relative to the root, with forward slashes, sorted."""
    left_out: list[str] = field(default_factory=list)
    """Of all other files but those of operating systems, likewise."""


def images_below(root: Path, folder: str = ".", *, deep: bool = True) -> FoundImages:
    """The images of a folder and, if `deep`, of all folders in it. Links to folders are followed, none of them twice.

    Args:
        root: The folder that the paths are relative to.
        folder: Where images are sought, relative to the root.
        deep: Whether folders in it are searched as well.

    Raises:
        InputError: If an image has a name that a table of images cannot have.
    """
    found, visited = FoundImages(), set()
    for parent, folders, names in os.walk(root / folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in visited or not deep else sorted(filter(is_visible, folders))
        if real not in visited:
            within = Path(parent).relative_to(root).as_posix()
            for name in filter(is_visible, names):
                kind = found.paths if is_image_name(name) else found.left_out
                kind.append(posixpath.normpath(posixpath.join(within, name)))
        visited.add(real)
    if unusable := [path for path in found.paths if UNUSABLE.search(path)]:
        raise InputError(
            f"{root}: names of {len(unusable):,} images have backslashes, control characters, or bytes that are not "
            f"UTF-8, which tables of images cannot have: {some_of([ascii(path) for path in unusable])}. Rename them."
        )
    found.paths.sort()
    found.left_out.sort()
    return found


def is_visible(name: str) -> bool:
    """Whether a file or folder is neither hidden nor of an operating system."""
    return not name.startswith(".") and name.lower() not in OF_SYSTEMS


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and is_visible(entry.name))


def say_left_out(root: Path, left_out: Collection[str], why: str = "no images by their names") -> None:
    """Warn of files that are left out, with their number and some of their names.

    Args:
        root: The folder that they are in.
        left_out: Their paths relative to it.
        why: The reason.
    """
    if left_out:
        number = "1 file is" if len(left_out) == 1 else f"{len(left_out):,} files are"
        warnings.warn(f"{root}: {number} left out, {why}: {some_of(sorted(left_out))}.", stacklevel=2)
