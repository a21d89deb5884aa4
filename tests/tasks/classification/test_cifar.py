"""CIFAR's files: the original layout, and the errors for files that deviate from it."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from relattn.errors import InputError, MissingFileError
from relattn.tasks.classification import CIFAR10, CIFAR100


def test_reads_the_original_layout(cifar: Path) -> None:
    for kind, classes, train, test in ((CIFAR10, 10, 200, 50), (CIFAR100, 100, 300, 101)):
        data = kind(cifar)
        data.setup("fit")
        images, labels = data.sets["train"].images, data.sets["train"].labels
        assert images.shape == (train, 32, 32, 3)
        assert images.dtype == torch.uint8
        assert labels.unique().tolist() == list(range(classes))
        assert len(data.sets["test"]) == test
        assert len(data.class_names) == classes
        described = data.describe()
        assert len(described.pop("fingerprint")) == 16
        assert described == {
            "data": kind.__name__,
            "images": {"train": train, "val": test, "test": test},
            "genuine": False,
            "as_published": False,
        }


def test_pixels_are_planar_in_the_file_and_interleaved_in_memory(cifar: Path) -> None:
    data = CIFAR100(cifar)
    data.setup("fit")
    with (cifar / "cifar-100-python" / "test").open("rb") as file:
        content = pickle.load(file, encoding="latin1")
    row = content["data"][7]
    assert data.sets["test"].images[7, 3, 5].tolist() == [int(row[plane * 1024 + 3 * 32 + 5]) for plane in range(3)]
    assert data.sets["test"].labels[7] == content["fine_labels"][7]


def test_held_out_images_are_neither_lost_nor_shared(cifar: Path) -> None:
    whole, data = CIFAR100(cifar), CIFAR100(cifar, validation=40, seed=1)
    whole.setup("fit")
    data.setup("fit")

    def rows(split: str, source: CIFAR100) -> list[bytes]:
        return sorted(image.numpy().tobytes() for image in source.sets[split].images)

    assert len(data.sets["val"]) == 40
    assert sorted(rows("train", data) + rows("val", data)) == rows("train", whole)
    with pytest.raises(InputError, match="validation is 300"):
        CIFAR100(cifar, validation=300).setup("fit")


def test_a_missing_set_says_what_is_expected_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        CIFAR100(tmp_path / "nowhere").setup("fit")
    message = str(caught.value)
    for part in ("cifar-100-python/train", "cs.toronto.edu", "relattn data make cifar100 --root", "--data.root"):
        assert part in message


def test_an_incomplete_set_names_what_is_missing(cifar: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar, tmp_path / "copy")
    (tmp_path / "copy" / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(MissingFileError, match="incomplete: data_batch_3"):
        CIFAR10(tmp_path / "copy").setup("fit")


class Hostile:
    def __reduce__(self) -> tuple:
        return (os.mkdir, ("was_here",))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Hostile(), "asks for .*mkdir, which is not data"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "fine_labels"),
        ([1, 2], "list"),
        ({"data": np.zeros((2, 3072), np.float32), "fine_labels": [0, 1]}, "float32"),
        ({"data": np.zeros((2, 3071), np.uint8), "fine_labels": [0, 1]}, "3071"),
        ({"data": np.zeros((3, 3072), np.uint8), "fine_labels": [0, 1]}, "a row for each label"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 100]}, "a label is 100"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, "cat"]}, "a label is 'cat'"),
        (b"not a pickle at all", "cannot be read"),
    ],
    ids=["hostile", "no labels", "no dict", "floats", "short rows", "lengths differ", "label", "name", "damaged"],
)
def test_bad_files_are_named_and_run_nothing(content: object, named: str, cifar: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar, tmp_path / "copy")
    file = tmp_path / "copy" / "cifar-100-python" / "train"
    file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=named) as caught:
        CIFAR100(tmp_path / "copy").setup("fit")
    assert str(file) in str(caught.value)
    assert not Path("was_here").exists()


def test_a_truncated_file_is_named(cifar: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar, tmp_path / "copy")
    file = tmp_path / "copy" / "cifar-100-python" / "train"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be read"):
        CIFAR100(tmp_path / "copy").setup("fit")


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "padding", "validation"])
def test_bad_numbers_are_named(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is -1"):
        CIFAR10(**{name: -1})
