"""Find images in folders, and report which files are left out.

Files are recognised by their suffix. Files and folders of the operating system (`.DS_Store`, `Thumbs.db`, `@eaDir`) and
hidden ones, whose name begins with a dot, are left out silently.
"""

import os
import posixpath
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relattn.errors import InputError, some_of
from relattn.tasks.image_formats import is_image_name

UNUSABLE = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that no image path may contain: Python reads a byte that is not UTF-8 as a surrogate."""

OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
"""Common names of folders of splits, and the names that are read."""

OF_SYSTEMS = (
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin"),
    *("system volume information", "lost+found"),
)


@dataclass
class FoundImages:
    """The files of a folder."""

    paths: list[str] = field(default_factory=list)
    """Paths of images relative to the root, with forward slashes, sorted."""
    left_out: list[str] = field(default_factory=list)
    """Likewise, paths of all other files but those of the operating system."""


def images_below(root: Path, folder: str = ".", *, deep: bool = True) -> FoundImages:
    """Find the images of a folder and, if `deep`, of all its subfolders.

    Links to folders are followed; a second way to a folder is left out with a warning, and a way back up silently.

    Args:
        root: The folder that the paths are relative to.
        folder: Folder to search, relative to the root.
        deep: Whether to search its subfolders as well.

    Raises:
        InputError: If an image has a name that a table of images cannot have, or a folder cannot be read.
    """
    found, visited = FoundImages(), set()
    for parent, folders, names in os.walk(root / folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        above = Path(parent).parent.resolve()
        if real in visited and Path(real) not in (above, *above.parents):
            warnings.warn(
                f"{root}: {os.path.relpath(parent, root)} is left out, since it is {real}, which is read already.",
                stacklevel=2,
            )
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


def refuse(error: OSError) -> None:
    """Refuse a folder that exists and cannot be listed, whose images would be missing in silence."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise InputError(
            f"{error.filename} cannot be read: {error.strerror}. Permit it, or remove the folder."
        ) from error


def is_visible(name: str) -> bool:
    """Whether a file or folder is neither hidden nor one of the operating system's."""
    return not name.startswith(".") and name.lower() not in OF_SYSTEMS


def folders_in(folder: Path) -> list[str]:
    """Names of the subfolders of a folder, sorted; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and is_visible(entry.name))


def check_split_folders(folder: Path, splits: Sequence[str], name: str) -> None:
    """Refuse folders of splits under other names than those that are read, and warn of other folders beside them.

    Args:
        folder: The folder that may contain folders of splits.
        splits: The names that are read.
        name: Name of the data set in messages.

    Raises:
        InputError: If there are such folders; the message has the name to give the first.
    """
    there = folders_in(folder)
    others = [one for one in there if one not in splits]
    meant = {one: OTHER_NAMES.get(one.lower(), one.lower()) for one in others}
    renamed = [one for one in others if meant[one] in splits]
    separated = any(one in splits and one != "predict" for one in there)  # predict may lie beside folders of classes
    if renamed and (separated or renamed == there):
        raise InputError(
            f"{name}: {folder / renamed[0]} would not be read, since folders of splits are called {', '.join(splits)}. "
            f"Rename it to {meant[renamed[0]]}."
        )
    if separated and others:
        warnings.warn(f"{folder}: folders beside those of the splits are not read: {some_of(others)}.", stacklevel=2)


def check_no_class_among(root: Path, splits: Sequence[str], name: str) -> None:
    """Refuse a class that has the name of a split, such as trains called `train`.

    Args:
        root: The folder that contains folders of splits, or of classes.
        splits: Names of splits; `predict` may hold images without classes.
        name: Name of the data set in messages.

    Raises:
        InputError: If there is one.
    """
    classes = [one for one in folders_in(root) if one not in splits and images_below(root / one).paths]
    for split in splits if classes else []:
        if split != "predict" and not folders_in(root / split) and images_below(root / split).paths:
            raise InputError(
                f"{name}: {root / split} is read as a split, and has images without class folders, beside "
                f"{some_of(classes)}. If it is a class, rename it, for example to {split}s; if it is a split, sort its "
                "images into folders of classes."
            )


def say_left_out(root: Path, left_out: Collection[str], why: str = "not images by their names") -> None:
    """Warn of files that are left out, with their number and some of their names.

    Args:
        root: The folder that contains them.
        left_out: Their paths relative to `root`.
        why: The reason, in parentheses.
    """
    if left_out:
        number = "1 file is" if len(left_out) == 1 else f"{len(left_out):,} files are"
        warnings.warn(f"{root}: {number} left out ({why}): {some_of(sorted(left_out))}.", stacklevel=2)
