"""Drawn streets: their layout, their classes, and that colour alone does not separate the classes."""

import re

import cv2
import numpy as np
import pytest

from relattn.cli.data import main
from relattn.errors import InputError
from relattn.synthetic.streets import layouts as cityscapes
from relattn.synthetic.streets.labels import ID, LABELS
from relattn.synthetic.streets.layouts import COLOURS, write_cityscapes
from relattn.synthetic.streets.render import RARE, render
from relattn.synthetic.streets.view import EYE, Light, Spot, View

NAME = re.compile(r"(train|val|test)/([a-z]+)/\2_\d{6}_\d{6}_(leftImg8bit|gtFine_(labelIds|instanceIds|color))\.png")
SCORED = {label.id for label in LABELS if label.train_id is not None}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_cityscapes(tmp_path_factory.mktemp("streets"), train=24, val=12, test=2, size=(64, 128))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def read(folder, kind, split):
    files = sorted((folder / kind.split("_")[0] / split).rglob(f"*_{kind}.png"))
    return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files]


def test_files_are_named_as_in_the_official_set(root):
    assert root.name == "cityscapes"
    names = list(contents(root))
    assert all(NAME.fullmatch(name.partition("/")[2]) for name in names)
    for split, count in (("train", 24), ("val", 12), ("test", 2)):
        images = [name for name in names if name.startswith(f"leftImg8bit/{split}/")]
        assert len(images) == count
        for image in images:
            stem = image.replace("leftImg8bit", "gtFine")
            wanted = {
                stem.replace("_gtFine.png", f"_gtFine_{kind}.png") for kind in ("labelIds", "instanceIds", "color")
            }
            assert wanted <= set(names)
    cities = {split: {name.split("/")[2] for name in names if f"/{split}/" in name} for split in ("train", "val")}
    assert not cities["train"] & cities["val"]


