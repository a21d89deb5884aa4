"""Drawn people in the official layouts of Market-1501, DukeMTMC-reID, CUHK03 and MSMT17.

A loader for the genuine set reads these. Training and test have different people, each seen by two to six cameras.
"""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.synthetic.people.cameras import World, draw_looks
from relattn.synthetic.people.render import Image, choose, draw_person, render
from relattn.synthetic.staging import staged

cv2 = Lazy("cv2", "suite")
h5py = Lazy("h5py", "suite")
mat_files = Lazy("scipy.io", "suite")

ANY = math.inf  # no upper bound
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
DAYS = ("0113noon", "0302morning", "0303afternoon")  # of MSMT17
PAIRS = (843, 440, 77, 58, 49)  # people seen by each pair of CUHK03's cameras
BOXES = ((0.42, 0.0, 1.0), (-0.42, 0.1, 0.9), (0.1, 0.42, 0.8), (0.2, -0.3, 0.5), (-0.1, 0.0, 0.4))  # of junk


@contextmanager
def _staged(root: Path, name: str, train: int, test: int, seed: int, **more: tuple[int, int, float]) -> Iterator[Path]:
    """A folder that becomes `root/name` if no error occurs; the numbers in `more` are (value, least, most) to check."""
    numbers = {"train_identities": (train, 1, ANY), "test_identities": (test, 1, ANY), "seed": (seed, 0, ANY)}
    for what, (value, least, most) in (numbers | more).items():
        if not least <= value <= most:
            expected = f"{least} or more" if most == ANY else f"{least} to {most}"
            raise InputError(f"{name}: {what} is {value}, expected {expected}.")
    with staged(root, name) as folder:
        yield folder


