"""Features of images on disk: `predict` and `relattn embed` write them, `relattn search` reads them."""

import contextlib
import csv
import hashlib
import io
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError
from relattn.publish import publish_json, publish_text, publishing
from relattn.tasks.arrays import read_npy
from relattn.tasks.files import content_of, inside


@dataclass(frozen=True)
class Entry:
    """An image of an embedding."""

    path: str
    """Path relative to the embedding's root, with forward slashes."""
    identity: str = ""
    """Identity of the person it shows; empty if unknown."""
    camera: str = ""
    split: str = ""
    """`query`, `gallery` or empty."""
    sha256: str = field(default="", compare=False)
    """SHA-256 of the file, in a saved embedding; empty if the file could not be read."""


@dataclass(frozen=True)
class Embedding:
    """Features with the metadata of their images.

    On disk it is a folder: `features.npy` (N, D) float32, `manifest.csv` with a row per image, and `embedding.json`
    with the rest. Features that another program has written as float64 stay float64.
    """

    features: NDArray[Any]
    entries: list[Entry]
    root: Path
    """The folder of the images."""
    metadata: dict[str, Any]
    """How the features were computed: `checkpoint`, `distance`, `feature`, ..."""
    named: bool = True
    """Whether the user named the folder of the images. An embedding from disk names its folder itself, and may come
    from somebody else: then only those images are shown whose content is still the one that was embedded."""

    @cached_property
    def entry_of(self) -> dict[str, Entry]:
        """Images by path."""
        return {entry.path: entry for entry in self.entries}

    def save(self, folder: Path) -> None:
        """Write the embedding into a folder, creating it. `embedding.json` is written last and makes it complete.

        Raises:
            InputError: If it cannot be written.
        """
        with contextlib.suppress(OSError):  # an embedding being replaced must not look complete
            (folder / "embedding.json").unlink()
        with publishing(folder / "features.npy") as file:
            np.save(file, self.features)
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, fieldnames=list(Entry.__dataclass_fields__))
        writer.writeheader()
        writer.writerows({**asdict(entry), "sha256": self.digest_of(entry)} for entry in self.entries)
        publish_text(folder / "manifest.csv", table.getvalue())
        content = {"root": str(self.root.resolve()), "images": len(self.entries), **self.metadata}
        publish_json(folder / "embedding.json", content)

    def digest_of(self, entry: Entry) -> str:
        """SHA-256 of an image file; empty if it cannot be read."""
        try:
            return hashlib.sha256(content_of(self.root / entry.path)).hexdigest()
        except InputError:
            return ""

    def content_of(self, entry: Entry) -> bytes:
        """Read an image file.

        Raises:
            InputError: If it cannot be read; or if this embedding is from disk and the file is not the one that was
                embedded. So an embedding from elsewhere cannot show images of this machine that its author never had.
        """
        content = content_of(self.root / entry.path)
        if not self.named and hashlib.sha256(content).hexdigest() != entry.sha256:
            raise InputError(f"{self.root / entry.path} is not the image that was embedded.")
        return content

    @classmethod
    def load(cls, folder: Path) -> "Embedding":
        """Read an embedding.

        Raises:
            MissingFileError: If a file is missing.
            InputError: If a file is not valid, or the features do not match the manifest.
        """
        for name in ("features.npy", "manifest.csv", "embedding.json"):
            if not (folder / name).is_file():
                raise MissingFileError(f"{folder / name} is missing: an embedding is what `relattn embed` writes.")
        features = read_npy(folder / "features.npy")
        try:
            with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
                entries = [Entry(**row) for row in csv.DictReader(file, strict=True)]
            for line, entry in enumerate(entries, start=2):
                inside(entry.path, f"{folder / 'manifest.csv'}, line {line}")
            metadata = checked_metadata(json.loads((folder / "embedding.json").read_text(encoding="utf-8")))
            root, _ = Path(metadata.pop("root")), metadata.pop("images", None)
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError, KeyError, OSError, csv.Error, RecursionError) as error:
            raise InputError(
                f"{folder}: manifest.csv or embedding.json is not as `relattn embed` writes it ({error!s:.200}). Make "
                "the embedding again."
            ) from error
        if features.ndim != 2 or len(features) != len(entries) or features.dtype.kind != "f":
            raise InputError(
                f"{folder}: features.npy is {features.shape} of {features.dtype}, and manifest.csv has {len(entries)} "
                "rows: expected floating point numbers (images, dimensions), a row for each. Make the embedding again."
            )
        return cls(compared_as(features), entries, root, metadata, named=False)

    def part(self, split: str) -> "Embedding":
        """Return the part of the embedding that belongs to a split."""
        rows = [row for row, entry in enumerate(self.entries) if entry.split == split]
        return replace(self, features=self.features[rows], entries=[self.entries[row] for row in rows])


def checked_metadata(content: Any) -> dict[str, Any]:
    """Check the content of `embedding.json`: it must have a root, and its text entries must be strings.

    Raises:
        ValueError: If an entry is of another type, or there is no root.
    """
    texts = ("root", "sha256", "checkpoint", "distance", "feature", "flip", "labels")
    if not isinstance(content, dict) or not isinstance(content.get("root"), str) or "\0" in content["root"]:
        raise ValueError("it has no root")
    if wrong := [name for name in texts if not isinstance(content.get(name, ""), str)]:
        raise ValueError(f"its {wrong[0]} is not text")
    return content


def compared_as(features: NDArray[Any]) -> NDArray[Any]:
    """Convert features to the precision they are compared in: float64 stays, all else becomes float32."""
    return features if features.dtype == np.float64 else features.astype(np.float32, copy=False)


def check_comparable(query: dict[str, Any], gallery: dict[str, Any]) -> None:
    """Refuse to compare features of different networks, according to the embeddings' metadata.

    Entries that only one of them has are not compared: an embedding of `relattn predict` does not name its checkpoint.

    Args:
        query: `metadata` of one embedding.
        gallery: `metadata` of the other.

    Raises:
        InputError: If an entry differs.
    """
    for what in ("sha256", "feature", "flip", "image_size", "interpolation"):
        if what in query and what in gallery and query[what] != gallery[what]:
            mine, other = query[what], gallery[what]
            if what == "sha256":
                mine, other = (
                    f"{metadata.get('checkpoint')} (SHA-256 {metadata[what][:8]})" for metadata in (query, gallery)
                )
            raise InputError(
                f"Query and gallery cannot be compared: {'checkpoint' if what == 'sha256' else what} is {mine} for the "
                f"query and {other} for the gallery. Embed both with the same checkpoint and options."
            )
