"""Decoded images of a split kept in memory, so that an epoch reads and decodes no file (`--data.cache ram`).

All images are decoded before the first epoch, by threads, ahead of the worker processes: these share the memory of the
process that starts them, so that one copy serves them all.
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
"""How much of the memory that is free a cache may take: training needs some as well."""

FIRST = 32
"""Images, spread over the set, whose size tells that of all."""


def free_memory() -> int | None:
    """Bytes of memory that this process can still be given, in a container of its own; None if that is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        return min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return free


def arrays(decoded: Any) -> tuple[NDArray[Any], ...]:
    """The arrays of an image."""
    return decoded if isinstance(decoded, tuple) else (decoded,)


def nbytes(decoded: Any) -> int:
    """Size of the arrays of an image."""
    return sum(array.nbytes for array in arrays(decoded))


def sealed(decoded: Any) -> Any:
    """An image whose arrays cannot be written to: augmentation that did would change all later epochs."""
    for array in arrays(decoded):
        array.flags.writeable = False
    return decoded


def decode_all(name: str, count: int, decode: Callable[[int], Any], *, processes: int) -> list[Any]:
    """Decode all images of a split.

    Args:
        name: Display name of the data in messages.
        count: Number of images.
        decode: From the number of an image to its array `(H, W, ...)`, or a tuple of arrays.
        processes: Processes on this machine that keep a copy each.

    Raises:
        InputError: If they do not fit into the memory that is free, or one cannot be decoded.
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
    """A size for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
