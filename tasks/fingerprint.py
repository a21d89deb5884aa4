"""A short fingerprint of the data that a run used: a digest of its file lists, the same on every machine and root.

It covers each file's path relative to the set, its size, and its label, identity or split, but no pixels. So an image
replaced by another of exactly the same size goes unnoticed.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from relattn.tasks.files import CHUNK, SLOW, THREADS

MOST_SIZES = 200_000
"""With more files than this, their sizes are left out: reading them from a remote disk takes minutes."""

LENGTH = 16
"""Hexadecimal digits: enough that two data sets never agree by chance."""


def fingerprint(root: Path, lists: Mapping[str, Iterable[Sequence[Any]]]) -> str:
    """Compute the fingerprint of files.

    Args:
        root: The folder of the set.
        lists: For each split, a row per file in any order: its path relative to `root`, and what is known about it.
    """
    rows = {name: list(map(tuple, part)) for name, part in lists.items()}
    paths = sorted({row[0] for part in rows.values() for row in part})
    sizes = sizes_of(str(root), paths) if len(paths) <= MOST_SIZES else []
    content = hashlib.sha256(repr(sizes).encode())
    for name in sorted(rows):
        content.update("\n".join([name, *sorted(map(repr, rows[name])), ""]).encode())
    return content.hexdigest()[:LENGTH]


def combined(content: Any) -> str:
    """Compute the fingerprint of a JSON value, for example of other fingerprints."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:LENGTH]


def sizes_of(root: str, paths: Sequence[str]) -> list[int | None]:
    """Sizes of files in bytes, None for a missing one; read by many threads if the disk is slow."""
    chunks = [paths[start : start + CHUNK] for start in range(CHUNK, len(paths), CHUNK)]
    started = time.perf_counter()
    found = chunk_sizes(root, paths[:CHUNK])
    slow = time.perf_counter() - started > SLOW * CHUNK
    with ThreadPoolExecutor(THREADS if slow else 1) as pool:
        return found + [size for sizes in pool.map(partial(chunk_sizes, root), chunks) for size in sizes]


def chunk_sizes(root: str, paths: Sequence[str]) -> list[int | None]:
    """Sizes of some files in bytes, None for a missing one."""
    found: list[int | None] = []
    for path in paths:
        try:
            found.append(os.stat(f"{root}/{path}").st_size)  # noqa: PTH116, a Path takes longer to make than to ask
        except OSError:
            found.append(None)
    return found
