"""The common form of all re-identification data sets: images with known identity and camera, in three splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from relattn.errors import InputError


class PersonImage(NamedTuple):
    """One cropped person."""

    path: str
    """Path relative to the root of its splits, with forward slashes."""

    identity: int
    """Number used by the data set. Market-1501's distractors are identity 0, which no query has."""

    camera: int
    """Camera number from 0. A gallery image of the query's identity and camera is junk for that query."""


@dataclass(frozen=True)
class Splits:
    """The images of a data set, each split sorted by path, so that the order is the same on every machine."""

    root: Path
    """The folder to which the images' paths are relative."""

    train: Sequence[PersonImage]
    """Training images; empty if only scores are needed."""

    query: Sequence[PersonImage]
    gallery: Sequence[PersonImage]

    published: Mapping[str, int] = field(default_factory=dict)
    """Published numbers of the genuine set, by the same names as in `counts`; empty if there are none."""

    identity_names: Mapping[int, str] = field(default_factory=dict)
    """Names of identities, if the data set has names other than their numbers."""

    camera_names: Mapping[int, str] = field(default_factory=dict)
    """Names of cameras, likewise."""

    def counts(self) -> dict[str, int]:
        """The numbers of images and of identities of each non-empty split: `{"train images": ..., ...}`."""
        found = {}
        for name, images in (("train", self.train), ("query", self.query), ("gallery", self.gallery)):
            if not images:
                continue
            found[f"{name} images"] = len(images)
            found[f"{name} identities"] = len({image.identity for image in images})
        return found


def numbered_from_one(cameras: int) -> dict[int, str]:
    """Names of the cameras of a set whose files number them from 1."""
    return {camera: str(camera + 1) for camera in range(cameras)}


def searchable(images: Sequence[PersonImage]) -> list[int]:
    """Identities that can be queries, sorted: seen by two cameras, or, if there is only one camera, in two images."""
    cameras: dict[int, set[int]] = {}
    counts: dict[int, int] = {}
    for image in images:
        cameras.setdefault(image.identity, set()).add(image.camera)
        counts[image.identity] = counts.get(image.identity, 0) + 1
    several = len({image.camera for image in images}) > 1
    return sorted(person for person, seen in cameras.items() if (len(seen) if several else counts[person]) > 1)


def queries_and_gallery(images: Sequence[PersonImage]) -> tuple[list[PersonImage], list[PersonImage]]:
    """The first image of each identity and camera, and all others, both sorted.

    An image without a match among the others is one of them instead, so that one image per identity and camera gives a
    query of the first camera and a gallery of the rest.
    """
    queries = {(image.identity, image.camera): image for image in reversed(images)}
    others = Counter((image.identity, image.camera) for image in images)
    others.subtract(queries.keys())
    several = len({image.camera for image in images}) > 1
    found = Counter(identity for identity, _ in others.elements())
    for identity, camera in sorted(queries, reverse=True):
        if found[identity] == (others[identity, camera] if several else 0):
            del queries[identity, camera]
            others[identity, camera] += 1
            found[identity] += 1
    chosen = set(queries.values())
    return sorted(chosen), [image for image in images if image not in chosen]


def hold_out_validation(
    train: list[PersonImage], count: int, seed: int, name: str
) -> tuple[list[PersonImage], tuple[list[PersonImage], list[PersonImage]]]:
    """Split the queries and gallery of a validation off the training images.

    Args:
        train: Training images.
        count: Number of identities to hold out; none for 0.
        seed: Seed of their choice.
        name: Name of the data set, for messages.

    Raises:
        InputError: If there are not enough identities seen by two cameras.
    """
    if not count:
        return train, ([], [])
    eligible, total = searchable(train), len({image.identity for image in train})
    if len(eligible) < count or total - count < 2:
        raise InputError(
            f"{name}: validation is {count}, and of {total} training identities {len(eligible)} are seen by two "
            "cameras or more, as held-out ones must be (or have two images, where all are of one camera)."
        )
    rest, held_out = drawn(train, eligible, count, seed)
    return rest, queries_and_gallery(held_out)


def drawn(
    images: list[PersonImage], identities: Sequence[int], count: int, seed: int
) -> tuple[list[PersonImage], list[PersonImage]]:
    """Draw `count` of the identities; return the images of all others in `images`, and those of the drawn ones."""
    chosen = set(np.random.default_rng(seed).permutation(identities)[:count].tolist())
    return (
        [image for image in images if image.identity not in chosen],
        [image for image in images if image.identity in chosen],
    )
