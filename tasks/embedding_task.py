"""A task whose network gives features to compare images by: what `relattn embed`, `search` and `verify` ask of it."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relattn.tasks.base import Task

Preparation = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From an image `(h, w, 3)` uint8 RGB to what the network sees, `(H, W, 3)` float32."""


class EmbeddingTask(Task):
    """A task whose `forward` maps images to the features that are compared."""

    @abstractmethod
    def preparation(self) -> Preparation:
        """What is done to an image in evaluation; worker processes get a copy."""

    @abstractmethod
    def use_flip(self, flip: Any) -> None:
        """Say what is done with the mirror image: what `provenance` calls `flip`, or True for their sum."""

    @abstractmethod
    def provenance(self, checkpoint: Path) -> dict[str, Any]:
        """What an embedding says of the network that it comes from; only what agrees can be compared."""
