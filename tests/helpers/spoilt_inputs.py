"""The files of `bad_files`: a damaged copy of a set in `data`, or a file whose content does not match its name."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import torch
import untrained
from PIL import Image

Sets = dict[str, Path]
MARKET, CIFAR, CITY = "Market-1501-v15.09.15", "cifar-10-batches-py", "cityscapes"


class Hostile:
    """A pickle that creates a folder when it is read."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("was_here",))


def copied(root: Path, folder: str) -> Path:
    """Copy a set's folder to `data`."""
    return Path(shutil.copytree(root / folder, Path("data") / folder))


def first(folder: Path, pattern: str = "*.jpg") -> Path:
    return min(folder.rglob(pattern))


def halve(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


# --- Texts ------------------------------------------------------------------------------------------------------------

TEXTS = {
    "text": ("file.txt", b"words"),
    "empty_yaml": ("bad.yaml", b""),
    "broken_yaml": ("bad.yaml", b"a: [1\n"),
    "list_yaml": ("bad.yaml", b"- 1\n"),
    "latin_yaml": ("bad.yaml", b"data: \xe9\n"),
    "misspelt_yaml": ("bad.yaml", b"trainer:\n  max_epoch: 3\n"),
    "manifest_empty": ("people.csv", b""),
    "manifest_column": ("people.csv", b"path,who,camera,split\na.jpg,1,1,train\n"),
    "manifest_short": ("people.csv", b"path,identity,camera,split\na.jpg,1\n"),
    "manifest_split": ("people.csv", b"path,identity,camera,split\na.jpg,1,1,trian\n"),
    "manifest_absolute": ("people.csv", b"path,identity,camera,split\n/a.jpg,1,1,train\n"),
    "manifest_upwards": ("people.csv", b"path,identity,camera,split\n../a.jpg,1,1,train\n"),
    "manifest_twice": ("people.csv", b"path,identity,camera,split\na.jpg,1,1,train\na.jpg,1,1,train\n"),
    "manifest_absent": ("people.csv", b"path,identity,camera,split\na.jpg,1,1,train\nb.jpg,1,2,query\n"),
    "manifest_latin": ("people.csv", b"path,identity,camera,split\n\xe9.jpg,1,1,train\n"),
    "manifest_quotes": ("people.csv", b'path,identity,camera,split\n"a.jpg,1,1,train\n'),
    "empty_checkpoint": ("a.ckpt", b""),
}


def empty_root(sets: Sets) -> None:
    Path("data").mkdir()


# --- People -----------------------------------------------------------------------------------------------------------


def no_queries(sets: Sets) -> None:
    shutil.rmtree(copied(sets["people"], MARKET) / "query")


def empty_queries(sets: Sets) -> None:
    for file in (copied(sets["people"], MARKET) / "query").iterdir():
        file.unlink()


def renamed(sets: Sets, name: str) -> None:
    file = first(copied(sets["people"], MARKET) / "bounding_box_train")
    file.rename(file.with_name(name))


def unnamed(sets: Sets) -> None:
    renamed(sets, "portrait.jpg")


def ninth_camera(sets: Sets) -> None:
    renamed(sets, "0001_c9s1_000001_01.jpg")


def one_image(sets: Sets) -> None:
    renamed(sets, "0999_c1s1_000001_01.jpg")


def truncated(sets: Sets) -> None:
    halve(first(copied(sets["people"], MARKET) / "bounding_box_train"))


def grey(sets: Sets) -> None:
    file = first(copied(sets["people"], MARKET) / "bounding_box_train")
    halve(file)
    file.write_bytes(file.read_bytes() + b"\xff\xd9")


def empty_image(sets: Sets) -> None:
    first(copied(sets["people"], MARKET) / "bounding_box_train").write_bytes(b"")


def text_image(sets: Sets) -> None:
    first(copied(sets["people"], MARKET) / "bounding_box_train").write_text("no image, although its name says so")


def text_images(sets: Sets) -> None:
    for file in (copied(sets["people"], MARKET) / "bounding_box_train").iterdir():
        file.write_text("no image, although its name says so")


# --- CIFAR ------------------------------------------------------------------------------------------------------------


def half_cifar(sets: Sets) -> None:
    (copied(sets["cifar"], CIFAR) / "data_batch_3").unlink()


def class_10(sets: Sets) -> None:
    file = copied(sets["cifar"], CIFAR) / "data_batch_1"
    file.write_bytes(pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, protocol=2))


