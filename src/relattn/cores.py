"""How many processor cores this process may use; in a container or a job that may be fewer than the machine has."""

import os


def available_cores() -> int:
    """The number of cores, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