def test_label_images_agree_with_each_other(root):
    kinds = ("gtFine_labelIds", "gtFine_instanceIds", "gtFine_color")
    for labels, instances, colours in zip(*(read(root, kind, "train") for kind in kinds), strict=True):
        assert (labels.dtype, instances.dtype, labels.shape) == (np.uint8, np.uint16, (64, 128))
        single = instances >= 1000
        assert np.array_equal(np.where(single, instances // 1000, instances), labels)
        assert {*np.unique(labels[single])} <= {*range(ID["person"], ID["bicycle"] + 1)}
        assert np.array_equal(colours[..., 2::-1], COLOURS[labels])
        assert (colours[..., 3] == 255).all()


def test_every_split_has_every_class_and_void(root):
    for split in ("train", "val"):
        found = set(np.unique(np.concatenate(read(root, "gtFine_labelIds", split))).tolist())
        assert found >= SCORED | {ID["ego vehicle"], ID["out of roi"], ID["static"]}


def test_labels_of_test_are_void(root):
    found = set(np.unique(np.concatenate(read(root, "gtFine_labelIds", "test"))).tolist())
    assert found == {ID["unlabeled"], ID["ego vehicle"]}


def test_classes_are_as_frequent_as_in_streets(root):
    labels = np.concatenate(read(root, "gtFine_labelIds", "train"))
    part = {name: (labels == ID[name]).mean() for name in ID}
    assert part["road"] > part["building"] > part["vegetation"] > part["person"] > part["motorcycle"]
    assert 0.25 < part["road"] < 0.5
    assert max(part[name] for name in ("train", "bus", "truck", "motorcycle", "rider", "wall", "fence")) < 0.03


def test_colour_says_little_about_the_class(root):
    """The best possible classifier by a pixel's colour alone, fitted to the same pixels on which it is scored."""
    images = np.stack(read(root, "leftImg8bit", "train")).reshape(-1, 3).astype(np.int64)
    labels = np.stack(read(root, "gtFine_labelIds", "train")).ravel()
    kept = np.isin(labels, list(SCORED))
    bins, labels = (images // 32 @ (64, 8, 1))[kept], labels[kept].astype(np.int64)
    counts = np.bincount(bins * 34 + labels, minlength=512 * 34).reshape(512, 34)
    confusion = np.zeros((34, 34))
    np.add.at(confusion.T, counts.argmax(axis=1), counts)
    inside = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - inside
    assert 0.05 < (inside[sorted(SCORED)] / union[sorted(SCORED)]).mean() < 0.25


def test_the_same_seed_gives_the_same_files_and_another_seed_others(tmp_path):
    small = {"train": 2, "val": 1, "size": (40, 80)}
    one, same, other = (write_cityscapes(tmp_path / str(n), seed=s, **small) for n, s in enumerate((0, 0, 1)))
    assert contents(one) == contents(same)
    images = [
        {name: content for name, content in contents(part).items() if "leftImg8bit" in name} for part in (one, other)
    ]
    assert not set(images[0].values()) & set(images[1].values())
    assert len(set(images[0].values())) == 3


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_a_street_is_the_same_at_every_size(seed):
    rare = frozenset(list(RARE)[seed::2])
    small, large = (render(seed, rare=rare, size=size) for size in ((128, 256), (512, 1024)))
    assert small.image.shape == (128, 256, 3)
    assert large.labels.shape == (512, 1024)
    assert (large.labels[2::4, 2::4] == small.labels).mean() > 0.93
    assert (
        np.abs(cv2.resize(large.image, (256, 128), interpolation=cv2.INTER_AREA) - small.image.astype(int)).mean() < 14
    )


@pytest.mark.parametrize("kind", ["train", "bus", "truck", "motorcycle", "rider", "traffic light"])
def test_a_rare_kind_is_there_where_it_is_asked_for(kind):
    scenes = [render((7, number), rare=frozenset({kind}), size=(128, 256)) for number in range(2)]
    assert any((scene.labels == ID[kind]).sum() > 20 for scene in scenes)
    assert not (render((7, 0), size=(64, 128)).labels == ID[kind]).any()


def test_any_size_can_be_drawn():
    for size in ((32, 32), (45, 97), (120, 90), (401, 333)):
        scene = render(3, rare=frozenset(RARE), size=size)
        assert scene.image.shape == (*size, 3)
        assert scene.labels.shape == scene.instances.shape == size
        assert scene.image.std() > 10


def test_projection_and_turning():
    light = Light(((0, 0, 0), (0, 0, 0)), 0, 0, 1, 1e9, (1, 1, 1), 1)
    view = View((100, 200), light, (0.5, 0.4))
    (ahead, aside, ground) = view.project([(0, EYE, 10), (1, EYE, 10), (0, 0, 10)])
    assert ahead == (1600, 640)
    assert aside == (1600 + 16 * 22, 640)  # a metre at ten is a tenth of the focal length, 1.1 x 200 pixels
    assert ground == (1600, 640 + round(16 * 22 * EYE))
    np.testing.assert_allclose(
        Spot(2, 10, np.pi / 2).points([(0, 0, 3), (1, 0, 0)]), [(5, 0, 10), (2, 0, 9)], atol=1e-9
    )


def test_things_are_numbered_and_too_many_become_a_group():
    view = View((32, 64), Light(((0, 0, 0), (0, 0, 0)), 0, 0, 1, 1, (1, 1, 1), 1), (0.5, 0.4))
    marks = [view.thing(ID["car"]) for _ in range(230)]
    assert marks[:3] == [34, 35, 36]
    assert view.things[:3] == [26000, 26001, 26002]
    assert max(marks) == 255
    assert set(marks[222:]) == {ID["car"]}


def test_an_existing_folder_is_kept_and_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "old" / "cityscapes").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cityscapes exists.*remove it or write to another root"):
        write_cityscapes(tmp_path / "old", train=1, val=1)

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(cityscapes, "render", fail)
    with pytest.raises(OSError, match="disk full"):
        write_cityscapes(tmp_path / "new", train=1, val=1)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0}, "train is 0, expected 1 or more"),
        ({"val": 0}, "val is 0, expected 1 or more"),
        ({"test": -1}, "test is -1, expected 0 or more"),
        ({"seed": -1}, "seed is -1"),
        ({"size": (16, 64)}, "size is 16, expected 32 or more"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_cityscapes(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_writes_it(tmp_path):
    line = "make cityscapes --train 2 --val 1 --size 32x64 --seed 3 --root"
    assert main([*line.split(), str(tmp_path)]) == 0
    (image,) = (tmp_path / "cityscapes" / "leftImg8bit" / "val").rglob("*.png")
    assert cv2.imread(str(image)).shape == (32, 64, 3)
    with pytest.raises(InputError, match="--junk does not apply to cityscapes"):
        main(["make", "cityscapes", "--junk", "3", "--root", str(tmp_path / "other")])
