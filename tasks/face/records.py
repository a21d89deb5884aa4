"""Training images in MXNet's RecordIO files, `train.rec` with `train.idx`, read without MXNet.

A record consists of the magic number and a word, both little-endian, and the payload, padded to 4 bytes. The upper 3
bits of the word state whether the record is whole (0) or a first (1), middle (2) or last (3) part: a payload that
contains the magic number at a multiple of 4 bytes is split there, and the number is omitted. A line of the index is a
record's key, a tab, and its offset. An image's payload consists of a header (flag, label, two numbers), `flag` further
labels that replace the first if there are any, and the encoded image.

insightface's record 0 holds no image. Its two labels are the first key after the images and the end of the identities'
keys; each identity's record holds the first key of its images and the end of their keys. Labels are float32, which
rounds keys above 2^24. The exact ends follow from the index, from which records hold an image, and from the images' own
labels.
"""

import hashlib
import io
import mmap
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError
from relattn.synthetic.faces.records import HEADER, LENGTH_BITS, MAGIC, MAGIC_NUMBER
from relattn.tasks.fingerprint import fingerprint

WORDS = struct.Struct("<II")
WHOLE, FIRST, MIDDLE, LAST = range(4)
EXACT = 2**24
"""Largest number up to which all whole numbers are exact in float32."""
MOST_LABELS = 1024
"""A larger flag is a sign of damage, not a number of labels."""


