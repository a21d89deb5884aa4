"""Where rendered data sets are written: all of one or nothing, with a file that says that they are rendered."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relattn.errors import InputError

MARKER = "generated.json"
"""The file in a data set's folder that says that this suite has rendered it."""


@contextmanager
def staged(root: Path, name: str) -> Iterator[Path]:
    """Write a data set's folder, which appears when it is complete.

    Args:
        root: Folder that holds data sets; made where it does not exist.
        name: Name of the folder.

    Yields:
        An empty folder to write into.

    Raises:
        InputError: If `root/name` is there already.
    """
    if (root / name).exists():
        raise InputError(f"{root / name} exists and is not overwritten; remove it or write to another root.")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        yield folder
        content = {"generated_by": "relattn", "note": "Rendered images: scores on them compare with no published ones."}
        (folder / MARKER).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        folder.rename(root / name)


def is_generated(folder: Path) -> bool:
    """Whether a folder, or one that it lies in, was rendered by this suite."""
    folder = folder.absolute()
    return any((place / MARKER).is_file() for place in (folder, *folder.parents))
