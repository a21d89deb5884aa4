"""MSMT17 in both of its versions; the second is the first with the faces masked.

Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018. It has 15 cameras, and
lists of files give the images and identities of each split. The identities of training and of test both count from 0,
but are different people.
"""

import posixpath
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

from relattn.errors import InputError, MissingFileError, some_of
from relattn.tasks.files import absent, inside, not_found
from relattn.tasks.reid.checks import check_splits
from relattn.tasks.reid.splits import PersonImage, Splits, numbered_from_one

Version = Literal[1, 2]

CAMERAS = 15
BASES = (".", "msmt17", "MSMT17")
"""Folders, relative to the root, that may contain a version's own folder or be it."""
FOLDERS: dict[Version, dict[str, str]] = {
    1: {"train": "train", "test": "test"},
    2: {"train": "mask_train_v2", "test": "mask_test_v2"},
}
SOURCE = (
    "Peking University gives MSMT17 to researchers who ask its authors for it; the lists come in the same archive as "
    "the images, and copies of the set often lack them."
)
PUBLISHED = {
    "train images": 30_248,
    "train identities": 1_041,
    "query images": 11_659,
    "query identities": 3_060,
    "gallery images": 82_161,
    "gallery identities": 3_060,
}
VALIDATION_IMAGES = 2_373


class FoundVersion(NamedTuple):
    """A version of the set, and where it is."""

    folder: Path
    version: Version


def read_msmt17(
    root: Path, version: Version | None = None, validation: bool = False, *, training: bool = True
) -> Splits:
    """Read MSMT17.

    Args:
        root: The folder that contains `MSMT17_V1` or `MSMT17_V2`, or `msmt17` or `MSMT17` with one of them inside.
        version: The version; by default the one that exists.
        validation: Whether to train on `list_val.txt` as well. Then there are 32,621 training images, the number that
            papers state, as in TransReID; torchreid, fast-reid and reid-strong-baseline train on the 30,248 of
            `list_train.txt` alone. Scores of the two are not comparable.
        training: Whether training images are needed; otherwise they are left out.

    Raises:
        InputError: If the set or its lists are missing or incomplete, or a list does not have MSMT17's format.
    """
    if version not in (None, 1, 2):
        raise InputError(f"MSMT17: version is {version!r}, expected 1, 2 or None for the one that is there.")
    folder, version = find_version(root, version, training=training)
    lists = {"query": ["query"], "gallery": ["gallery"]}
    if training:
        lists["train"] = ["train", *(["val"] if validation else [])]
    names = [f"list_{part}.txt" for parts in lists.values() for part in parts]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise MissingFileError(f"{folder} is incomplete: {', '.join(missing)} missing. {SOURCE}")
    images = {}
    for split, parts in lists.items():
        pictures = FOLDERS[version]["train" if split == "train" else "test"]
        images[split] = [image for part in parts for image in read_list(folder / f"list_{part}.txt", pictures)]
        files = [image.path for image in images[split]]
        if len(set(files)) < len(files):
            twice = sorted(path for path, count in Counter(files).items() if count > 1)
            raise InputError(f"{folder}: the lists of the {split} set name images twice: {some_of(twice)}.")
        if gone := absent(folder, files):
            raise MissingFileError(
                f"{folder} is incomplete: {len(gone):,} of the {len(files):,} images of the {split} set are missing "
                f"({some_of(gone)}). Unpack MSMT17 again."
            )
    published = PUBLISHED | ({"train images": PUBLISHED["train images"] + VALIDATION_IMAGES} if validation else {})
    train, query, gallery = (tuple(sorted(images.get(split, ()))) for split in ("train", "query", "gallery"))
    splits = Splits(folder, train, query, gallery, published=published, camera_names=numbered_from_one(CAMERAS))
    check_splits(splits, "MSMT17", training=training, shared_numbering=False)
    return splits


def find_version(root: Path, version: Version | None, *, training: bool = True) -> FoundVersion:
    """Find the folder of a version.

    Raises:
        MissingFileError: If it does not exist or is incomplete.
        InputError: If both versions exist and none was chosen.
    """
    known_versions = [known for known in FOLDERS if version in (None, known)]
    candidates = []
    for base in (root / base for base in BASES):
        for known in known_versions:
            name = f"MSMT17_V{known}"
            candidates += [FoundVersion(base / name, known), FoundVersion(base / name / name, known)]
            if base.absolute().name.lower().startswith("msmt17") or any(base.glob("list_*.txt")):
                candidates.append(FoundVersion(base, known))  # folders train and test alone may belong to any data set
    needed = {known: [part for kind, part in FOLDERS[known].items() if training or kind == "test"] for known in FOLDERS}
    complete: dict[Version, FoundVersion] = {}
    for found in candidates:
        if all((found.folder / part).is_dir() for part in needed[found.version]):
            complete.setdefault(found.version, found)
    if len(complete) > 1:
        raise InputError(
            f"MSMT17 is present in both versions, {complete[1].folder} and {complete[2].folder}. Choose one with "
            "--data.version 1 or 2."
        )
    if complete:
        return next(iter(complete.values()))
    for folder, known in candidates:
        lacking = [part for part in needed[known] if not (folder / part).is_dir()]
        if folder.name == f"MSMT17_V{known}" and folder.is_dir():
            raise MissingFileError(f"{folder} is incomplete: {', '.join(lacking)} missing. Unpack MSMT17 again.")
    name = f"MSMT17_V{version or 1}"
    parts = [*FOLDERS[version or 1].values(), *(f"list_{part}.txt" for part in ("train", "val", "query", "gallery"))]
    raise not_found("MSMT17", root, [f"{name}/{part}" for part in parts], SOURCE, "msmt17")


def read_list(file: Path, folder: str) -> list[PersonImage]:
    """Read a list, which has an image and its identity on each line.

    Raises:
        InputError: If a line does not have MSMT17's format.
    """
    images = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a list of files: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        path, _, identity = line.strip().rpartition(" ")
        fields = posixpath.basename(path).split("_")
        if not identity.isdecimal() or len(fields) < 4 or not fields[2].isdecimal():
            raise InputError(
                f"{file}, line {number}: {line.strip()!r}, expected a path and an identity like "
                "'0000/0000_000_01_0303morning_0015_0.jpg 0'."
            )
        camera = int(fields[2])
        if not 1 <= camera <= CAMERAS:
            raise InputError(f"{file}, line {number}: the camera of {path} is {camera}, expected 1 to {CAMERAS}.")
        path = inside(path, f"{file}, line {number}", folder)
        images.append(PersonImage(f"{folder}/{path}", int(identity), camera - 1))
    return images
