"""Formats of image files: file suffixes of images, and checks that a file's content is a complete image.

A format is recognised by a file's first bytes, not by its name. Completeness can be checked without decoding: formats
mark their end or state their length. Data after the end are allowed, since cameras append videos to photographs.
"""

import importlib.util
import io
import re
import struct
import warnings
from functools import cache
from typing import Literal

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError, features

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".qoi", ".pcx"),
    *(".sgi", ".dds", ".ras", ".ico"),
)
"""Suffixes, in lower case, of files that are taken for images."""

HEAD = 32
"""Number of bytes at the beginning of a file that identify its format."""
TAIL = 1024
"""Number of bytes at the end of a file in which its end marker is sought: some programs write a little after it."""

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"

MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Marker that ends the compressed data of a JPEG: neither a stuffed byte nor a restart marker."""

BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}
"""Formats of box-structured files (ISO/IEC 14496-12) by brand, the first match; any other brand is a video's."""

BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"idat", b"free", b"skip", b"uuid"}

CUT_OFF = "cut off before its end"


def is_image_name(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return name.lower().endswith(SUFFIXES)


def format_of(head: bytes) -> str | None:
    """The format of a file by its first `HEAD` bytes; None if it is not known here."""
    if head[4:8] == b"ftyp" and len(head) >= 12:
        brands = {head[8:12], *(head[start : start + 4] for start in range(16, HEAD, 4))}
        return next((name for name, known in BRANDS.items() if known & brands), "a video")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    starts = {
        JPEG_START: "JPEG",
        PNG_START: "PNG",
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"II+\0": "TIFF",
        b"MM\0+": "TIFF",
        b"\0\0\0\x0cjP  ": "JPEG 2000",
        b"\xff\x4f\xff\x51": "JPEG 2000",
    }
    return next((name for start, name in starts.items() if head.startswith(start)), None)


@cache
def register_heic() -> bool:
    """Let Pillow read HEIC if the package pillow-heif is installed; return whether it is."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def fault_of_content(encoded: bytes) -> str | None:
    """Why a file's content is not a complete image, as far as is visible without decoding; None if nothing is wrong."""
    if not encoded:
        return "empty"
    kind = format_of(encoded[:HEAD])
    if kind == "HEIC" and not register_heic():
        return "HEIC, which is read with the package pillow-heif: pip install pillow-heif, or convert it to JPEG"
    if kind == "AVIF" and not features.check("avif"):
        return "AVIF, which Pillow reads from version 11.3 on: update Pillow, or convert it to PNG"
    if kind is None or kind == "a video":
        return None if kind is None and is_identified(encoded) else stranger(encoded)
    ends = {"JPEG": jpeg_ends, "PNG": png_ends, "GIF": gif_ends, "TIFF": tiff_ends}
    if kind in ends:
        return None if ends[kind](encoded) else CUT_OFF
    if kind == "JPEG 2000":
        return None if JPEG_END in encoded else CUT_OFF  # compressed data cannot contain a marker
    return None if stated_length(encoded, kind) <= len(encoded) else CUT_OFF


def is_identified(encoded: bytes) -> bool:
    """Whether OpenCV or Pillow knows the format of a file that `format_of` does not."""
    try:
        with Image.open(io.BytesIO(encoded)):
            return True
    except Exception:  # noqa: S110, a damaged file raises nearly anything
        pass
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR) is not None
    except cv2.error:
        return False


def stranger(encoded: bytes) -> str:
    """Describe a file that is not an image."""
    start = encoded[:200].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "not an image, but a web page or drawing in text"
    if start.startswith(b"version https://git-lfs"):
        return "not an image, but a pointer of Git LFS: fetch it with git lfs pull"
    if format_of(encoded[:HEAD]) == "a video":
        return "not an image, but a video"
    return f"not an image that OpenCV or Pillow reads: it begins with {encoded[:8]!r}"


