"""Keeps freed memory in the process, instead of requesting it from the kernel again.

On Linux, glibc returns every large block to the kernel when it is freed, and the next block causes a page fault for
each 4 KiB. A network's maps are such blocks, allocated and freed at every step, and on a CPU the page faults can cost
more than the arithmetic: see `benchmarks/allocator.py`.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory; return whether glibc was found."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20))
    accepted = [library.mallopt(name, value) for name, value in settings]
    return all(accepted)
