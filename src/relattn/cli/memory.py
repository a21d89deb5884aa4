"""Keep memory that was freed, instead of asking the kernel for it again.

On Linux, glibc returns every large block to the kernel when it is freed, and takes a page fault for each 4 KiB of the
next one. The maps of a network are such blocks, made and freed at every step, and on a CPU the faults can cost more
than the arithmetic: see `benchmarks/allocator.py`.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory; returns whether there was a glibc to tell."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20))
    accepted = [library.mallopt(name, value) for name, value in settings]
    return all(accepted)
