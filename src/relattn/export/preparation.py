"""From an image to what an exported network takes, as the metadata of its file say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError
from relattn.preprocessing import Pixels, Preprocessing


def prepare(image: Pixels, metadata: dict[str, Any]) -> NDArray[np.float32]:
    """Turn an image into one that an exported network takes.

    Args:
        image: `(h, w, 3)` uint8 RGB.
        metadata: What `read_metadata` returned.

    Returns:
        `(3, H, W)` float32; `numpy.stack` makes a batch of several.

    Raises:
        InputError: If the image is of another kind, or the metadata have no `preprocessing` that is known.
    """
    if "preprocessing" not in metadata:
        raise InputError("The metadata have no 'preprocessing': give all of what read_metadata returned.")
    prepared = Preprocessing.from_json(metadata["preprocessing"])(image)
    return np.ascontiguousarray(prepared.transpose(2, 0, 1))
