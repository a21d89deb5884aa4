"""Building a network with a bound on its memory: a checkpoint's few bytes may describe a network of any size."""

import math
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from relattn.errors import InputError

LEAST = 2**15
"""Bytes that every tensor counts for: networks of countless small ones are bounded too."""


class Bounded(TorchDispatchMode):
    """A context in which tensors of so many bytes are made together, and not more."""

    def __init__(self, most: int, what: str) -> None:
        """Start at 0.

        Args:
            most: Bytes of all tensors together, of which none is counted back.
            what: Display name of what is built, in messages.
        """
        super().__init__()
        self.left, self.most, self.what = most, most, what

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what a function is about to make, by the size that it is given."""
        sizes = args[0] if args and isinstance(args[0], list | tuple) else ()
        if sizes and all(isinstance(length, int) for length in sizes):
            self.left -= max(4 * math.prod(sizes), LEAST)
            if self.left < 0:
                raise InputError(f"{self.what} would take more than {self.most:,} bytes, far more than its weights.")
        return func(*args, **(kwargs or {}))