def _save(file: Path, image: Image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def _boxes(world: World, train: int, test: int, alone: int, mean: int) -> Iterator[tuple[Any, ...]]:
    """Split, index of the person, number from 1, camera from 1, time, and image; `alone` more people have one camera.

    Indices below `train` are in training. Of every person in test, one image per camera is a query.
    """
    for place, number in enumerate((np.argsort(world.rng(4).random(train + test + alone)) + 1).tolist()):
        for camera, images, rng in world.visits(number, mean, 6 if place < train + test else 1):
            start, query = int(rng.integers(8000)), rng.integers(len(images)) if place < train + test else -1
            for step, image in enumerate(images):
                split = "train" if place < train else "query" if step == query else "gallery"
                yield split, place, number, camera + 1, start + step, image


def write_market1501(
    root: Path,
    *,
    train_identities: int = 150,
    test_identities: int = 100,
    images_per_camera: int = 4,
    cameras: int = 6,
    junk: int = 200,
    distractors: int = 400,
    seed: int = 0,
) -> Path:
    """Draw people and write them in the layout of Market-1501, all of them or nothing.

    Args:
        root: Folder to write to; created if it does not exist.
        train_identities: People for training, 751 in the genuine set.
        test_identities: People to search for, 750 in the genuine set.
        images_per_camera: Mean number of images of a person from each camera that sees them, at least 2.
        cameras: Number of cameras, 2 to 6.
        junk: Badly cropped gallery images with identity -1; 3,819 in the genuine set.
        distractors: Gallery images with identity 0, of strangers or nobody; 2,798 in the genuine set.
        seed: The same seed gives the same images.

    Returns:
        The folder written, `root/Market-1501-v15.09.15`.

    Raises:
        InputError: If that folder already exists, or a number is out of range.
    """
    more = {"junk": (junk, 0, ANY), "distractors": (distractors, 0, ANY), "cameras": (cameras, 2, 6)}
    more["images_per_camera"] = (images_per_camera, 2, ANY)
    with _staged(root, "Market-1501-v15.09.15", train_identities, test_identities, seed, **more) as folder:
        world = World("market1501", seed, cameras)
        boxes = _boxes(world, train_identities, test_identities, 0, images_per_camera)
        for split, _, number, camera, time, image in boxes:
            name = f"{number:04d}_c{camera}s{time % 6 + 1}_{25 * time + 1:06d}_{time % 4 + 1:02d}.jpg"
            _save(folder / FOLDERS[split] / name, image)
        for number in range(junk + distractors):
            rng, useless = world.rng(5, number), number < junk
            person, camera = draw_person(rng), int(rng.integers(cameras))
            (look,) = draw_looks(world.cameras[camera], 1, rng)
            look = look._replace(box=choose(rng, BOXES) if useless else look.box)
            image = render(person if useless or rng.random() < 0.6 else None, world.cameras[camera], look)
            name = f"{'-1' if useless else '0000'}_c{camera + 1}s{number % 6 + 1}_{25 * number + 1:06d}_01.jpg"
            _save(folder / FOLDERS["gallery"] / name, image)
    return root / folder.name


def write_dukemtmc(
    root: Path, *, train_identities: int = 150, test_identities: int = 100, distractors: int = 40, seed: int = 0
) -> Path:
    """Draw people and write them in the layout of DukeMTMC-reID, all of them or nothing.

    As `write_market1501`, except that distractors are people whom only one camera sees: 702, 702 and 408 in the genuine
    set. Returns `root/DukeMTMC-reID`.

    Args:
        root: Folder that will contain the set's own folder.
        train_identities: People for training.
        test_identities: People to search for.
        distractors: People in the gallery whom only one camera sees.
        seed: The same seed gives the same images.
    """
    more = {"distractors": (distractors, 0, ANY)}
    with _staged(root, "DukeMTMC-reID", train_identities, test_identities, seed, **more) as folder:
        boxes = _boxes(World("dukemtmc", seed), train_identities, test_identities, distractors, 5)
        for split, _, number, camera, time, image in boxes:
            _save(folder / FOLDERS[split] / f"{number:04d}_c{camera}_f{120 * time + 1:07d}.jpg", image)
    return root / folder.name


def write_msmt17(
    root: Path, *, version: Literal[1, 2] = 1, train_identities: int = 150, test_identities: int = 100, seed: int = 0
) -> Path:
    """Draw people and write them in the layout of MSMT17, all of them or nothing.

    As `write_market1501`; 1,041 and 3,060 people in the genuine set, whose second version, with other folders, has
    masked faces. Returns `root/MSMT17_V1` or `root/MSMT17_V2`.

    Args:
        root: Folder that will contain the set's own folder.
        version: Version of the set's layout, 1 or 2.
        train_identities: People for training.
        test_identities: People to search for.
        seed: The same seed gives the same images.
    """
    folders = ("train", "test") if version == 1 else ("mask_train_v2", "mask_test_v2")
    lists: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}
    more, name = {"version": (version, 1, 2)}, f"MSMT17_V{version}"
    with _staged(root, name, train_identities, test_identities, seed, **more) as folder:
        counts = [0] * (train_identities + test_identities)
        boxes = _boxes(World("msmt17", seed), train_identities, test_identities, 0, 7)
        for split, place, _, camera, time, image in boxes:
            person = place - train_identities * (split != "train")
            name = f"{person:04d}/{person:04d}_{counts[place]:03d}_{camera:02d}_{DAYS[camera % 3]}_{time:04d}_0.jpg"
            lists["val" if split == "train" and counts[place] % 13 == 3 else split].append(f"{name} {person}\n")
            counts[place] += 1
            _save(folder / folders[split != "train"] / name, image)
        for split, lines in lists.items():
            (folder / f"list_{split}.txt").write_text("".join(lines), encoding="utf-8")
    return root / folder.name


