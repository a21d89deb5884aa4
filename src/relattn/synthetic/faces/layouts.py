"""Drawn faces in the layouts that face verification reads: folders for training, and five verification sets.

The sets are named after the published ones and stress the same properties: `lfw` photographs taken anywhere, `cplfw`
pose, `calfw` age, `cfp_fp` frontal against profile, `agedb_30` a gap of thirty years. As in the originals, the two
people of a different pair in `cplfw` and `calfw` have the same sex and look alike. No person in them is used for
training.
"""

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.synthetic.faces.people import Appearance, Identity, Image, choose, draw_appearance, draw_identity
from relattn.synthetic.faces.render import render
from relattn.synthetic.staging import staged

cv2 = Lazy("cv2", "suite")

PACKS = ("lfw", "cplfw", "calfw", "cfp_fp", "agedb_30")
ALIKE = ("cplfw", "calfw")
FOLDS = 10
YEARS = 60  # from age 0 to age 1


def write_faces(
    root: Path,
    *,
    identities: int = 400,
    images_per_identity: int = 30,
    pairs: int = 600,
    size: int = 112,
    seed: int = 0,
) -> Path:
    """Draw faces and write them, all of them or nothing.

    `faces/train/<identity>/<n>.jpg` are for training. `faces/lfw.bin` and the other sets are pickles of (bins,
    issame): encoded images, of which 2i and 2i+1 are pair i, and whether a pair shows one person. Each of ten folds
    lists its pairs of one person, and then as many of two people.

    Args:
        root: Folder to write to; created if it does not exist.
        identities: People to train with, 10,575 in CASIA-WebFace.
        images_per_identity: Photographs of each person.
        pairs: Pairs in each verification set, a multiple of 20; 6,000 in the genuine ones, 7,000 in `cfp_fp`.
        size: Height and width of the images, in pixels.
        seed: The same seed gives the same images.

    Returns:
        The folder written, `root/faces`.

    Raises:
        InputError: If that folder already exists, or a number is out of range.
    """
    for what, value, least in (
        ("identities", identities, 2),
        ("images_per_identity", images_per_identity, 1),
        ("pairs", pairs, 2 * FOLDS),
        ("size", size, 16),
        ("seed", seed, 0),
    ):
        if value < least:
            raise InputError(f"faces: {what} is {value}, expected {least} or more.")
    if pairs % (2 * FOLDS):
        raise InputError(f"faces: pairs is {pairs}, expected a multiple of {2 * FOLDS}: ten folds, half of each same.")
    with staged(root, "faces") as folder:
        for number in range(identities):
            person = draw_identity(np.random.default_rng((seed, 0, number)))
            (home := folder / "train" / f"{number + 1:05d}").mkdir(parents=True)
            for image in range(images_per_identity):
                look = training_appearance(np.random.default_rng((seed, 1, number, image)), person)
                (home / f"{image + 1:03d}.jpg").write_bytes(encoded(render(person, look, size=size)))
        for name in PACKS:
            bins, same = [], []
            for label, photographs in pack_pairs(name, pairs, seed):
                bins += [encoded(render(*photograph, size=size)) for photograph in photographs]
                same.append(label)
            with (folder / f"{name}.bin").open("wb") as file:
                pickle.dump((bins, same), file, protocol=4)
    return root / folder.name


def encoded(image: Image) -> bytes:
    """An image as a JPEG file."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def training_appearance(rng: np.random.Generator, person: Identity) -> Appearance:
    """A photograph for training: at any age, and in one of three cases in any pose."""
    fixed: dict[str, Any] = {"age": rng.random()}
    if rng.random() < 1 / 3:
        fixed["yaw"] = rng.uniform(-1.4, 1.4)
    return draw_appearance(rng, person, **fixed)


def pack_pairs(
    name: str, pairs: int, seed: int
) -> Iterator[tuple[bool, tuple[tuple[Identity, Appearance], tuple[Identity, Appearance]]]]:
    """The pairs of a set in the official order: whether it is one person, and both people with their appearances."""
    each = pairs // (2 * FOLDS)
    for number in range(pairs):
        rng = np.random.default_rng((seed, 2 + PACKS.index(name), number))
        same = number // each % 2 == 0
        one = draw_identity(rng)
        other = one if same else draw_identity(rng, like=one if name in ALIKE else None)
        conditions = [draw_condition(name, rng), {}]
        conditions[1] = draw_condition(name, rng, conditions[0])
        if rng.random() < 0.5:
            conditions.reverse()
        first, second = (
            (person, draw_appearance(rng, person, **fixed))
            for person, fixed in zip((one, other), conditions, strict=True)
        )
        yield same, (first, second)


def draw_condition(name: str, rng: np.random.Generator, first: dict[str, Any] | None = None) -> dict[str, Any]:
    """The properties that a set fixes in a photograph, for the `first` of a pair or the other one."""
    if name in ("calfw", "agedb_30"):
        return draw_age(name, rng, first)
    age = rng.uniform(0, 0.75) if first is None else max(first["age"] + rng.uniform(-0.1, 0.1), 0)
    if name == "cplfw":
        turned = rng.uniform(0.55, 1.2) * choose(rng, (-1, 1))
        return {"age": age, "yaw": rng.uniform(-0.3, 0.3) if first is None else turned}
    if name == "cfp_fp":
        profile = rng.uniform(1.1, math.pi / 2 - 0.1) * choose(rng, (-1, 1))
        return {"age": age, "yaw": rng.uniform(-0.12, 0.12) if first is None else profile}
    return {"age": age}


def draw_age(name: str, rng: np.random.Generator, first: dict[str, Any] | None) -> dict[str, Any]:
    """The ages that a set fixes, for one photograph and for the other of the pair."""
    if name == "calfw":
        return {"age": rng.uniform(0, 0.3) if first is None else rng.uniform(0.55, 1)}
    return {"age": rng.uniform(0, 1 - 30 / YEARS) if first is None else first["age"] + 30 / YEARS}
