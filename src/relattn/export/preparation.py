"""Converts an image to the input of an exported network, according to the metadata in its file."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError
from relattn.preprocessing import Pixels, Preprocessing


def prepare(image: Pixels, metadata: dict[str, Any]) -> NDArray[np.float32]:
    """Convert an image to the input of an exported network.

    Args:
        image: `(h, w, 3)` uint8 RGB.
        metadata: The result of `read_metadata`.

    Returns:
        `(3, H, W)` float32; `numpy.stack` makes a batch of several.

    Raises:
        InputError: If the image is of another kind, or the metadata have no known `preprocessing`.
    """
    if "preprocessing" not in metadata:
        raise InputError("The metadata have no 'preprocessing': give all of what read_metadata returned.")
    prepared = Preprocessing.from_json(metadata["preprocessing"])(image)
    return np.ascontiguousarray(prepared.transpose(2, 0, 1))
