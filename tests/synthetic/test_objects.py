"""Rendered stand-ins for CIFAR: the official layout, correct labels, and images that raw pixels cannot classify."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from relattn.errors import InputError
from relattn.synthetic.objects.layouts import write_cifar
from relattn.synthetic.objects.render import OBJECTS, PATTERNS, SHAPES, render
from relattn.synthetic.staging import MARKER

FILES = {
    "cifar10": ([f"data_batch_{batch}" for batch in range(1, 6)], ["test_batch"], "batches.meta", "labels"),
    "cifar100": (["train"], ["test"], "meta", "fine_labels"),
}


def read(path):
    """Read a file as torchvision does."""
    with path.open("rb") as file:
        return pickle.load(file, encoding="latin1")


def load(folder, files, key):
    """The images and labels of some files, joined as torchvision does."""
    contents = [read(folder / file) for file in files]
    images = np.vstack([content["data"] for content in contents]).reshape(-1, 3, 32, 32)
    return images, [label for content in contents for label in content[key]]


def contents(folder):
    """The files of a set, except the one that marks it as rendered."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MARKER}


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return write_cifar(tmp_path_factory.mktemp("ten"), "cifar10", train=203, test=50)


@pytest.fixture(scope="module")
def hundred(tmp_path_factory):
    return write_cifar(tmp_path_factory.mktemp("hundred"), "cifar100", train=250, test=100)


def test_cifar10_has_the_official_files_and_keys(ten):
    train, test, meta, _ = FILES["cifar10"]
    assert ten.name == "cifar-10-batches-py"
    assert contents(ten).keys() == {*train, *test, meta}
    for number, file in enumerate(train, start=1):
        batch = read(ten / file)
        assert set(batch) == {"batch_label", "labels", "data", "filenames"}
        assert batch["batch_label"] == f"training batch {number} of 5"
        assert len(batch["labels"]) == len(batch["filenames"]) in (40, 41)
    assert read(ten / "test_batch")["batch_label"] == "testing batch 1 of 1"
    assert read(ten / meta) == {"num_cases_per_batch": 41, "label_names": list(OBJECTS), "num_vis": 3072}


def test_cifar100_has_the_official_files_and_keys(hundred):
    train, test, meta, _ = FILES["cifar100"]
    assert hundred.name == "cifar-100-python"
    assert contents(hundred).keys() == {*train, *test, meta}
    for file, label in (("train", "training batch 1 of 1"), ("test", "testing batch 1 of 1")):
        batch = read(hundred / file)
        assert set(batch) == {"filenames", "batch_label", "fine_labels", "coarse_labels", "data"}
        assert batch["batch_label"] == label
    names = read(hundred / meta)
    assert set(names) == {"fine_label_names", "coarse_label_names"}
    assert len(names["fine_label_names"]) == 100
    assert len(names["coarse_label_names"]) == 20
    assert all(labels == sorted(set(labels)) for labels in names.values())


@pytest.mark.parametrize("name", FILES)
def test_values_are_of_the_official_types(name, request):
    folder = request.getfixturevalue({"cifar10": "ten", "cifar100": "hundred"}[name])
    train, test, *_ = FILES[name]
    for file in (*train, *test):
        raw = (folder / file).read_bytes()
        assert raw[:2] == b"\x80\x02"  # pickle protocol 2
        batch = read(folder / file)
        assert batch["data"].dtype == np.uint8
        assert batch["data"].shape == (len(batch["filenames"]), 3072)
        for key in batch.keys() & {"labels", "fine_labels", "coarse_labels"}:
            assert {type(label) for label in batch[key]} == {int}
        assert {type(filename) for filename in batch["filenames"]} == {str}


@pytest.mark.parametrize(
    ("name", "classes", "train_count", "test_count"), [("cifar10", 10, 203, 50), ("cifar100", 100, 250, 100)]
)
def test_classes_are_balanced_and_shuffled(name, classes, train_count, test_count, request):
    folder = request.getfixturevalue({"cifar10": "ten", "cifar100": "hundred"}[name])
    train, test, _, key = FILES[name]
    for files, count in ((train, train_count), (test, test_count)):
        images, labels = load(folder, files, key)
        numbers = Counter(labels)
        assert len(images) == len(labels) == count
        assert set(numbers) == set(range(classes))
        assert max(numbers.values()) - min(numbers.values()) <= 1
        assert labels[:classes] != list(range(classes))