def hostile_cifar(sets: Sets) -> None:
    (copied(sets["cifar"], CIFAR) / "data_batch_1").write_bytes(pickle.dumps(Hostile()))


# --- Streets ----------------------------------------------------------------------------------------------------------


def no_labels(sets: Sets) -> None:
    shutil.rmtree(copied(sets["streets"], CITY) / "gtFine")


def label_file(sets: Sets) -> Path:
    return first(copied(sets["streets"], CITY) / "gtFine" / "train", "*_labelIds.png")


def one_label_less(sets: Sets) -> None:
    label_file(sets).unlink()


def label_99(sets: Sets) -> None:
    file = label_file(sets)
    for one in file.parents[1].rglob("*_labelIds.png"):
        Image.fromarray(np.full((64, 128), 99, np.uint8)).save(one)


def small_labels(sets: Sets) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(label_file(sets))


def coloured(sets: Sets) -> None:
    file = label_file(sets)
    for one in file.parents[1].rglob("*_labelIds.png"):
        Image.new("RGB", (128, 64), (70, 0, 0)).save(one)


def truncated_street(sets: Sets) -> None:
    halve(first(copied(sets["streets"], CITY) / "leftImg8bit" / "train", "*.png"))


def text_streets(sets: Sets) -> None:
    for file in (copied(sets["streets"], CITY) / "leftImg8bit" / "train").rglob("*.png"):
        file.write_text("no image, although its name says so")


# --- Faces ------------------------------------------------------------------------------------------------------------


def one_face(sets: Sets) -> None:
    train = copied(sets["faces"], "faces") / "train"
    kept = first(train, "*.*g")
    for file in train.rglob("*.*g"):
        if file != kept:
            file.unlink()


def truncated_face(sets: Sets) -> None:
    halve(first(copied(sets["faces"], "faces") / "train", "*.*g"))


def hostile_pack(sets: Sets) -> None:
    (copied(sets["faces"], "faces") / "lfw.bin").write_bytes(pickle.dumps(([Hostile()] * 2, [True])))


def odd_pack(sets: Sets) -> None:
    (copied(sets["faces"], "faces") / "lfw.bin").write_bytes(pickle.dumps(([b"image"] * 3, [True])))


def half_pack(sets: Sets) -> None:
    halve(copied(sets["faces"], "faces") / "lfw.bin")


def text_faces(sets: Sets) -> None:
    for file in (copied(sets["faces"], "faces") / "train").rglob("*.*g"):
        file.write_text("no image, although its name says so")


# --- Checkpoints ------------------------------------------------------------------------------------------------------


def classifier(sets: Sets) -> None:
    untrained.save(Path("a.ckpt"), "classification")


def lightning_s(sets: Sets) -> None:
    classifier(sets)
    torch.save({**torch.load("a.ckpt"), "pytorch-lightning_version": "2.6.6", "epoch": 0, "global_step": 0}, "a.ckpt")


def half_checkpoint(sets: Sets) -> None:
    classifier(sets)
    halve(Path("a.ckpt"))


def hostile_checkpoint(sets: Sets) -> None:
    Path("a.ckpt").write_bytes(pickle.dumps(Hostile()))


def weights(sets: Sets) -> None:
    torch.save({"weight": torch.zeros(3)}, "a.ckpt")


def spoil(name: str, sets: Sets) -> None:
    """Create the files of a case."""
    if name in TEXTS:
        file, content = TEXTS[name]
        Path(file).write_bytes(content)
    elif name:
        globals()[name](sets)
