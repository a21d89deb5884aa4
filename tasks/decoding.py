"""From the bytes of an image file to pixels: the only place where image files are decoded.

Every format that OpenCV or Pillow reads is supported. Images are returned in colour, upright (by their EXIF
orientation) and in 8 bits: 16-bit values keep their upper 8 bits, transparency is dropped, and only the first frame or
page is read. OpenCV, the faster decoder, decodes the usual formats. Pillow decodes those in which OpenCV ignores the
orientation (AVIF) or mixes colours with transparency (TIFF), and all that OpenCV does not know.
"""

import io
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from relattn.errors import InputError
from relattn.tasks.files import content_of
from relattn.tasks.image_formats import HEAD, fault_of_content, format_of, register_heic

Pixels = NDArray[np.uint8]
"""`(H, W, 3)` RGB."""

BY_OPENCV = ("JPEG", "PNG", "BMP", "WebP", "JPEG 2000")
"""Formats that OpenCV decodes correctly, including the orientation."""

ORIENTATION = 0x112
"""The orientation tag of EXIF and TIFF; its value is 1 for upright images."""

DAMAGE = re.compile(r"premature end|huffman|invalid|unsupported|error", re.IGNORECASE)
"""Matches what decoders print about incomplete images; messages about superfluous bytes are harmless."""

PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError),
    *(TypeError, KeyError, IndexError, OverflowError, AttributeError, NotImplementedError),
)
"""Errors that Pillow raises for files that it cannot decode; damaged files can raise nearly anything."""


def read_image(path: Path) -> Pixels:
    """Read an image file as `(H, W, 3)` uint8 RGB.

    Raises:
        InputError: If it cannot be decoded.
    """
    return decode_image(content_of(path), str(path))


def decode_image(encoded: bytes, name: str) -> Pixels:
    """Decode the content of an image file to `(H, W, 3)` uint8 RGB.

    Args:
        encoded: The content of the file.
        name: Display name of the image in messages.

    Raises:
        InputError: If it cannot be decoded.
    """
    pixels = by_opencv(encoded) if format_of(encoded[:HEAD]) in BY_OPENCV else None
    if pixels is None:
        try:
            return by_pillow(encoded)
        except InputError as error:
            raise InputError(f"{name} cannot be decoded as an image: {error}.") from error
        except UnidentifiedImageError:
            pixels = by_opencv(encoded)
        except PILLOW_ERRORS as error:
            reason = fault_of_content(encoded) or f"damaged: {error}"
            raise InputError(f"{name} cannot be decoded as an image: {reason}.") from error
    if pixels is None:
        reason = fault_of_content(encoded) or f"damaged, {len(encoded):,} bytes"
        raise InputError(f"{name} cannot be decoded as an image: {reason}.")
    return pixels


def by_opencv(encoded: bytes) -> Pixels | None:
    """Decode by OpenCV, `(H, W, 3)` RGB; None if it cannot."""
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) if encoded else None
    except cv2.error:  # a header that claims more pixels than OpenCV admits
        pixels = None
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)  # type: ignore[return-value]


def by_pillow(encoded: bytes) -> Pixels:
    """Decode by Pillow, `(H, W, 3)` RGB.

    Raises:
        UnidentifiedImageError: If Pillow does not know the format.
        InputError: If its values are outside the range of pixels; the message says how.
    """
    with opened(encoded) as image:
        return upright(eight_bits(image), orientation_of(image))


def opened(encoded: bytes) -> Image.Image:
    """Open an image with Pillow; HEIC too, if the package for it is installed."""
    if format_of(encoded[:HEAD]) == "HEIC":
        register_heic()
    return Image.open(io.BytesIO(encoded))


def eight_bits(image: Image.Image) -> Pixels:
    """Return a Pillow image's pixels as stored, `(H, W, 3)` uint8 RGB; 16-bit values are scaled, not clipped.

    Raises:
        InputError: If its values are outside the range of pixels; the message says how.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        most = 1.0 if image.mode == "F" else 65535.0
        if not 0 <= low <= high <= most:
            kind = "floating-point numbers" if image.mode == "F" else "whole numbers"
            raise InputError(f"it holds {kind} from {low:g} to {high:g}, expected 0 to {most:g}: scale them")
        grey = np.rint(255 * values).astype(np.uint8) if image.mode == "F" else (values >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of a Pillow image, 1 (upright) to 8. Pillow itself turns a TIFF when it loads it."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        value = exif.get(ORIENTATION)
    except PILLOW_ERRORS:  # ignore damaged EXIF
        value = None
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Rotate and mirror an array `(H, W, ...)` according to its EXIF orientation."""
    turned = np.swapaxes(array, 0, 1) if orientation >= 5 else array
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def size_of(path: Path) -> tuple[int, int]:
    """Read the height and width of an image file, turned upright, from its header.

    Raises:
        InputError: If it is no image.
    """
    try:
        with path.open("rb") as file:
            if format_of(file.read(HEAD)) == "HEIC":
                register_heic()
            file.seek(0)
            with Image.open(file) as image:
                size, orientation = (image.height, image.width), orientation_of(image)
                if isinstance(image, TiffImageFile):
                    size = int(image.tag_v2[257]), int(image.tag_v2[256])
                    orientation = image.tag_v2.get(ORIENTATION, 1)
                return size[::-1] if orientation in range(5, 9) else size
    except UnidentifiedImageError:  # OpenCV may know it
        return read_image(path).shape[:2]
    except PILLOW_ERRORS as error:
        raise InputError(f"{path} cannot be read as an image ({error}).") from error


def decode_wholly(encoded: bytes) -> Pixels:
    """Decode an image file to its last byte, `(H, W, 3)` RGB, with two decoders.

    OpenCV fills the missing part of a JPEG with grey and only prints a line; Pillow raises for a file that ends early,
    but not for one that is damaged inside.

    Raises:
        InputError: If the file is damaged; the message gives the reason without the file's name.
    """
    if fault := fault_of_content(encoded):
        raise InputError(fault)
    pixels, said = quietly(lambda: by_opencv(encoded) if format_of(encoded[:HEAD]) in BY_OPENCV else None)
    try:
        with opened(encoded) as image:
            image.load()
        if pixels is None:
            pixels = by_pillow(encoded)
    except UnidentifiedImageError:
        pixels = by_opencv(encoded) if pixels is None else pixels
    except PILLOW_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"damaged: {error}") from error
    if pixels is None:
        raise InputError("damaged")
    if DAMAGE.search(said):
        raise InputError(f"damaged: {said.strip().splitlines()[0]}")
    return pixels


def quietly(decode: Callable[[], Any]) -> tuple[Any, str]:
    """Call a function; return its value and what it wrote to the process's standard error."""
    with tempfile.TemporaryFile() as written:
        kept = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            value = decode()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        written.seek(0)
        return value, written.read().decode(errors="replace")
