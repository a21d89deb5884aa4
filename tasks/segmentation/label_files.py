"""Label images: lossless files whose values are ids, in one channel or as the indices of a palette."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from relattn.errors import InputError
from relattn.tasks.decoding import ORIENTATION, PILLOW_ERRORS, orientation_of, upright
from relattn.tasks.files import content_of
from relattn.tasks.image_formats import HEAD, fault_of_content, format_of
from relattn.tasks.segmentation.labels import Labels

LOSSY = ("JPEG", "AVIF", "HEIC", "JPEG 2000")
"""Lossy formats, whose values are only near those that were saved."""

PILLOWS = ("TIFF",)
"""Formats that Pillow reads and turns upright; OpenCV decodes the others, unless they have a palette."""


def read_labels(file: Path) -> Labels:
    """Read a label image as `(H, W)` uint8 ids, turned upright as images are.

    Raises:
        InputError: If it cannot be decoded, is compressed with loss, or does not have a single channel of bytes.
    """
    encoded = content_of(file)
    refuse_loss(file, encoded[:HEAD])
    ids = decoded(encoded, format_of(encoded[:HEAD]))
    if ids is None:
        reason = fault_of_content(encoded) or f"damaged, {len(encoded):,} bytes"
        raise InputError(f"{file} cannot be read as an image: {reason}.")
    if ids.ndim == 3 and (ids[..., :3] == ids[..., :1]).all() and (ids[..., 3:] == ids[..., 3:].max(initial=0)).all():
        ids = ids[..., 0]  # gray, stored in equal channels, with an alpha channel of one value or none
    if ids.dtype.kind in "bui" and ids.ndim == 2 and (not ids.size or (ids.min() >= 0 and ids.max() <= 255)):
        ids = ids.astype(np.uint8)
    if ids.ndim != 2 or ids.dtype != np.uint8:
        found = f"values up to {ids.max():,}" if ids.ndim == 2 else f"{ids.shape[2]} channels that differ"
        raise InputError(
            f"{file} has {found} ({ids.dtype}), and a label image has one channel with ids from 0 to 255. It may be a "
            "coloured one, or one of depths or of instances."
        )
    labels: Labels = ids
    return labels


def refuse_loss(file: Path, head: bytes) -> None:
    """Refuse a label image in a format that changes values, by its first bytes.

    Raises:
        InputError: If it is; the message names its format.
    """
    kind = format_of(head)
    if kind == "GIF":
        raise InputError(
            f"{file} is a GIF, whose writers renumber the values in each file. Save label images as PNG, from the "
            "program in which they were drawn."
        )
    if kind in LOSSY or (kind == "WebP" and head[12:16] == b"VP8 "):
        raise InputError(
            f"{file} is a {kind}, whose compression changes values, and in a label image each value is an id. Save "
            "label images as PNG, from the program in which they were drawn: what a JPEG has blurred is lost."
        )


def check_format(file: Path) -> None:
    """Refuse a label image compressed with loss, without reading all of it.

    Raises:
        InputError: If it is, with its format, or if it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from error
    refuse_loss(file, head)


def decoded(encoded: bytes, kind: str | None) -> Any:
    """Decode a label image, upright; the values of a palette image are its indices. None if that is not possible."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            orientation = orientation_of(image)
            if image.mode == "P" or kind in PILLOWS:
                return upright(np.asarray(image), orientation)
    except PILLOW_ERRORS:  # OpenCV may know the format
        orientation = 1
    try:
        ids = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED) if encoded else None
    except cv2.error:
        ids = None
    return None if ids is None else upright(ids, orientation)


def stored_orientation(file: Path) -> int:
    """The orientation stored in a file's EXIF or TIFF tags, from 1 (upright) to 8.

    Raises:
        InputError: If it is not an image.
    """
    try:
        with Image.open(file) as image:
            tags = getattr(image, "tag_v2", {})
            return int(tags.get(ORIENTATION, orientation_of(image)))
    except PILLOW_ERRORS as error:
        raise InputError(f"{file} cannot be read as an image ({error}).") from error
