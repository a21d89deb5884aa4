"""Every image of a data set read and decoded to its last byte, and compared between the splits.

The check before training looks at the first and the last bytes alone. Here the decoders are asked, two of them: OpenCV
fills what a JPEG lacks with grey and only prints a line, and Pillow raises for a file that ends early, but not for one
that is damaged inside.
"""

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from relattn.errors import InputError
from relattn.tasks.base import Data
from relattn.tasks.face.data import Labelled, Pairs
from relattn.tasks.face.images import fault
from relattn.tasks.images import one_thread
from relattn.tasks.reid.data import People
from relattn.tasks.samplers import Draw
from relattn.tasks.segmentation.data import Streets, read_labels
from relattn.tasks.segmentation.pairs import different_sizes

DAMAGE = re.compile(r"premature end|huffman|invalid|unsupported|error", re.IGNORECASE)
"""What decoders print of images that are not whole; superfluous bytes harm nothing."""

CHUNK = 32
"""Images that a process inspects at a time."""


@dataclass
class Findings:
    """What an inspection found."""

    faults: list[str] = field(default_factory=list)
    """Each with the image and what is wrong with it, sorted."""
    shared: list[str] = field(default_factory=list)
    """Images of other splits of which training has a copy, sorted."""


@dataclass
class Unit:
    """An image: where its set has it, and the splits that it is in."""

    samples: Any
    place: int
    splits: set[str]


class Inspection(Dataset[list[tuple[str | None, str, bytes]]]):
    """The images of a data set, each once, by chunks: what is wrong (or None), the image's name, and its digest."""

    def __init__(self, data: Data) -> None:
        """List the images of `data`, after its `setup`; CIFAR's are no files, and `setup` has read them whole."""
        units: dict[Any, Unit] = {}
        for split, samples in data.sets.items():  # type: ignore[attr-defined]
            for place in range(0 if isinstance(samples, tuple) else len(samples)):
                unit = units.setdefault(key_of(samples, place), Unit(samples, place, set()))
                unit.splits.add(split)
        self.units = list(units.values())

    def __len__(self) -> int:
        """Number of chunks."""
        return -(-len(self.units) // CHUNK)

    def __getitem__(self, chunk: int) -> list[tuple[str | None, str, bytes]]:
        """Inspect some images."""
        found = []
        for unit in self.units[chunk * CHUNK : (chunk + 1) * CHUNK]:
            name = name_of(unit.samples, unit.place)
            try:
                digest = inspect(unit.samples, unit.place)
            except InputError as error:
                reason = str(error).removeprefix(name).removeprefix(":").strip()
                found.append((reason, name, b""))
            else:
                found.append((None, name, digest))
        return found


def key_of(samples: Any, place: int) -> Any:
    """What tells an image from others: its file, or its set and its place there."""
    if isinstance(samples, People):
        return samples.root, samples.images[place].path
    if isinstance(samples, Streets):
        return samples.root, samples.pairs[place]
    return id(samples), place


def name_of(samples: Any, place: int) -> str:
    """How messages call an image."""
    if isinstance(samples, People):
        return str(samples.root / samples.images[place].path)
    if isinstance(samples, Streets):
        return str(samples.root / samples.pairs[place].image)
    if isinstance(samples, Labelled):
        return samples.images.where(place)
    if isinstance(samples, Pairs):
        number = int(np.searchsorted(samples.starts, place, side="right")) - 1
        return samples.packs[number].where(place - samples.starts[number])
    return f"image {place}"


def inspect(samples: Any, place: int) -> bytes:
    """Decode an image, check its labels if they are an image too, and give the digest of its file.

    Raises:
        InputError: With what is wrong.
    """
    if isinstance(samples, Labelled):
        encoded = samples.images.read(place)
    elif isinstance(samples, Pairs):
        number = int(np.searchsorted(samples.starts, place, side="right")) - 1
        encoded = samples.packs[number].encoded(place - samples.starts[number])
    elif isinstance(samples, People | Streets):
        encoded = content_of(Path(name_of(samples, place)))
    else:
        samples[Draw(place, 0)]  # a data set of the user's own: as training reads it
        return b""
    height, width = decoded(encoded).shape[:2]
    if isinstance(samples, Streets) and (labels := samples.pairs[place].labels) is not None:
        file = samples.root / labels
        try:
            decoded(content_of(file))
        except InputError as error:
            raise InputError(f"its labels {file}: {error}") from error
        ids = samples.label_map.to_train(read_labels(file), file)
        if ids.shape != (height, width):
            raise InputError(different_sizes(file, ids.shape, (height, width)))
    return hashlib.blake2b(encoded, digest_size=16).digest()


def content_of(file: Path) -> bytes:
    """The bytes of a file."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError((error.strerror or str(error)).lower()) from error


def decoded(encoded: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Decode an image file to `(H, W, 3)` uint8, wholly.

    Raises:
        InputError: With what is wrong, but for the name.
    """
    if not encoded:
        raise InputError("empty")
    pixels, said = quietly(lambda: cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))
    if pixels is None:
        raise InputError(fault(encoded) or "cannot be decoded")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(fault(encoded) or f"damaged: {error}") from error
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


def inspected(data: Data, workers: int, progress: Callable[[int], object] = lambda images: None) -> Findings:
    """Inspect all images.

    Args:
        data: The data set, after its `setup`.
        workers: Processes that decode; 0 for this one.
        progress: Called with the number of images that were inspected since the last call.
    """
    inspection = Inspection(data)
    loader: DataLoader[Any] = DataLoader(
        inspection, batch_size=None, num_workers=min(workers, len(inspection)), worker_init_fn=one_thread
    )
    findings = Findings()
    seen: dict[bytes, list[tuple[set[str], str]]] = {}
    position = 0
    for chunk in loader:
        for reason, name, digest in chunk:
            splits = inspection.units[position].splits
            position += 1
            if reason is not None:
                findings.faults.append(f"{name}: {reason}")
            elif digest:
                seen.setdefault(digest, []).append((splits, name))
        progress(len(chunk))
    for copies in seen.values():
        if any("train" in splits for splits, _ in copies):
            findings.shared += [name for splits, name in copies if "train" not in splits]
    for copies_of_rows in shared_rows(data):
        findings.shared.append(copies_of_rows)
    findings.faults.sort()
    findings.shared.sort()
    return findings


def shared_rows(data: Data) -> Iterator[str]:
    """Images of CIFAR's test set that training has as well."""
    sets = data.sets  # type: ignore[attr-defined]
    if not all(isinstance(part, tuple) for part in sets.values()):
        return
    images: dict[str, Tensor] = {split: part[0] for split, part in sets.items()}
    train = {image.tobytes() for image in images["train"].numpy()}
    for place, image in enumerate(images["test"].numpy()):
        if image.tobytes() in train:
            yield f"test image {place}"
