"""From an image to what a network sees, as the `preprocessing` of an exported file's metadata says.

With p the pixels as they are stored, 0 to 255, in RGB and resized:

    x = (p / 255 * range[1] - mean) / std         of shape (3, H, W), float32
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError

Pixels = NDArray[np.uint8]


def resize(pixels: Pixels, preprocessing: dict[str, Any]) -> Pixels:
    """Bring an image `(h, w, 3)` to the size that the network takes.

    `resize` is `"stretch"`, to `size` whatever the proportions; `"cover"`, until the image just covers `size`, whose
    centre is cut out; `"scale"`, by the factor `scale`; or `"none"`. `interpolation` is `"linear"`, or
    `"area_or_linear"`: every pixel the mean of those it covers where the image gets smaller.

    Raises:
        InputError: If the way is unknown.
    """
    how, (height, width) = preprocessing["resize"], pixels.shape[:2]
    if how == "none":
        return pixels
    if how == "scale":
        scale = preprocessing["scale"]
        size = max(round(height * scale), 1), max(round(width * scale), 1)
    elif how in ("stretch", "cover"):
        size = tuple(preprocessing["size"])
    else:
        raise InputError(f"preprocessing: resize is {how!r}, expected 'stretch', 'cover', 'scale' or 'none'.")
    target = size
    if how == "cover":
        scale = max(size[0] / height, size[1] / width)
        target = max(round(height * scale), size[0]), max(round(width * scale), size[1])
    if target != (height, width):
        smaller = preprocessing["interpolation"] == "area_or_linear" and target[0] * target[1] < height * width
        flag = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (target[1], target[0]), interpolation=flag)  # type: ignore[assignment]
    top, left = (target[0] - size[0]) // 2, (target[1] - size[1]) // 2
    return np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]])


def prepare(image: Pixels, metadata: dict[str, Any]) -> NDArray[np.float32]:
    """Turn an image into one that an exported network takes.

    Args:
        image: `(h, w, 3)` uint8 RGB.
        metadata: What `read_metadata` gave.

    Returns:
        `(3, H, W)` float32; `numpy.stack` makes a batch of several.

    Raises:
        InputError: If the image is of another kind, or the metadata have no `preprocessing` that is known.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"The image is {image.dtype} {image.shape}, expected uint8 (height, width, 3) in RGB.")
    if "preprocessing" not in metadata:
        raise InputError("The metadata have no 'preprocessing': give all of what read_metadata returned.")
    preprocessing = metadata["preprocessing"]
    values = resize(image, preprocessing).astype(np.float32) * np.float32(preprocessing["range"][1] / 255)
    normalised = (values - np.float32(preprocessing["mean"])) / np.float32(preprocessing["std"])
    return np.ascontiguousarray(normalised.transpose(2, 0, 1), dtype=np.float32)
