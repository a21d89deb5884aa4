"""From the bytes of an image file to pixels."""

import io
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relattn.errors import InputError
from relattn.tasks.files import fault_of_content

Pixels = NDArray[np.uint8]
"""`(H, W, 3)` RGB."""

DAMAGE = re.compile(r"premature end|huffman|invalid|unsupported|error", re.IGNORECASE)
"""What decoders print of images that are not whole; superfluous bytes harm nothing."""


def read_image(path: Path) -> Pixels:
    """Read an image file as `(H, W, 3)` uint8 RGB.

    Raises:
        InputError: If it cannot be decoded.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        state = f"{path.stat().st_size} bytes" if path.is_file() else "no such file"
        raise InputError(f"{path} cannot be read as an image ({state}).")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def decode_image(encoded: bytes, name: str) -> Pixels:
    """Decode the content of an image file to `(H, W, 3)` uint8 RGB.

    Args:
        encoded: The content.
        name: Display name of the image in messages.

    Raises:
        InputError: If it cannot be decoded.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    except cv2.error:  # a header that claims more pixels than OpenCV admits
        pixels = None
    if pixels is None:
        raise InputError(f"{name} cannot be decoded as an image ({len(encoded):,} bytes).")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)  # type: ignore[return-value]


def decode_wholly(encoded: bytes) -> Pixels:
    """Decode an image file to its last byte, `(H, W, 3)` BGR, by two decoders.

    OpenCV fills what a JPEG lacks with grey and only prints a line; Pillow raises for a file that ends early, but not
    for one that is damaged inside.

    Raises:
        InputError: With what is wrong, but for the name.
    """
    if not encoded:
        raise InputError("empty")
    pixels, said = quietly(lambda: cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))
    if pixels is None:
        raise InputError(fault_of_content(encoded) or "cannot be decoded")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(fault_of_content(encoded) or f"damaged: {error}") from error
    if DAMAGE.search(said):
        raise InputError(f"damaged: {said.strip().splitlines()[0]}")
    return pixels


def quietly(decode: Callable[[], Any]) -> tuple[Any, str]:
    """What a call gives, None if OpenCV raises, and what it wrote to the process's standard error."""
    with tempfile.TemporaryFile() as written:
        kept = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            value = decode()
        except cv2.error:  # more pixels than it admits
            value = None
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        written.seek(0)
        return value, written.read().decode(errors="replace")