def jpeg_ends(encoded: bytes) -> bool:
    """Whether a JPEG's end marker is near the file's end or where its segments lead: videos may follow photographs."""
    if JPEG_END in encoded[-TAIL:]:
        return True
    place = 2
    while place + 4 <= len(encoded):
        if encoded[place] != 0xFF:
            return False
        marker = encoded[place + 1]
        if marker == 0xD9:
            return True
        if marker == 0xFF or 0xD0 <= marker <= 0xD7 or marker == 0x01:  # fill bytes, and markers without a length field
            place += 1 if marker == 0xFF else 2
            continue
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4])
        if marker == 0xDA:  # compressed data, which end at the next marker
            found = MARKER.search(encoded, place)
            if found is None:
                return False
            place = found.start()
    return encoded[place : place + 2] == JPEG_END


def png_ends(encoded: bytes) -> bool:
    """Whether the last chunk of a PNG is present."""
    if PNG_END in encoded[-TAIL:]:
        return True
    place = len(PNG_START)
    while place + 12 <= len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, place)
        if name == b"IEND":
            return encoded[place + 4 : place + 12] == PNG_END
        place += 12 + length
    return False


def gif_ends(encoded: bytes) -> bool:
    """Whether the first frame of a GIF is present; only that frame is read."""
    if len(encoded) < 13:
        return False
    place = 13 + colours_of(encoded[10])
    while place < len(encoded):
        kind = encoded[place]
        if kind == 0x3B:
            return True
        if kind not in (0x21, 0x2C):
            return False
        if kind == 0x2C and place + 10 > len(encoded):
            return False
        place += 2 if kind == 0x21 else 11 + colours_of(encoded[place + 9])
        while place < len(encoded) and encoded[place]:
            place += 1 + encoded[place]
        if place >= len(encoded):
            return False
        place += 1
        if kind == 0x2C:
            return True
    return False


def colours_of(flags: int) -> int:
    """Size in bytes of the colour table that a GIF's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def tiff_ends(encoded: bytes) -> bool:
    """Whether all strips or tiles of a TIFF's first page are present."""
    order: Literal["little", "big"] = "little" if encoded[:1] == b"I" else "big"
    directory = int.from_bytes(encoded[4:8], order)
    if encoded[2:4].strip(b"\0") == b"*" and directory + 2 > len(encoded):
        return False
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(encoded)) as image:
            warnings.simplefilter("ignore")  # about unreadable tags; the decoder's errors say more
            tags = image.tag_v2  # type: ignore[attr-defined]
            for offsets, counts in ((273, 279), (324, 325)):
                for offset, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False):
                    if offset + count > len(encoded):
                        return False
    except UnidentifiedImageError:  # Pillow knows fewer kinds of TIFF than OpenCV
        return True
    except Exception:  # a damaged file raises nearly anything
        return False
    return True


def stated_length(encoded: bytes, kind: str) -> int:
    """Minimum length in bytes that a WebP, BMP, AVIF or HEIC states for itself."""
    if kind == "WebP":
        return int.from_bytes(encoded[4:8], "little") + 8
    if kind == "BMP":
        if len(encoded) < 34 or int.from_bytes(encoded[14:18], "little") < 40:
            return 26
        start = int.from_bytes(encoded[10:14], "little")
        width, height = struct.unpack_from("<ii", encoded, 18)
        bits, compression = struct.unpack_from("<HI", encoded, 28)
        return start + (abs(height) * ((abs(width) * bits + 31) // 32 * 4) if compression in (0, 3) else 0)
    place = 0
    while place + 8 <= len(encoded):  # boxes, one after the other
        length, name = struct.unpack_from(">I4s", encoded, place)
        if length == 1 and place + 16 <= len(encoded):
            length = struct.unpack_from(">Q", encoded, place + 8)[0]
        if length < 8 or name not in BOXES:  # the last box, or data after the image
            break
        place += length
    return place