class Records:
    """The images of a record file, numbered from 0 in the order of their keys.

    The file is mapped into memory. Forked processes share the mapping; others map the file anew.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`, a `.rec` file or its path without `.rec`, with the `.idx` file beside it; read the labels.

        Raises:
            MissingFileError: If one of the two is missing.
            InputError: If they are damaged or do not belong together; the message names the file and the offset.
        """
        self.path = path if path.suffix == ".rec" else path.with_name(path.name + ".rec")
        self.name = self.path.with_suffix("").name
        self.map = open_map(self.path)
        keys, offsets = read_index(self.path.with_suffix(".idx"), len(self.map))
        order = np.argsort(keys, kind="stable")
        self.keys, self.offsets = keys[order], offsets[order]
        if len(repeated := self.keys[1:][np.diff(self.keys) == 0]):
            raise InputError(f"{self.path.with_suffix('.idx')} lists key {repeated[0]} twice.")
        # A truncated copy shows at the end of the file.
        self.payload(int(self.offsets.argmax()))
        found = self.read_labels()
        self.identities = [str(label) for label in np.unique(found)]
        self.labels: NDArray[np.int64] = np.unique(found, return_inverse=True)[1].astype(np.int64)
        self.check_property()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "map": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, map=open_map(state["path"]))

    def read_labels(self) -> NDArray[np.int64]:
        """Read the label of every image, as written; afterwards `keys` and `offsets` contain only images."""
        flag, labels, _ = self.parse(0)
        if self.keys[0] != 0 or flag != 2 or len(labels) != 2:
            return np.array([self.label(place) for place in range(len(self.keys))], dtype=np.int64)
        if not all(0 <= value < 2**53 for value in labels):
            raise InputError(f"{self.where(0)} says that images end at key {labels[0]:g}: the file is damaged.")
        first, stop = self.places_near(labels[0])
        images = next((place for place in range(max(first, 1), stop) if not self.parse(place)[2]), stop)
        known_end = images == len(self.keys) or not self.parse(images)[2]
        if images <= 1 or not known_end or np.float32(self.keys[images - 1] + 1) != labels[0]:
            raise InputError(
                f"{self.path}, offset {self.offsets[0]}: the header says that images end at key {labels[0]:.0f}, and "
                f"the index has keys {self.keys[0]} to {self.keys[-1]}: .rec and .idx differ."
            )
        found = self.labels_of_ranges(images)
        if found is None:
            found = np.array([self.label(place) for place in range(1, images)], dtype=np.int64)
        self.keys, self.offsets = self.keys[1:images], self.offsets[1:images]
        return found

    def places_near(self, key: float) -> tuple[int, int]:
        """The first and the last position that the end of a range can have if a header states it as `key`.

        Headers hold float32, in which keys from 2^24 on are rounded, at first to even ones; then there are two
        positions.
        """
        error = 0.0 if key <= EXACT else float(np.spacing(np.float32(key))) / 2
        first, stop = np.searchsorted(self.keys, (key - error, key + error))
        return int(first), int(stop)

    def labels_of_ranges(self, images: int) -> NDArray[np.int64] | None:
        """Read the labels from the identities' records, far fewer than images; None if they do not cover all images."""
        found = np.empty(images - 1, dtype=np.int64)
        covered, place = 1, images  # position of the first image not yet in a range
        while covered < images and place < len(self.keys):
            flag, labels, _ = self.parse(place)
            if flag != 2 or len(labels) != 2 or labels[0] != np.float32(self.keys[covered]):
                return None
            label = self.label(covered)
            first, stop = (min(end, images) for end in self.places_near(labels[1]))
            end = next((end for end in range(first, stop) if self.label(end) != label), stop)
            if end <= covered:
                return None
            found[covered - 1 : end - 1] = label
            covered, place = end, place + 1
        return found if covered == images else None

    def check_property(self) -> None:
        """Compare with the file `property`, a line of identities, height and width, if it exists.

        Raises:
            InputError: If it cannot be parsed, or states fewer identities than there are.
        """
        file = self.path.with_name("property")
        if not file.is_file():
            return
        words = file.read_text(errors="replace").strip().split(",")
        if len(words) != 3 or not all(word.strip().isdigit() for word in words):
            raise InputError(
                f"{file} is {','.join(words)[:40]!r}, expected identities,height,width as in 10572,112,112."
            )
        if int(words[0]) < len(self.identities):
            raise InputError(f"{file} states {words[0]} identities, and {self.path} has {len(self.identities):,}.")

    def read(self, index: int) -> bytes:
        """Read the encoded image `index`.

        Raises:
            InputError: If the record is damaged, or its label differs from the one in its identity's record.
        """
        _, labels, image = self.parse(index)
        if str(int(labels[0])) != self.identities[self.labels[index]]:
            raise InputError(
                f"{self.where(index)} has label {labels[0]:g}, and its identity's record says "
                f"{self.identities[self.labels[index]]}: the file is damaged."
            )
        return image

    def fingerprint(self) -> str:
        """Identify the images by a digest of the labels and the file's size."""
        labels = hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()
        return fingerprint(self.path.parent, {self.name: [(self.path.name, labels, self.identities)]})

    def where(self, place: int) -> str:
        """Display name of a record in messages."""
        return f"{self.path}, offset {self.offsets[place]} (key {self.keys[place]})"

    def label(self, place: int) -> int:
        """The label of the record at a position."""
        label = self.parse(place)[1][0]
        if not (0 <= label < 2**53 and label == int(label)):
            raise InputError(f"{self.where(place)} has label {label:g}, expected a whole number from 0.")
        return int(label)

    def parse(self, place: int) -> tuple[int, tuple[float, ...], bytes]:
        """Flag, labels and image of the record at a position."""
        payload = self.payload(place)
        if len(payload) < HEADER.size:
            raise InputError(f"{self.where(place)} has {len(payload)} bytes, too few for a header of {HEADER.size}.")
        flag, label, _, _ = HEADER.unpack_from(payload)
        if flag == 0:
            return flag, (label,), payload[HEADER.size :]
        end = HEADER.size + 4 * flag
        if flag > MOST_LABELS or end > len(payload):
            raise InputError(f"{self.where(place)} claims {flag:,} labels in {len(payload)} bytes.")
        return flag, struct.unpack_from(f"<{flag}f", payload, HEADER.size), payload[end:]

    def payload(self, place: int) -> bytes:
        """The payload of the record at a position, with its parts joined."""
        offset = int(self.offsets[place])
        parts: list[bytes] = []
        while True:
            if offset + WORDS.size > len(self.map):
                raise self.cut_off(place)
            magic, word = WORDS.unpack_from(self.map, offset)
            kind, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
            if magic != MAGIC_NUMBER:
                raise InputError(
                    f"{self.path}, offset {offset}: {magic:#010x} instead of {MAGIC_NUMBER:#010x}, with which records "
                    "begin. The file is damaged, or the index belongs to another."
                )
            if kind not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
                raise InputError(f"{self.path}, offset {offset}: a record's part of kind {kind} is out of place.")
            start = offset + WORDS.size
            if start + length > len(self.map):
                raise self.cut_off(place)
            parts.append(self.map[start : start + length])
            if kind in (WHOLE, LAST):
                return MAGIC.join(parts)
            offset = start + (length + 3) // 4 * 4

    def cut_off(self, place: int) -> InputError:
        return InputError(f"{self.where(place)} reaches beyond the file's {len(self.map):,} bytes: it is cut off.")


def open_map(path: Path) -> mmap.mmap:
    """Map a file into memory.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is empty.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty.")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_index(path: Path, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read the keys and offsets of the records in a file of `size` bytes.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is not an index, or contains offsets at which no record can begin.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; a .rec file is read with the .idx file beside it.")
    text = path.read_bytes()
    if not text.strip():
        raise InputError(f"{path} is empty.")
    try:
        with warnings.catch_warnings():
            # NumPy before 2.3 reads too large an integer as a float, warns, and returns another number.
            warnings.simplefilter("error", DeprecationWarning)
            keys, offsets = np.loadtxt(io.BytesIO(text), dtype=np.int64, comments=None, ndmin=2).T
    except (ValueError, DeprecationWarning) as error:
        raise InputError(
            f"{path} is not an index of records, with a key and an offset in each line: {error}."
        ) from error
    for wrong, why in (
        (keys < 0, "a key below 0"),
        (offsets % 4 != 0, "an offset that is no multiple of 4"),
        ((offsets < 0) | (offsets > size - WORDS.size), f"an offset outside the .rec file, which has {size:,} bytes"),
    ):
        if wrong.any():
            line = int(wrong.argmax())
            raise InputError(f"{path}, line {line + 1}: key {keys[line]}, offset {offsets[line]}: {why}.")
    return keys, offsets