def test_labels_filenames_and_names_agree(ten, hundred):
    names = read(hundred / "meta")
    batch = read(hundred / "train")
    for fine, coarse, filename in zip(batch["fine_labels"], batch["coarse_labels"], batch["filenames"], strict=True):
        assert filename.startswith(names["fine_label_names"][fine] + "_s_")
        assert names["fine_label_names"][fine].endswith("_" + names["coarse_label_names"][coarse])
    filenames = []
    for file in FILES["cifar10"][0]:
        batch = read(ten / file)
        filenames += batch["filenames"]
        for label, filename in zip(batch["labels"], batch["filenames"], strict=True):
            assert f"_{OBJECTS[label]}_s_" in filename
    assert len(set(filenames)) == 203


def test_the_same_seed_gives_the_same_files_and_another_seed_others(ten, tmp_path):
    same = write_cifar(tmp_path / "same", "cifar10", train=203, test=50)
    other = write_cifar(tmp_path / "other", "cifar10", train=203, test=50, seed=1)
    assert contents(same) == contents(ten)
    assert all(contents(other)[file] != content for file, content in contents(ten).items() if file != "batches.meta")


def test_images_are_all_different_and_none_is_constant(ten):
    train, test, _, key = FILES["cifar10"]
    images = np.concatenate([load(ten, files, key)[0] for files in (train, test)])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    assert images.reshape(len(images), -1).std(axis=1).min() > 3


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_images_do_not_depend_on_the_chunks(chunk):
    shapes, patterns = np.arange(100) % 20, np.arange(100) // 20
    expected = render(shapes, patterns, np.random.default_rng(3))
    assert expected.shape == (100, 3, 32, 32)
    assert expected.dtype == np.uint8
    np.testing.assert_array_equal(render(shapes, patterns, np.random.default_rng(3), chunk=chunk), expected)


def test_the_class_changes_the_object_and_nothing_else():
    def images(shape, pattern):
        places = np.full((2, 50), [[list(SHAPES).index(shape)], [list(PATTERNS).index(pattern)]])
        return render(*places, np.random.default_rng(0))

    plain = images("disc", "plain")
    for other in (images("disc", "striped"), images("cross", "plain")):
        changed = (plain != other).any(axis=1).mean(axis=(1, 2))  # the fraction of each image's pixels
        assert changed.min() > 0
        assert changed.max() < 0.6


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_fill_the_unit_disc_and_keep_to_its_surroundings(name):
    ticks = np.linspace(-1.5, 1.5, 301, dtype=np.float32)
    x, y = np.meshgrid(ticks, ticks)
    distance = SHAPES[name](x, y)
    inside = distance < 0
    assert distance.dtype == np.float32
    assert 0.5 < inside.sum() * 0.01**2 < 3.2
    assert np.hypot(x, y)[inside].max() < 1.25
    # A pixel's coverage is computed from the distance, so the distance must not change faster than the position.
    assert max(np.abs(np.diff(distance, axis=axis)).max() for axis in (0, 1)) < 0.0101


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_raw_pixels_say_little_about_the_class(name, tmp_path):
    train, test, _, key = FILES[name]
    folder = write_cifar(tmp_path, name, train=2000, test=300)
    (known, known_labels), (images, labels) = (load(folder, files, key) for files in (train, test))
    known, images = (part.reshape(len(part), -1) / np.float32(255) for part in (known, images))
    nearest = (np.square(known).sum(axis=1) - 2 * images @ known.T).argmin(axis=1)
    accuracy = (np.array(known_labels)[nearest] == labels).mean()
    assert accuracy < {"cifar10": 0.25, "cifar100": 0.08}[name]


def test_an_existing_folder_is_kept(ten):
    before = contents(ten)
    with pytest.raises(InputError, match=r"cifar-10-batches-py exists.*remove it or write to another root"):
        write_cifar(ten.parent, "cifar10", train=20, test=20)
    assert contents(ten) == before


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pickle, "dump", fail)
    with pytest.raises(OSError, match="disk full"):
        write_cifar(tmp_path, "cifar100", train=100, test=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cifar10", "train": 9}, "train is 9, expected at least 10"),
        ({"name": "cifar100", "test": 99}, "test is 99, expected at least 100"),
        ({"name": "cifar100", "seed": -1}, "seed is -1, expected 0 or more"),
        ({"name": "cifar"}, "name is 'cifar', expected 'cifar10' or 'cifar100'"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        write_cifar(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("shapes", "patterns"), [([0, 1], [0]), ([[0]], [[0]]), ([20], [0]), ([0], [-1])])
def test_render_refuses_unknown_classes(shapes, patterns):
    with pytest.raises(InputError, match="expected"):
        render(shapes, patterns, np.random.default_rng(0))
