"""Atomic writing of files: a reader sees either the complete new content or what was there before.

The content goes to a temporary file with a unique name in the same folder, is flushed to disk, and then replaces the
old file atomically. A process that is killed leaves at most a temporary file, which the next writer of the same file
recognises (because no process holds its lock) and removes. If the disk is full, the old file stays.
"""

import contextlib
import fcntl
import glob
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from relattn.errors import InputError

SUFFIX = ".tmp"
UNIQUE = "[a-z0-9_]" * 8
"""The part that `tempfile` adds to names to make them unique, as a pattern."""

YOUNGEST_LEFTOVER = 5.0
"""Minimum age in seconds of a temporary file without a lock before its removal; a new one may not be locked yet."""


@contextlib.contextmanager
def publishing(path: Path | str, *, keep_as: Path | None = None) -> Iterator[IO[bytes]]:
    """Write a file.

    Args:
        path: The file; its folder is created if necessary.
        keep_as: Path to keep the replaced file at, in the same folder; None to drop it.

    Yields:
        A binary stream; the file appears when the context ends without an exception.

    Raises:
        InputError: If it cannot be written; the old content stays.
    """
    file = Path(path)
    temporary: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(file)
        descriptor, name = tempfile.mkstemp(SUFFIX, f".{file.name}.", file.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(descriptor, 0o666 & ~umask())
            yield stream
            stream.flush()
            os.fsync(descriptor)
            if keep_as is not None and file.is_file():
                keep(file, keep_as)
            temporary.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        kept = " What was there before is kept." if file.is_file() else ""
        raise InputError(f"{file} cannot be written: {error.strerror or error}.{kept}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()  # it exists only if something failed


def keep(file: Path, name: Path) -> None:
    """Give a file a second name, replacing any file of that name, so that the second name always exists.

    A process that is killed in between may leave two names of the same file. `rename` of one onto the other does
    nothing, so the remaining link is removed here.
    """
    remove_leftovers(name)
    with tempfile.TemporaryDirectory(prefix=f".{name.name}.", suffix=SUFFIX, dir=file.parent) as folder:
        link = Path(folder) / name.name
        os.link(file, link)
        link.replace(name)


def remove_leftovers(file: Path) -> None:
    """Remove temporary files that killed writers of a file have left, and no files of others."""
    for leftover in file.parent.glob(f".{glob.escape(file.name)}.{UNIQUE}{SUFFIX}"):
        with contextlib.suppress(OSError):
            if leftover.is_symlink():  # no writer leaves links, and they may lead anywhere
                continue
            if leftover.is_dir():
                links = list(leftover.iterdir())
                made_here = all(link.name == file.name and not link.is_dir() for link in links)
                if made_here and time.time() - leftover.stat().st_mtime > YOUNGEST_LEFTOVER:
                    for link in links:
                        link.unlink()
                    leftover.rmdir()
                continue
            with leftover.open("rb") as stream:
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if a live writer holds it
                if time.time() - os.fstat(stream.fileno()).st_mtime > YOUNGEST_LEFTOVER:
                    leftover.unlink()


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def umask() -> int:
    """The permissions that are masked for new files of this process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def publish_bytes(path: Path | str, content: bytes) -> None:
    """Write a file of bytes; see `publishing`."""
    with publishing(path) as stream:
        stream.write(content)


def publish_text(path: Path | str, content: str) -> None:
    """Write a text file in UTF-8; see `publishing`."""
    publish_bytes(path, content.encode())


def publish_json(path: Path | str, content: Any) -> None:
    """Write a JSON file; see `publishing`."""
    publish_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def check_writable(place: Path) -> None:
    """Check that a folder or file can be created, without creating it, before anything that takes long.

    Raises:
        InputError: If it cannot.
    """
    folder = next(parent for parent in (place, *place.absolute().parents) if parent.is_dir() or parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror or error}.") from error
