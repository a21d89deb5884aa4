"""Builds a network with a memory limit, because a few bytes in a checkpoint may describe a network of any size."""

import math
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from relattn.errors import InputError

LEAST = 2**15
"""Minimum number of bytes counted per tensor, which also limits networks with countless small tensors."""


class Bounded(TorchDispatchMode):
    """A context that limits the total size of tensors created in it."""

    def __init__(self, most: int, what: str) -> None:
        """Start counting at 0.

        Args:
            most: Maximum total bytes of all tensors, including those that are freed.
            what: Display name of the network in messages.
        """
        super().__init__()
        self.left, self.most, self.what = most, most, what

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the tensor that a function is about to create, from the size that it is given."""
        sizes = args[0] if args and isinstance(args[0], list | tuple) else ()
        if sizes and all(isinstance(length, int) for length in sizes):
            self.left -= max(4 * math.prod(sizes), LEAST)
            if self.left < 0:
                raise InputError(f"{self.what} would take more than {self.most:,} bytes, far more than its weights.")
        return func(*args, **(kwargs or {}))
