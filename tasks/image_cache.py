"""Decoded images of a split kept in memory, so that an epoch reads and decodes no file (`--data.cache ram`).

All images are decoded before the first epoch by threads, before the worker processes start. The workers share the
memory of the process that starts them, so that one copy serves them all.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relattn.cores import available_cores
from relattn.errors import InputError

SHARE_OF_MEMORY = 0.7
"""Share of the free memory that a cache may take: training needs some as well."""

FIRST = 32
"""Number of images, spread over the set, from whose sizes the size of all is estimated."""


def free_memory() -> int | None:
    """Bytes of memory that this process can still get, considering its container's limit; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        used = int((group / "memory.current").read_text())
        pages = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(pages.get("inactive_file", 0))  # copies of files, which the kernel gives up when asked
        return min(free, int((group / "memory.max").read_text()) - used)
    except (OSError, ValueError):  # no container, or no memory limit
        return free


def arrays(decoded: Any) -> tuple[NDArray[Any], ...]:
    """Return the arrays of a decoded image."""
    return decoded if isinstance(decoded, tuple) else (decoded,)


def nbytes(decoded: Any) -> int:
    """Total size of a decoded image's arrays in bytes."""
    return sum(array.nbytes for array in arrays(decoded))


def sealed(decoded: Any) -> Any:
    """Make a decoded image read-only: augmentation in place would change it for all later epochs."""
    for array in arrays(decoded):
        array.flags.writeable = False
    return decoded


def decode_all(name: str, count: int, decode: Callable[[int], Any], *, processes: int) -> list[Any]:
    """Decode all images of a split.

    Args:
        name: Display name of the data in messages.
        count: Number of images.
        decode: Maps the index of an image to its array `(H, W, ...)`, or to a tuple of arrays.
        processes: Number of processes on this machine, each of which keeps a copy.

    Raises:
        InputError: If the images do not fit into the free memory, or one cannot be decoded.
    """
    some = np.linspace(0, count - 1, min(count, FIRST)).astype(int)
    with ThreadPoolExecutor(max(1, available_cores() // processes)) as pool:
        expected = processes * count * sum(map(nbytes, pool.map(decode, map(int, some)))) // len(some)
        free = free_memory()
        if free is not None and expected > SHARE_OF_MEMORY * free:
            copies = "" if processes == 1 else f" in {processes} processes"
            raise InputError(
                f"{name}: cache is 'ram', and {count:,} decoded images{copies} take about {gigabytes(expected)} of the "
                f"{gigabytes(free)} of memory that are free: leave --data.cache out."
            )
        return list(pool.map(lambda index: sealed(decode(index)), range(count)))


def gigabytes(size: int) -> str:
    """Format a size in bytes for readers."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
