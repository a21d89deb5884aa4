"""The common form of all re-identification data sets: images of known identity and camera, in three splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class PersonImage(NamedTuple):
    """One cropped person."""

    path: str
    """Relative to the root of its splits, with forward slashes."""

    identity: int
    """As the data set numbers it. Market-1501's distractors are identity 0, which no query has."""

    camera: int
    """From 0. A gallery image of the query's identity and camera is junk for that query."""


@dataclass(frozen=True)
class Splits:
    """The images of a data set, each split sorted by path, so that they are the same on every machine."""

    root: Path
    """The folder that the images' paths are relative to."""

    train: Sequence[PersonImage]
    """Empty where only scores are asked for."""

    query: Sequence[PersonImage]
    gallery: Sequence[PersonImage]

    published: Mapping[str, int] = field(default_factory=dict)
    """Published numbers of the genuine set, by the names that `counts` gives them; empty where there are none."""

    identity_names: Mapping[int, str] = field(default_factory=dict)
    """Names of identities, where a data set has others than their numbers."""

    def counts(self) -> dict[str, int]:
        """The number of images and of identities of each split that is there: `{"train images": ..., ...}`."""
        found = {}
        for name, images in (("train", self.train), ("query", self.query), ("gallery", self.gallery)):
            if not images:
                continue
            found[f"{name} images"] = len(images)
            found[f"{name} identities"] = len({image.identity for image in images})
        return found
