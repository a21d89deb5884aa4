"""From the bytes of an image file to the pixels that a network sees."""

import cv2
import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError
from relattn.tasks.files import JPEG_END, JPEG_START, PNG_END, PNG_START, TAIL

Pixels = NDArray[np.uint8]

SIZE = (112, 112)
"""Height and width of aligned faces, in pixels: both papers' of margins, and StRA's."""


def decode(encoded: bytes, what: str) -> Pixels:
    """Decode an image file to `(H, W, 3)` uint8 RGB.

    Args:
        encoded: The file.
        what: How a message calls it.

    Raises:
        InputError: If it cannot be decoded.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    except cv2.error:  # a header that claims more pixels than OpenCV admits
        pixels = None
    if pixels is None:
        raise InputError(f"{what} cannot be decoded as an image ({len(encoded):,} bytes).")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)  # type: ignore[return-value]


def central(pixels: Pixels, size: tuple[int, int] = SIZE) -> Pixels:
    """Resize an image until it just covers `size`, height and width, and cut the centre out.

    For a square, the shorter edge is resized to its side, as StRA's supplement says. Aligned faces of that size come
    back as they are.
    """
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    scale = max(size[0] / height, size[1] / width)
    if scale != 1:
        covering = max(round(width * scale), size[1]), max(round(height * scale), size[0])
        pixels = cv2.resize(pixels, covering, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)  # type: ignore[assignment]
    top, left = (pixels.shape[0] - size[0]) // 2, (pixels.shape[1] - size[1]) // 2
    return np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]])


def fault(encoded: bytes) -> str | None:
    """What is wrong with an image file in memory; None if it begins and ends as an image does."""
    if not encoded:
        return "empty"
    if encoded.startswith(JPEG_START):
        end = JPEG_END
    elif encoded.startswith(PNG_START):
        end = PNG_END
    else:
        return "neither JPEG nor PNG"
    return None if end in encoded[-TAIL:] else "cut off before its end"
