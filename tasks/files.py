"""What a long run checks before it starts: that its image files exist and are complete."""

import contextlib
import hashlib
import os
import posixpath
import stat
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from relattn.errors import InputError, MissingFileError, some_of
from relattn.synthetic.staging import is_generated
from relattn.tasks.image_formats import HEAD, JPEG_END, PNG_END, TAIL, fault_of_content, format_of

CHUNK = 250
THREADS = 16
SLOW = 1e-4
"""Seconds per file above which the disk is the bottleneck; below it, threads would only wait for each other."""


def digest(file: Path) -> str:
    """SHA-256 of a file: checkpoints with the same name often differ."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def content_of(file: Path) -> bytes:
    """Read a file.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise InputError(f"{file} cannot be read: it is not a regular file.")  # reading a pipe might never end
            return stream.read()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}.") from error


def not_found(name: str, root: Path, tree: Iterable[str], source: str, stand_in: str = "") -> MissingFileError:
    """The error for a missing data set: what is expected, where it comes from, and what can stand in for it.

    Args:
        name: Name of the data set.
        root: Folder where it was looked for.
        tree: Paths that are expected there, relative to `root`.
        source: Sentences on where the set comes from.
        stand_in: Name of its stand-in in `relattn data make`; empty if there is none.
    """
    expected = "\n".join(f"    {root / part}" for part in tree)
    generated = f" A generated stand-in is made by\n    relattn data make {stand_in} --root {root}" if stand_in else ""
    return MissingFileError(
        f"{name} was not found. Expected:\n{expected}\n{source} Unpack it as shown, or name another place with "
        f"--data.root.{generated}"
    )


def inside(entry: str, where: str, folder: str = "the folder of images") -> str:
    """Normalise a path named by an untrusted table, list or file; it must not lead out of its folder.

    Only the text of the path is checked. Whatever the user has placed on the disk, links included, is trusted.

    Args:
        entry: The path, relative to the folder, with forward slashes.
        where: Where the path stands, for messages: the file and the line.
        folder: Name used in messages for the folder that the path is relative to.

    Raises:
        InputError: If the path is absolute, leads out of the folder, or is empty.
    """
    normal = posixpath.normpath(entry)
    if "\\" in entry or "\0" in entry:
        raise InputError(f"{where}: path is {entry!r}. Write forward slashes, which are read everywhere.")
    if not entry or posixpath.isabs(entry) or normal.split("/")[0] in (".", ".."):
        raise InputError(f"{where}: path is {entry!r}. Write a path relative to {folder}, of a file in it.")
    return normal


def departures(counts: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """Describe each count that differs from the published one of the same name."""
    return [
        f"{what}: {counts.get(what, 0):,} here, {number:,} published"
        for what, number in published.items()
        if counts.get(what, 0) != number
    ]


def origin(
    name: str, root: Path, departures: Sequence[str] | None = None, files: Sequence[Path] = ()
) -> dict[str, bool]:
    """The entry on a data set's origin for the run's record; warns if it is not the published set.

    Args:
        name: Name of the data set.
        root: Its folder.
        departures: How it differs from the published set; None for a set of the user's own.
        files: Its files or folders, if they may have different origins.

    Returns:
        `genuine`, whether the set was not rendered by this suite, and, if there is a published set, `as_published`,
        whether nothing differs from it.
    """
    genuine = not any(map(is_generated, files or [root]))
    if not genuine:
        warnings.warn(
            f"{name} in {root} is a rendered stand-in: do not compare its scores with published ones.", stacklevel=2
        )
    if departures is None:
        return {"genuine": genuine}
    if departures and genuine:
        warnings.warn(
            f"{name} in {root} is not the published set ({'; '.join(departures)}): a part of it, or an archive that "
            "was not unpacked completely. Do not compare its scores with published ones.",
            stacklevel=2,
        )
    return {"genuine": genuine, "as_published": not departures}


def real_paths(root: Path, paths: Sequence[str]) -> list[str]:
    """Resolve paths relative to `root`, following links; two names of one file give the same path.

    Each folder is listed once to find the links among its files. A missing file keeps its name.
    """
    folders: dict[str, tuple[str, set[str]]] = {}
    found = []
    for path in paths:
        folder, name = posixpath.split(path)
        if folder not in folders:
            place, links = os.path.realpath(root / folder), set()
            with contextlib.suppress(OSError), os.scandir(place) as entries:
                links = {entry.name for entry in entries if entry.is_symlink()}
            folders[folder] = place, links
        place, links = folders[folder]
        whole = f"{place}/{name}"
        found.append(os.path.realpath(whole) if name in links else whole)
    return found


def file_numbers(root: Path, paths: Sequence[str]) -> list[int]:
    """Number the paths so that paths of the same file get the same number."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(path, len(numbers)) for path in real_paths(root, paths)]


def absent(root: Path, paths: Iterable[str]) -> list[str]:
    """The paths relative to `root` where nothing exists; lists each folder once instead of testing each file.

    Args:
        root: The folder that the paths are relative to.
        paths: Paths with forward slashes.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_folder[posixpath.dirname(path)].append(path)
    missing = []
    for folder, members in by_folder.items():
        try:
            with os.scandir(root / folder) as entries:
                present = {entry.name for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            present = set()
        missing += [path for path in members if posixpath.basename(path) not in present]
    return sorted(missing)


def check_files(root: Path, paths: Sequence[str]) -> None:
    """Check the first and the last bytes of every image, without decoding any.

    Args:
        root: The folder that the paths are relative to.
        paths: Paths with forward slashes.

    Raises:
        InputError: If files are missing, empty, cut off, or no images; the message names some of them.
    """
    chunks = [paths[start : start + CHUNK] for start in range(CHUNK, len(paths), CHUNK)]
    started = time.perf_counter()
    wrong = file_faults(str(root), paths[:CHUNK])
    slow = time.perf_counter() - started > SLOW * CHUNK
    with ThreadPoolExecutor(THREADS if slow else 1) as pool:
        wrong += [line for lines in pool.map(partial(file_faults, str(root)), chunks) for line in lines]
    if wrong:
        raise InputError(
            f"{len(wrong):,} of the {len(paths):,} images in {root} cannot be used: {some_of(wrong)}. Unpack "
            "the archive again, or replace these files."
        )


def file_faults(root: str, paths: Sequence[str]) -> list[str]:
    """The files that are not whole images, each with the reason."""
    reasons = ((path, file_fault(f"{root}/{path}")) for path in paths)
    return [f"{path} ({reason})" for path, reason in reasons if reason]


def file_fault(path: str) -> str | None:
    """Why an image file is incomplete; None if it begins and ends as an image does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would block
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return "no regular file"
            size = status.st_size
            head = os.pread(descriptor, HEAD, 0)
            tail = os.pread(descriptor, TAIL, max(0, size - TAIL))
        finally:
            os.close(descriptor)
        ends = {"JPEG": JPEG_END, "PNG": PNG_END}.get(format_of(head) or "")
        if ends is not None and ends in tail:
            return None
        return fault_of_content(Path(path).read_bytes())
    except OSError as error:
        return (error.strerror or str(error)).lower()
