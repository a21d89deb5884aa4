"""Writes rendered data sets completely or not at all, with a file that marks them as rendered."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relattn.errors import InputError

MARKER = "generated.json"
"""The file in a data set's folder that marks it as rendered by this suite."""


@contextmanager
def staged(root: Path, name: str) -> Iterator[Path]:
    """Write a data set's folder, which appears only when it is complete.

    Args:
        root: Folder that contains data sets; created if it does not exist.
        name: Name of the folder.

    Yields:
        An empty folder to write into.

    Raises:
        InputError: If `root/name` already exists, or cannot be written.
    """
    if (root / name).exists():
        raise InputError(f"{root / name} exists and is not overwritten; remove it or write to another root.")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root} cannot be created: {error.strerror or error}.") from error
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        yield folder
        content = {"generated_by": "relattn", "note": "Rendered images: scores are not comparable with published ones."}
        (folder / MARKER).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        folder.rename(root / name)


def is_generated(folder: Path) -> bool:
    """Whether a folder, or one that contains it, was rendered by this suite."""
    folder = folder.absolute()
    return any((place / MARKER).is_file() for place in (folder, *folder.parents))
