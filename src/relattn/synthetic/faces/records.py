"""RecordIO files of labelled images, `.rec` with `.idx` and `property`, the format of insightface's training sets."""

import struct
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from relattn.errors import InputError

MAGIC_NUMBER = 0xCED7230A
MAGIC = struct.pack("<I", MAGIC_NUMBER)
"""The bytes that each record begins with."""
HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
"""The lower bits of a record's second word, which are its length; those above are its kind."""


def write_records(
    prefix: Path, images: Sequence[tuple[int, bytes]], *, identities: bool = True, size: tuple[int, int] = (112, 112)
) -> Path:
    """Write a record file.

    Args:
        prefix: Path without the suffixes `.rec` and `.idx`; the folder is created if it does not exist.
        images: Label and encoded image of each, sorted by label.
        identities: Whether to write insightface's first record, which says where images end, and the records after the
            images that say which images an identity has. Without them, the file contains only images.
        size: Height and width for the file `property`.

    Returns:
        The `.rec` file.

    Raises:
        InputError: If there are no images, or they are not sorted.
    """
    labels = [label for label, _ in images]
    if not labels or labels != sorted(labels):
        raise InputError(f"{prefix}: {len(labels)} labelled images, expected at least one, sorted by label.")
    payloads = [HEADER.pack(0, label, number + 1, 0) + image for number, (label, image) in enumerate(images)]
    if identities:
        start, ranges = 1, []
        for _, group in groupby(labels):
            end = start + len(list(group))
            ranges.append((start, end))
            start = end
        last = start + len(ranges)
        payloads = [header(0, start, last), *payloads, *(header(start + n, *r) for n, r in enumerate(ranges))]
    prefix.parent.mkdir(parents=True, exist_ok=True)
    file = prefix.with_name(prefix.name + ".rec")
    offset, lines = 0, []
    with file.open("wb") as out:
        for key, payload in enumerate(payloads):
            lines.append(f"{key}\t{offset}\n")
            offset += out.write(framed(payload))
    prefix.with_name(prefix.name + ".idx").write_text("".join(lines), encoding="utf-8")
    (prefix.parent / "property").write_text(f"{len(set(labels))},{size[0]},{size[1]}", encoding="utf-8")
    return file


def header(key: int, first: int, end: int) -> bytes:
    """A payload of two labels and no image."""
    return HEADER.pack(2, 0, key, 0) + struct.pack("<2f", first, end)


def framed(payload: bytes) -> bytes:
    """A payload as one record or, if it contains the magic number at a multiple of 4 bytes, as several parts."""
    parts, start = [], 0
    for place in range(0, len(payload) // 4 * 4, 4):
        if payload[place : place + 4] == MAGIC:
            parts.append(payload[start:place])
            start = place + 4
    parts.append(payload[start:])
    kinds = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        MAGIC + struct.pack("<I", kind << LENGTH_BITS | len(part)) + part + bytes(-len(part) % 4)
        for kind, part in zip(kinds, parts, strict=True)
    )
