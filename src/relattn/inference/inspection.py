"""Reads and decodes every image of a data set completely, and compares images between the splits.

The check before training reads only the first and the last bytes; here two decoders read each whole file
(`relattn.tasks.decoding.decode_wholly`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import DataLoader, Dataset

from relattn.errors import InputError
from relattn.tasks.data import Data
from relattn.tasks.image_data import ImageSet, one_thread

CHUNK = 32
"""Number of images that a process inspects at a time."""


@dataclass
class Findings:
    """The result of an inspection."""

    faults: list[str] = field(default_factory=list)
    """The images that cannot be used, each with the reason, sorted."""
    shared: list[str] = field(default_factory=list)
    """Images of other splits that also occur in training, sorted."""


@dataclass
class InspectedImage:
    """An image: the set and the index to read it with, and the splits that contain it."""

    images: ImageSet
    index: int
    splits: set[str]


class Inspection(Dataset[list[tuple[str | None, str, bytes]]]):
    """The images of a data set, each once, by chunks: the fault (or None), the image's name, and its digest."""

    def __init__(self, data: Data) -> None:
        """List the images of `data`, after its `setup`; splits that are not an `ImageSet` are read as in training."""
        images: dict[Any, InspectedImage] = {}
        for split, samples in data.sets.items():
            known = samples if isinstance(samples, ImageSet) else AnySamples(samples)
            for index in range(len(samples)):
                image = images.setdefault(known.image_key(index), InspectedImage(known, index, set()))
                image.splits.add(split)
        self.images = list(images.values())

    def __len__(self) -> int:
        """Number of chunks."""
        return -(-len(self.images) // CHUNK)

    def __getitem__(self, chunk: int) -> list[tuple[str | None, str, bytes]]:
        """Inspect the images of a chunk."""
        rows: list[tuple[str | None, str, bytes]] = []
        for image in self.images[chunk * CHUNK : (chunk + 1) * CHUNK]:
            name = image.images.image_name(image.index)
            try:
                rows.append((None, name, image.images.inspect(image.index)))
            except InputError as error:
                reason = str(error).removeprefix(name).removeprefix(":").strip()
                rows.append((reason, name, b""))
        return rows


class AnySamples(ImageSet):
    """The samples of a user's own data set, whose files are unknown."""

    def __init__(self, samples: Any) -> None:
        """Store the samples."""
        self.samples = samples

    def image_key(self, index: int) -> Any:
        return id(self.samples), index

    def __getitem__(self, request: Any) -> dict[str, Any]:
        """Read a sample as in training."""
        sample: dict[str, Any] = self.samples[request]
        return sample


def inspect_images(data: Data, workers: int, progress: Callable[[int], object] = lambda images: None) -> Findings:
    """Inspect all images.

    Args:
        data: The data set, after its `setup`.
        workers: Number of processes that decode; 0 to decode in this process.
        progress: Called with the number of images inspected since the last call.
    """
    inspection = Inspection(data)
    loader: DataLoader[Any] = DataLoader(
        inspection, batch_size=None, num_workers=min(workers, len(inspection)), worker_init_fn=one_thread
    )
    findings = Findings()
    by_digest: dict[bytes, list[tuple[set[str], str]]] = {}
    position = 0
    for chunk in loader:
        for fault, name, digest in chunk:
            splits = inspection.images[position].splits
            position += 1
            if fault is not None:
                findings.faults.append(f"{name}: {fault}")
            elif digest:
                by_digest.setdefault(digest, []).append((splits, name))
        progress(len(chunk))
    for copies in by_digest.values():
        if any("train" in splits for splits, _ in copies):
            findings.shared += [
                f"{name} of {', '.join(sorted(splits))}" if name.startswith("image ") else name
                for splits, name in copies
                if "train" not in splits
            ]
    findings.faults.sort()
    findings.shared.sort()
    return findings
