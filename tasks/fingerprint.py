"""Which data a run saw, as a short text: a digest of its lists, the same on every machine and under every root.

It covers the paths of files relative to their set, their sizes and what is said of each (its label, its identity, its
split), and no pixel: images that were replaced by others of the very same sizes go unnoticed.
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
"""Of more files than that sizes are not asked for, which takes minutes on a disk far away; names have to do."""

LENGTH = 16
"""Hexadecimal digits: enough for two sets of data never to agree by chance."""


def fingerprint(root: Path, lists: Mapping[str, Iterable[Sequence[Any]]]) -> str:
    """The fingerprint of files.

    Args:
        root: The folder of the set.
        lists: By split, a row for each file: its path relative to `root`, and what is said of it; in any order.
    """
    rows = {name: list(map(tuple, part)) for name, part in lists.items()}
    paths = sorted({row[0] for part in rows.values() for row in part})
    sizes = sizes_of(str(root), paths) if len(paths) <= MOST_SIZES else []
    content = hashlib.sha256(repr(sizes).encode())
    for name in sorted(rows):
        content.update("\n".join([name, *sorted(map(repr, rows[name])), ""]).encode())
    return content.hexdigest()[:LENGTH]


def combined(content: Any) -> str:
    """The fingerprint of what JSON can hold, other fingerprints for example."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:LENGTH]


def sizes_of(root: str, paths: Sequence[str]) -> list[int | None]:
    """The sizes of files in bytes, None for one that is not there; by many threads where the disk is slow."""
    chunks = [paths[start : start + CHUNK] for start in range(CHUNK, len(paths), CHUNK)]
    started = time.perf_counter()
    found = chunk_sizes(root, paths[:CHUNK])
    slow = time.perf_counter() - started > SLOW * CHUNK
    with ThreadPoolExecutor(THREADS if slow else 1) as pool:
        return found + [size for sizes in pool.map(partial(chunk_sizes, root), chunks) for size in sizes]


def chunk_sizes(root: str, paths: Sequence[str]) -> list[int | None]:
    """The sizes of some files."""
    found: list[int | None] = []
    for path in paths:
        try:
            found.append(os.stat(f"{root}/{path}").st_size)  # noqa: PTH116, a Path takes longer to make than to ask
        except OSError:
            found.append(None)
    return found
