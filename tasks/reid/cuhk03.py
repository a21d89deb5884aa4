"""CUHK03 in its authors' release, `cuhk-03.mat`, under the protocol of 767 and 700 identities or the classic one.

Li et al., "DeepReID: Deep Filter Pairing Neural Network for Person Re-identification", CVPR 2014: 1,467 identities seen
by five pairs of cameras, in boxes drawn by a person or found by a detector. The images are extracted once, into
`images_labeled` or `images_detected` beside `cuhk03_release`. Their names `{pair}_{identity}_{view}_{image}.png` count
from 1; torchreid and fast-reid extract into the same folders under the same names.

The new protocol is Zhong et al.'s, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.io import loadmat

from relattn.errors import InputError, MissingFileError, some_of
from relattn.tasks.apart import apart
from relattn.tasks.files import absent, not_found
from relattn.tasks.reid.checks import check_splits
from relattn.tasks.reid.cuhk03_mat import MAT, extract, read_names, read_test_set
from relattn.tasks.reid.market1501 import CUHK03_PUBLISHED, Boxes, cuhk03_np, find_layout, read_cuhk03_np
from relattn.tasks.reid.splits import PersonImage, Splits, numbered_from_one

Protocol = Literal["new", "classic"]

HOMES = (".", "cuhk03")
"""Folders, relative to the root, that may contain `cuhk03_release` and the extracted images."""

FIELDS = ("filelist", "labels", "camId", "train_idx", "query_idx", "gallery_idx")
"""The fields that are read from a protocol file."""

NAME = re.compile(r"(\d)_(\d{3,})_([12])_(\d{2,})\.png")
PROTOCOL_SOURCE = "https://github.com/zhunzhong07/person-re-ranking, in evaluation/data/CUHK03"
SOURCE = (
    "The Chinese University of Hong Kong gives CUHK03 to researchers who ask for it, see "
    "http://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html; the file of the new protocol is at "
    f"{PROTOCOL_SOURCE}. Folders of CUHK03-NP, cuhk03-np/{{labeled,detected}}, are read as well."
)
CLASSIC_PUBLISHED = {"train identities": 1_367, "query identities": 100, "gallery identities": 100}


def read_cuhk03(
    root: Path,
    boxes: Boxes = "detected",
    protocol: Protocol = "new",
    split: int = 0,
    *,
    training: bool = True,
) -> Splits:
    """Read CUHK03; if the release is not found, read CUHK03-NP.

    Args:
        root: The folder that contains `cuhk03_release`, or `cuhk03` with it inside. The images are extracted beside the
            release the first time.
        boxes: Which boxes to use. torchreid's default is `detected`, fast-reid's `labeled`.
        protocol: `new` trains on 767 identities and has two queries for each of 700 others. `classic` trains on 1,367;
            all images of the 100 others are queries and gallery.
        split: Which of the 20 splits of the classic protocol to use, from 0.
        training: Whether training images are needed; otherwise they are left out.

    Raises:
        InputError: If files are missing or incomplete, or do not have CUHK03's content.
    """
    for argument, value, known in (("boxes", boxes, get_args(Boxes)), ("protocol", protocol, get_args(Protocol))):
        if value not in known:
            raise InputError(f"CUHK03: {argument} is {value!r}, expected {' or '.join(map(repr, known))}.")
    folder = f"images_{boxes}"
    homes = [root / home for home in HOMES]
    home = next((home for home in homes if (home / MAT).is_file() or (home / folder).is_dir()), None)
    if home is None and protocol == "new" and find_layout(root, cuhk03_np(root, boxes), training=training):
        return read_cuhk03_np(root, boxes, training=training)
    if home is None:
        files = [MAT, protocol_name(boxes)] if protocol == "new" else [MAT]
        tree = [f"cuhk03/{file}" for file in files]
        raise not_found(f"CUHK03 ({boxes} boxes, {protocol} protocol)", root, tree, SOURCE, "cuhk03")
    if protocol == "new":
        splits = read_new(home, find_protocol(home, homes, boxes), boxes)
    else:
        splits = read_classic(home, boxes, split)
    if not training:
        splits = replace(splits, train=())
    check_splits(splits, "CUHK03", training=training)
    return splits


def protocol_name(boxes: Boxes) -> str:
    """Name of the file of the new protocol."""
    return f"cuhk03_new_protocol_config_{boxes}.mat"


def find_protocol(home: Path, homes: Sequence[Path], boxes: Boxes) -> Path:
    """Find the file of the new protocol.

    Raises:
        MissingFileError: If it does not exist.
    """
    for folder in (home, (home / MAT).parent, *homes):
        if (file := folder / protocol_name(boxes)).is_file():
            return file
    raise MissingFileError(
        f"CUHK03: {home / protocol_name(boxes)} is missing, which says what the new protocol trains on. Get it from "
        f"{PROTOCOL_SOURCE}, or choose --data.protocol classic."
    )


def read_new(home: Path, file: Path, boxes: Boxes) -> Splits:
    """Read the protocol of 767 and 700 identities.

    Raises:
        InputError: If the protocol contradicts itself, or images that it lists are missing.
    """
    content = load_protocol(file)
    names = content["filelist"]
    labels, cameras = content["labels"], content["camId"]
    for field, values, least, most in (("labels", labels, 1, None), ("camId", cameras, 1, 2)):
        if len(values) != len(names):
            raise InputError(f"{file}: {field} has {len(values):,} entries, expected {len(names):,}, as filelist has.")
        check_range(values, field, file, least, most)
    chosen = {}
    for split in ("train", "query", "gallery"):
        field = f"{split}_idx"
        indices = content[field]
        check_range(indices, field, file, 1, len(names))
        if len(set(indices)) < len(indices):
            raise InputError(f"{file}: {field} names an entry of filelist twice. Get the file again.")
        chosen[split] = [index - 1 for index in indices]
    for first, second in (("train", "query"), ("train", "gallery"), ("query", "gallery")):
        if both := sorted(set(chosen[first]) & set(chosen[second])):
            raise InputError(f"{file}: {names[both[0]]} is in {first}_idx and in {second}_idx. Get the file again.")
    test = {labels[index] for split in ("query", "gallery") for index in chosen[split]}
    if both := sorted(test & {labels[index] for index in chosen["train"]}):
        raise InputError(
            f"{file}: identities of train_idx are in query_idx or gallery_idx as well: {some_of(both)}. Get the file "
            "again."
        )
    ensure_images(home, boxes, names, f"that {file} names")
    train, query, gallery = (
        tuple(
            sorted(
                PersonImage(f"images_{boxes}/{names[index]}", labels[index], cameras[index] - 1) for index in indices
            )
        )
        for indices in chosen.values()
    )
    return Splits(home, train, query, gallery, published=CUHK03_PUBLISHED[boxes], camera_names=numbered_from_one(2))


def load_protocol(file: Path) -> dict[str, Any]:
    """Load a protocol file, its list of files as strings and all other fields as lists of numbers.

    Raises:
        InputError: If it is damaged, or has other content.
    """
    content: dict[str, Any] = apart(read_protocol, file)
    if wrong := [name for name in content["filelist"] if not NAME.fullmatch(name)]:
        raise InputError(f"{file}: filelist has {wrong[0]!r}, expected names like 1_001_1_01.png.")
    return content


def read_protocol(file: Path) -> dict[str, Any]:
    """Read the fields of a protocol file, in the form that `apart` can return; raises the errors of `load_protocol`."""
    try:
        content = loadmat(file, variable_names=FIELDS)
        names = [str(np.asarray(cell).item()).strip() for cell in np.ravel(content.pop("filelist"))]
    except Exception as error:  # a damaged file can raise nearly anything
        raise InputError(
            f"{file} cannot be read as CUHK03's protocol, a MATLAB file with the field filelist: {error}. Get it again "
            f"from {PROTOCOL_SOURCE}."
        ) from error
    numbers = {field: whole_numbers(content, field, file) for field in FIELDS if field != "filelist"}
    return {**numbers, "filelist": names}


def whole_numbers(content: dict[str, Any], field: str, file: Path) -> list[int]:
    """Return a field of whole numbers.

    Raises:
        InputError: If it is missing or has other content.
    """
    if field not in content:
        raise InputError(f"{file} has no field {field}. Get it again from {PROTOCOL_SOURCE}.")
    values = np.ravel(content[field])
    if values.dtype.kind not in "uif" or (values.dtype.kind == "f" and (values % 1 != 0).any()):
        raise InputError(f"{file}: {field} holds {values.dtype}, expected whole numbers.")
    return [int(value) for value in values]


def check_range(values: Sequence[int], field: str, file: Path, least: int, most: int | None) -> None:
    """Refuse values out of range.

    Raises:
        InputError: With the first such value.
    """
    for position, value in enumerate(values, start=1):
        if value < least or (most is not None and value > most):
            expected = f"{least} to {most:,}" if most is not None else f"at least {least}"
            raise InputError(f"{file}: entry {position:,} of {field} is {value}, expected {expected}.")


def read_classic(home: Path, boxes: Boxes, split: int) -> Splits:
    """Read one of the splits into 1,367 and 100 identities.

    Raises:
        InputError: If the release is missing or damaged, the split does not exist, or images are missing.
    """
    file = home / MAT
    if not file.is_file():
        raise MissingFileError(
            f"CUHK03: {file} is missing, the only file with the splits of the classic protocol. {SOURCE} "
            "--data.protocol new does without it."
        )
    names: list[str] = apart(read_names, file, boxes)
    test = {(pair, identity) for pair, identity in apart(read_test_set, file, split)}
    people = {name: (int(name.split("_")[0]), int(name.split("_")[1])) for name in names}
    numbers = {person: number for number, person in enumerate(sorted(set(people.values())), start=1)}
    if unknown := sorted(test - set(numbers)):
        raise InputError(
            f"{file}: testsets names (pair, identity) {some_of(unknown)}, for whom {boxes} has no image. Unpack "
            "cuhk03_release again."
        )
    ensure_images(home, boxes, names, f"in {file}")
    images = [
        PersonImage(f"images_{boxes}/{name}", numbers[people[name]], int(name.split("_")[2]) - 1)
        for name in sorted(names)
    ]
    searched = {numbers[person] for person in test}
    held_out = tuple(image for image in images if image.identity in searched)
    train = tuple(image for image in images if image.identity not in searched)
    return Splits(home, train, held_out, held_out, published=CLASSIC_PUBLISHED, camera_names=numbered_from_one(2))


def ensure_images(home: Path, boxes: Boxes, names: Sequence[str], whose: str) -> None:
    """Extract the images unless that was done before.

    Raises:
        MissingFileError: If only some of them exist.
    """
    folder, file = home / f"images_{boxes}", home / MAT
    if not folder.is_dir():
        apart(extract, file, boxes, folder)
    if missing := absent(folder, names):
        again = (
            f"it is extracted again from {file}" if file.is_file() else f"extract it again, for which put {file} there"
        )
        raise MissingFileError(
            f"{folder} is incomplete: {len(missing):,} of the {len(names):,} images {whose} are missing "
            f"({some_of(missing)}). Remove the folder: {again}."
        )