def write_cuhk03(root: Path, *, train_identities: int = 150, test_identities: int = 100, seed: int = 0) -> Path:
    """Draw people and write them in the layout of CUHK03, with both protocols, all of them or nothing.

    As `write_market1501`; 767 and 700 people in the genuine set. Each is seen by the two cameras of one of five pairs.
    The boxes in `detected` are less accurate than those in `labeled`, and a few are missing. Returns `root/cuhk03`.

    Args:
        root: Folder that will contain the set's own folder.
        train_identities: People for training.
        test_identities: People to search for.
        seed: The same seed gives the same images.
    """
    people = train_identities + test_identities
    more = {"train_identities + test_identities": (people, 10, ANY)}
    with _staged(root, "cuhk03", train_identities, test_identities, seed, **more) as folder:
        world, serial = World("cuhk03", seed), itertools.count()
        (folder / "cuhk03_release").mkdir()
        sizes = [max(round(people * size / sum(PAIRS)), 1) for size in PAIRS[1:]]
        places = [(pair, row) for pair, size in enumerate([people - sum(sizes), *sizes]) for row in range(size)]
        trained = set(np.argsort(world.rng(4).random(people))[:train_identities].tolist())
        with h5py.File(folder / "cuhk03_release" / "cuhk-03.mat", "w") as file:

            def put(values: Any, kind: str = "cell", name: str = "") -> Any:  # transposed, as in MATLAB; a reference
                values = np.array(values, dtype=h5py.ref_dtype if kind == "cell" else None).T
                data = file.create_dataset(name or f"#refs#/{next(serial)}", data=values)
                data.attrs["MATLAB_class"] = np.bytes_(kind)
                return data.ref

            empty = put(np.zeros(2, dtype=np.uint64), "double")  # the placeholder for a missing image
            for boxes in ("labeled", "detected"):
                cells: list[list[list[Any]]] = [[] for _ in PAIRS]
                rows: list[tuple[str, int, int, str]] = []
                for person, (pair, row) in enumerate(places):
                    images = _ten(world, person, pair, boxes == "detected")
                    cells[pair].append([empty if image is None else put(image, "uint8") for image in images])
                    for column in (column for column, image in enumerate(images) if image is not None):
                        split = "train" if person in trained else "gallery" if column % 5 else "query"
                        name = f"{pair + 1}_{row + 1:03d}_{column // 5 + 1}_{column + 1:02d}.png"
                        rows.append((name, person + 1, column // 5 + 1, split))
                put([[put(cell)] for cell in cells], name=boxes)
                names, labels, views, splits = (np.array(values)[:, None] for values in zip(*rows, strict=True))
                config = {"filelist": names.astype(object), "labels": np.uint16(labels), "camId": np.uint8(views)}
                for split in ("train", "query", "gallery"):
                    config[f"{split}_idx"] = (np.argwhere(splits[:, :1] == split)[:, :1] + 1).astype(np.uint16)
                mat_files.savemat(folder / f"cuhk03_new_protocol_config_{boxes}.mat", config)
            drawn = [np.argsort(world.rng(6, test).random(people))[: min(100, people // 2)] for test in range(20)]
            sets = [[[places[person][0] + 1, places[person][1] + 1] for person in sorted(test)] for test in drawn]
            put([[put(np.array(pairs, dtype=np.float64), "double")] for pairs in sets], name="testsets")
    return root / folder.name


def _ten(world: World, number: int, pair: int, detected: bool) -> list[Image | None]:
    """The images of a person from both cameras of a pair, five columns each, None for missing images."""
    images: list[Image | None] = []
    for camera in (2 * pair, 2 * pair + 1):
        rng, person = world.rng(3, number, camera), draw_person(world.rng(1, number))
        count, height, lost = choose(rng, (5,) * 12 + (4, 3, 2)), int(rng.integers(160, 281)), rng.random() < 0.02
        size = height, round(min(max(height * rng.uniform(0.34, 0.42), 60), 100))
        for step, look in enumerate(draw_looks(world.cameras[camera], 5, world.rng(2, number, camera))):
            box = (rng.uniform(-0.1, 0.1), rng.uniform(-0.06, 0.06), rng.uniform(0.85, 1.15)) if detected else look.box
            there = step < max(count - (detected and lost), 2)
            images.append(render(person, world.cameras[camera], look._replace(box=box), size=size) if there else None)
    return images


PREVIEWED = 8
"""Number of people on a contact sheet."""


def preview(name: str, file: Path, *, cameras: int | None = None, seed: int = 0, **counts: int) -> None:
    """Write a contact sheet with a row for each of the first people and a column for each camera.

    Images that the set leaves out are also drawn.

    Args:
        name: The data set, as in `write_<name>`.
        file: The PNG to write.
        cameras: Number of cameras of the set; by default its own.
        seed: Seed of the set.
        counts: Other options of the set, which do not change images.

    Raises:
        InputError: If the file cannot be written.
    """
    world = World(name, seed, cameras)
    rows = [
        np.concatenate([world.images(person, camera, 1)[0] for camera in range(len(world.cameras))], axis=1)
        for person in range(1, PREVIEWED + 1)
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".png", np.concatenate(rows)[..., ::-1])[1].tobytes())
    except OSError as error:
        raise InputError(f"--preview {file} cannot be written: {error.strerror}.") from error
