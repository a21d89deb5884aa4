"""Your own re-identification data in folders, without a table: a folder for each identity, or descriptive file names.

The path of an image states its identity, and may state its camera: `anna/01.jpg`, or `0007_c2_0013.jpg` with the
pattern `(?P<identity>-?[0-9]+)_c(?P<camera>[0-9]+)_`. Folders `train`, `query` and `gallery` are used as they are. Of
`train` and `test`, the latter is split into queries and a gallery. Without these folders, a share of the identities is
held out.
"""

import warnings
from pathlib import Path

from relattn.errors import InputError, MissingFileError, some_of
from relattn.tasks.image_folders import check_split_folders, images_below, say_left_out
from relattn.tasks.name_patterns import label_reader
from relattn.tasks.reid.checks import check_splits
from relattn.tasks.reid.manifest import NO_ONE, names_of, numbering
from relattn.tasks.reid.splits import PersonImage, Splits, drawn, queries_and_gallery, searchable
from relattn.tasks.shares import check_trainable, say_not_scored

FOLDER_PER_IDENTITY = "^(?P<identity>[^/]+)/"
"""The first folder of a path is the identity."""

LAYOUTS = (("train", "query", "gallery"), ("train", "test"))
"""Folders that determine the split of an image."""


def read_people(
    root: Path,
    pattern: str = FOLDER_PER_IDENTITY,
    *,
    test: float = 0.5,
    split_seed: int = 0,
    training: bool = True,
    new: bool = False,
) -> Splits:
    """Read folders of people.

    Args:
        root: The folder of the images.
        pattern: A regular expression with the group `identity` and, if names contain it, `camera`. It is searched for
            in the path relative to `root` or to the folder of the split. Without cameras, all images are of camera 0.
        test: The share of the identities held out for the test if there are no folders of splits; 1 for all of them.
        split_seed: Seed of the choice of these identities.
        training: Whether training images are needed.
        new: Whether the network in use was trained on other data, so that all of these can be scored.

    Raises:
        MissingFileError: If there is no such folder, or the folder of a split is missing.
        InputError: If no name matches the pattern, or there are too few identities.
    """
    if not root.is_dir():
        raise MissingFileError(f"PeopleFolders: there is no folder {root}. Name it with --data.root.")
    if training:
        check_trainable("PeopleFolders", test)
    check_split_folders(root, sorted({*LAYOUTS[0], *LAYOUTS[1]}), "PeopleFolders")
    parts = splits_in(root, training=training)
    read = label_reader(pattern, {}, "--data.pattern")
    found: dict[str, list[tuple[str, str, str]]] = {}
    for split in parts:
        listed = images_below(root, split or ".")
        say_left_out(root, listed.left_out)
        labelled = [(path, *read(path.removeprefix(f"{split}/"))) for path in listed.paths]
        say_left_out(
            root, [path for path, identity, _ in labelled if not identity], "names that do not fit the pattern"
        )
        say_left_out(
            root,
            [path for path, identity, _ in labelled if identity == NO_ONE],
            f"identity {NO_ONE} shows no one",
        )
        found[split] = [entry for entry in labelled if entry[1] not in ("", NO_ONE)]
        if not found[split]:
            example = f", such as {listed.paths[0]}" if listed.paths else ""
            raise InputError(
                f"PeopleFolders: of {len(listed.paths):,} images in {root / split}{example}, none fits the pattern "
                f"{pattern!r}. Expected a folder for each identity, or --data.pattern with the groups identity and "
                "camera."
            )
    everything = [entry for part in found.values() for entry in part]
    identities = numbering(identity for _, identity, _ in everything)
    cameras = numbering(camera for *_, camera in everything)
    images = {
        split: sorted(PersonImage(path, identities[person], cameras[camera]) for path, person, camera in part)
        for split, part in found.items()
    }
    train: list[PersonImage] = []
    if "" in images and test == 1:
        query, gallery = queries_of_test(images[""])
    elif "" in images:
        train, held_out = hold_out(root, images[""], test, split_seed)
        query, gallery = queries_and_gallery(held_out)
        if new and not training:
            say_not_scored(root, len(train), len(images[""]), test)
    else:
        train = images.get("train", [])
        query, gallery = queries_of_test(images["test"]) if "test" in images else (images["query"], images["gallery"])
    splits = Splits(
        root,
        train if training else [],
        query,
        gallery,
        identity_names=names_of(identities),
        camera_names=names_of(cameras),
    )
    check_splits(splits, "PeopleFolders", training=training)
    return splits


def splits_in(root: Path, *, training: bool) -> tuple[str, ...]:
    """The folders of splits to read; a single empty name if there are none.

    Raises:
        MissingFileError: If some folders of a layout exist and others are missing.
    """
    for layout in LAYOUTS:
        needed = tuple(name for name in layout if training or name != "train")
        there = [name for name in needed if (root / name).is_dir()]
        if len(there) == len(needed):
            return needed
        if there and layout is LAYOUTS[0] and there != ["train"]:
            lacking = ", ".join(name for name in needed if name not in there)
            raise MissingFileError(
                f"PeopleFolders: {root} has {', '.join(there)} and no {lacking}. Expected train, query and gallery; or "
                "train and test; or no such folder, and a share of the identities is held out."
            )
    if training and (root / "train").is_dir():
        raise MissingFileError(
            f"PeopleFolders: {root} has train and neither test nor query and gallery. Add them, or give "
            f"--data.root {root / 'train'}, of which a share of the identities is held out."
        )
    return ("",)


def hold_out(
    root: Path, images: list[PersonImage], test: float, split_seed: int
) -> tuple[list[PersonImage], list[PersonImage]]:
    """Separate the images of a share of the identities from the others: training images, test images.

    Raises:
        InputError: If too few identities can serve as queries.
    """
    total, eligible = len({image.identity for image in images}), searchable(images)
    count = max(round(test * total), 2)
    if len(eligible) < count or total - count < 2:
        raise InputError(
            f"PeopleFolders: --data.test {test} of {total} identities in {root} are {count} to test with, and "
            f"{len(eligible)} are seen by two cameras (or have two images, where all are of one camera). Add images, "
            "or change the share; two identities must be left to train with. For features of images of anybody, use "
            "relattn embed --images."
        )
    return drawn(images, eligible, count, split_seed)


def queries_of_test(images: list[PersonImage]) -> tuple[list[PersonImage], list[PersonImage]]:
    """Split a folder `test` into queries and gallery; identities that cannot be queries are in the gallery alone."""
    eligible = set(searchable(images))
    query, gallery = queries_and_gallery([image for image in images if image.identity in eligible])
    if alone := [image for image in images if image.identity not in eligible]:
        warnings.warn(
            f"{len(alone):,} images of test are of identities without a second camera (or image, where all are of one "
            f"camera), and in the gallery alone: {some_of([image.path for image in alone])}.",
            stacklevel=2,
        )
    return query, sorted([*gallery, *alone])
