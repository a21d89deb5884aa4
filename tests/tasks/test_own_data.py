"""The five ways to start in docs/own_data.md, each with a folder of 40 pictures and the page's own commands."""

import csv
import itertools
import os
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from small_runs import fit, result, rows

import relattn
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.tasks.classification import ImageFolders
from relattn.tasks.face import FaceFolders
from relattn.tasks.reid import PeopleFolders
from relattn.tasks.segmentation import Folders
from relattn.tasks.segmentation.label_files import read_labels
from relattn.tasks.shares import split_by_shares

PAGE = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text()

SMALL = {
    "reid": "--model.backbone resnet8 --data.image_size [32,16]",
    "classification": "--model.backbone resnet8 --data.image_size [32,32]",
    "segmentation": "--model.backbone resnet14t --model.width 16 --model.pool [4,4] --data.crop [32,32]",
    "face": "--model.backbone test_resnet --model.dimensions 32 --data.image_size [32,32] --data.batch_size 16",
}
ALL = "--model.pretrained false --model.frozen_epochs 0 --trainer.max_epochs 1 --data.workers 0 --gpus 0 --name own"

PICTURES: Iterator[int] = itertools.count()


def picture(file: Path, height: int = 40, width: int = 36) -> Path:
    """Write a picture that differs from all others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(next(PICTURES)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(file), pixels)
    return file


def commands(heading: str) -> list[list[str]]:
    """The commands of `relattn fit` under a heading of the page."""
    (section,) = re.findall(rf"^## {heading}.*?$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [shlex.split(block.replace("\\\n", " "))[1:] for block in blocks if block.startswith("relattn fit")]


def begin(task: str, command: list[str]) -> dict[str, float]:
    """Run a command of the page for one epoch of a small network; return its scores."""
    assert run([*command, *SMALL[task].split(), *ALL.split()]) == 0
    scores: dict[str, float] = result(Path("runs") / task / "own")["scores"]
    assert "test/score" in scores
    return scores


# --- The page ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_people_from_a_table() -> None:
    lines = []
    for number in range(40):
        person, camera = number // 4, number % 2
        split = "train" if person < 6 else "query" if number % 4 < 2 else "gallery"
        lines.append(f"{picture(Path(f'photos/{number:04}.jpg'))},p{person},{'till' if camera else 'door'},{split}")
    Path("people.csv").write_text("\n".join(["path,identity,camera,split", *lines]))
    (command,) = commands("People, from a table")
    begin("reid", command)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "name"), [(0, "people/p{person}/{number}.jpg"), (1, "cctv/{person:04}_c{camera}_{number:04}.jpg")]
)
def test_people_from_folders_and_from_names(which: int, name: str) -> None:
    for number in range(40):
        picture(Path(name.format(person=number // 4, camera=number % 2, number=number)))
    begin("reid", commands("People, from folders")[which])


@pytest.mark.slow
def test_photos_in_folders_of_classes_and_predictions_of_others() -> None:
    for number in range(40):
        picture(Path(f"photos/{'cat' if number % 2 else 'dog'}/{number}.jpg"))
    (command,) = commands("Photos")
    begin("classification", command)
    for name in ("new/a.jpg", "new/deep/a.png"):
        picture(Path(name))
    assert run(["predict", "--ckpt_path", "runs/classification/own", "--data.root", "new"]) == 0
    found = rows(Path("runs/classification/own/predict/predictions.csv"))
    assert [(row["path"], row["label"]) for row in found] == [("a.jpg", ""), ("deep/a.png", "")]
    for row in found:
        probabilities = {name: float(row[f"p({name})"]) for name in ("cat", "dog")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=2e-4)
        assert probabilities[row["predicted"]] == max(probabilities.values()) == float(row["probability"])


@pytest.mark.slow
def test_segmentation_of_masks_in_black_and_white() -> None:
    for number in range(40):
        picture(Path(f"masks/images/{number}.jpg"))
        mask = np.zeros((40, 36), np.uint8)
        mask[number % 20 :, 10:] = 255
        Path("masks/labels").mkdir(exist_ok=True)
        cv2.imwrite(f"masks/labels/{number}_mask.png", mask)
    (command,) = commands("Segmentation")
    scores = begin("segmentation", command)
    assert {"test/IoU/background", "test/IoU/cell"} <= scores.keys()
    sizes = {"new/images/a/f0.jpg": (40, 36), "new/images/b/f0.png": (30, 50)}
    for name, size in sizes.items():
        picture(Path(name), *size)
    line = ["predict", "--ckpt_path", "runs/segmentation/own", "--data.root", "new", "--data.image_scale", "0.5"]
    assert run(line) == 0
    for name, size in sizes.items():
        for kind in ("labelIds", "overlay"):
            part = Path(name).relative_to("new").with_suffix("")
            written = cv2.imread(f"runs/segmentation/own/predict/{kind}/{part}_{kind}.png", cv2.IMREAD_UNCHANGED)
            assert written.shape[:2] == size
            assert kind == "overlay" or set(np.unique(written)) <= {0, 255}


@pytest.mark.slow
def test_faces_in_folders_with_pairs_that_are_drawn_and_kept() -> None:
    for number in range(40):
        picture(Path(f"faces/p{number // 5}/{number % 5}.png"))
    (command,) = commands("Faces")
    with pytest.warns(UserWarning, match=r"40 pairs of 2 people were drawn and written to .*faces/pairs.txt"):
        FaceFolders("faces").setup("fit")
    written = Path("faces/pairs.txt").read_bytes()
    begin("face", command)
    assert Path("faces/pairs.txt").read_bytes() == written
    data = FaceFolders("faces")
    data.setup("fit")
    (pairs,) = data.verification.values()
    assert pairs.same.tolist() == [True, True, False, False] * 10
    verified = {path.parent.name for path in pairs.images}
    assert len({*zip(pairs.images[::2], pairs.images[1::2], strict=True)}) == 40
    assert not verified & {name.partition("/")[2] for name in data.identities}
    assert len(data.identities) == 6


# --- The classes ------------------------------------------------------------------------------------------------------


def test_shares_are_of_each_group_and_nothing_is_lost() -> None:
    items = list(range(30))
    groups = [number % 3 for number in items]
    parts = split_by_shares(items, groups, [0.2, 0.1], 0)
    assert [len(part) for part in parts] == [6, 3, 21]
    assert sorted(itertools.chain(*parts)) == items
    assert [[groups[item] for item in parts[0]].count(group) for group in range(3)] == [2, 2, 2]
    assert parts != split_by_shares(items, groups, [0.2, 0.1], 1)
    assert split_by_shares(["alone"], [0], [0.5], 0) == [[], ["alone"]]
    assert split_by_shares(["alone"], [0], [1.0], 0) == [["alone"], []]


def test_held_out_people_are_the_same_in_training_and_in_test() -> None:
    for number in range(24):
        picture(Path(f"people/p{number // 4}/{number}.jpg"))
    Path("people/notes.txt").touch()
    sets = {}
    for stage in ("fit", "test"):
        data = PeopleFolders("people", split_seed=3, seed=5 if stage == "fit" else 6, batch_size=8)
        with pytest.warns(UserWarning, match=r"1 file is left out \(not images by their names\): notes.txt"):
            data.setup(stage)
        sets[stage] = data.sets["test"].images
    assert sets["fit"] == sets["test"]
    assert data.sets["test"].queries == 3
    with pytest.raises(InputError, match=r"none fits the pattern 'c\(\?P<identity>x\)'"):
        PeopleFolders("people", pattern="c(?P<identity>x)").setup("fit")


def test_splits_of_people_are_taken_as_they_are() -> None:
    for person, split in enumerate(("train", "train", "test", "test")):
        for number in range(3):
            picture(Path(f"people/{split}/{person}/{number}.jpg"))
    data = PeopleFolders("people")
    data.setup("fit")
    assert [len(data.sets[split]) for split in ("train", "test")] == [6, 6]
    assert data.class_names == ["0", "1"]
    (Path("people") / "test").rename("people/query")
    with pytest.raises(InputError, match="has train, query and no gallery"):
        PeopleFolders("people").setup("fit")


def test_classes_are_training_s_in_every_split() -> None:
    for split, classes in (("train", ("ant", "bee", "cat")), ("val", ("bee", "cat"))):
        for name in classes:
            for number in range(3):
                picture(Path(f"photos/{split}/{name}/{number}.png"))
    data = ImageFolders("photos")
    data.setup("test")
    assert {photo.label for photo in data.sets["test"].photos} == {1, 2}
    data.setup("fit")
    assert data.class_names == ["ant", "bee", "cat"]
    assert {split: len(part) for split, part in data.sets.items()} == {"train": 9, "val": 6, "test": 6}
    picture(Path("photos/val/dog/1.png"))
    with pytest.raises(InputError, match="folders that are not training classes: dog"):
        ImageFolders("photos").setup("fit")


@pytest.mark.parametrize("kind", ["palette", "one-based", "tif"])
def test_label_images_of_other_kinds_hold_the_same(kind: str, tmp_path: Path) -> None:
    from PIL import Image

    truth = np.random.default_rng(0).integers(0, 3, (40, 36)).astype(np.uint8)
    picture(tmp_path / "photos" / "deep" / "a_leftImg.jpg")
    stored = Image.fromarray(truth + (kind == "one-based"))
    if kind == "palette":
        stored.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    end = "tif" if kind == "tif" else "png"
    file = tmp_path / "masks" / "deep" / f"a_mask.{end}"
    file.parent.mkdir(parents=True)
    stored.save(file)
    picture(tmp_path / "photos" / "deep" / "b_leftImg.jpg")
    stored.save(file.with_name(f"b_mask.{end}"))
    options = {"ids": [1, 2, 3], "ignored": [0]} if kind == "one-based" else {}
    places = {"images": "photos", "labels": "masks", "image_suffix": "_leftImg", "label_suffix": "_mask"}
    data = Folders(tmp_path, ["x", "y", "z"], **places, **options)
    data.setup("fit")
    assert [len(data.sets[split]) for split in ("train", "test")] == [1, 1]
    np.testing.assert_array_equal(data.sets["train"].labels(0), truth)
    np.testing.assert_array_equal(read_labels(file), np.asarray(stored))


def test_splits_under_other_names_are_refused_and_folders_beside_them_named() -> None:
    for name in ("train/ant/1", "train/bee/1", "val/ant/1", "notes/1"):
        picture(Path(f"photos/{name}.png"))
    with pytest.warns(UserWarning, match="photos: folders beside those of the splits are not read: notes"):
        ImageFolders("photos").setup("fit")
    Path("photos/val").rename("photos/valid")
    with pytest.raises(InputError, match=r"photos/valid would not be read.*Rename it to val\."):
        ImageFolders("photos").setup("fit")
    Path("photos/train").rename("photos/Training")
    Path("photos/notes").rename("notes")
    with pytest.raises(InputError, match=r"photos/Training would not be read.*Rename it to train\."):
        ImageFolders("photos").setup("fit")
    for name in ("valid/1", "valid/2", "invalid/1", "invalid/2", "predict/1"):
        picture(Path(f"cards/{name}.png"))
    data = ImageFolders("cards")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*folders beside")
        data.setup("fit")
    assert data.class_names == ["invalid", "valid"]
    picture(Path("masks/images/train/1.png"))
    picture(Path("masks/images/validation/1.png"))
    with pytest.raises(InputError, match=r"masks/images/validation would not be read.*Rename it to val\."):
        Folders("masks", ["a", "b"]).setup("fit")
    for kind, data in (("people", PeopleFolders), ("faces", FaceFolders)):
        picture(Path(f"{kind}/train/a/1.png"))
        picture(Path(f"{kind}/testing/b/1.png"))
        with pytest.raises(InputError, match=rf"{kind}/testing would not be read.*Rename it to test\."):
            data(kind).setup("fit")


def test_new_data_are_scored_as_a_whole_where_that_is_asked_for() -> None:
    for number in range(40):
        picture(Path(f"photos/{'cat' if number % 2 else 'dog'}/{number}.png"))
        picture(Path(f"people/p{number // 4}/c{number % 2}/{number}.png"))
        picture(Path(f"masks/images/{number}.png"))
        cv2.imwrite(str(picture(Path(f"masks/labels/{number}.png"))), np.zeros((40, 36), np.uint8))
    pattern = "(?P<identity>p[0-9])/c(?P<camera>[01])"
    sets = {
        "ImageFolders": (lambda **options: ImageFolders("photos", **options), 8),
        "PeopleFolders": (lambda **options: PeopleFolders("people", pattern=pattern, **options), 20),
        "Folders": (lambda **options: Folders("masks", ["a", "b"], **options), 8),
    }
    for name, (make, held_out) in sets.items():
        data = make()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*are left out, because")
            data.setup("test")  # the data that the network was trained on
        data = make()
        data.trained_on = "/elsewhere"
        with pytest.warns(UserWarning, match=f"{40 - held_out} of 40 images are left out.*--data.test 1"):
            data.setup("test")
        assert len(data.sets["test"]) == held_out
        data = make(test=1)
        data.setup("test")
        assert len(data.sets["test"]) == 40
        with pytest.raises(InputError, match=f"{name}: --data.test 1 holds everything out"):
            data.setup("fit")
    faces = FaceFolders("people", test=1)
    with pytest.raises(InputError, match=r"FaceFolders: --data\.test 1 holds everything out"):
        faces.setup("fit")
    assert not Path("people/pairs.txt").exists()
    with pytest.warns(UserWarning, match="pairs of 10 people were drawn"):
        faces.setup("test")


def test_folders_that_are_not_the_network_s_classes_are_predicted_without_labels() -> None:
    for name in ("2023/a", "2024/b", "2024/c"):
        picture(Path(f"new/{name}.png"))
    data = ImageFolders("new")
    network = SimpleNamespace(trained_for={"class_names": ["cat", "dog"]})
    data.trainer = SimpleNamespace(lightning_module=network)  # type: ignore[assignment]
    data.setup("predict")
    assert [photo.label for photo in data.sets["predict"].photos] == [-1, -1, -1]
    assert not hasattr(data, "num_classes")


def test_a_split_without_folders_of_classes_is_predicted() -> None:
    picture(Path("new/val/a.png"))
    data = ImageFolders("new")
    data.setup("predict")
    assert [photo.label for photo in data.sets["predict"].photos] == [-1]
    with pytest.raises(InputError, match="new has no class folders"):
        ImageFolders("new").setup("test")


def test_a_test_set_may_lack_classes_of_the_network() -> None:
    for name in ("cat", "emu"):
        for number in range(3):
            picture(Path(f"new/{name}/{number}.png"))
    data = ImageFolders("new", test=1)
    network = SimpleNamespace(trained_for={"class_names": ["cat", "dog", "emu"]})
    data.trainer = SimpleNamespace(lightning_module=network)  # type: ignore[assignment]
    data.setup("test")
    assert data.class_names == ["cat", "dog", "emu"]
    assert {photo.label for photo in data.sets["test"].photos} == {0, 2}


def test_people_to_verify_are_not_trained_on() -> None:
    for name in ("ann/1", "ben/1", "test/cat/1", "test/cat/2", "test/dan/1"):
        picture(Path(f"faces/{name}.png"))
    Path("faces/test/pairs.txt").write_text("cat 1 2\ncat 1 dan 1\n")
    with pytest.raises(InputError, match=r"faces has test and no train.*into faces/train"):
        FaceFolders("faces").setup("fit")


def test_a_folder_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ant/1", "ant/old/1", "bee/1"):
        picture(Path(f"photos/{name}.png"))
    scan = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "old":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"photos/ant/old cannot be read: Permission denied"):
        ImageFolders("photos").setup("fit")


def test_classes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match=r"classes are \['road', 'road'\], expected each of them once"):
        Folders("masks", ["road", "road"])


def test_photos_are_prepared_as_in_training_on_another_kind_of_data(cifar: Path) -> None:
    trained = fit("classification", cifar)
    photos = [picture(Path("photos") / f"{name}.png") for name in "abc"]
    command = ["predict", "--ckpt_path", str(trained), "--data", "ImageFolders", "--data.root", "photos"]
    assert run([*command, "--data.workers", "0", "--gpus", "0"]) == 0
    (file,) = trained.rglob("predictions.csv")
    with file.open() as lines:
        said = {row["path"]: float(row["probability"]) for row in csv.DictReader(lines)}
    network = relattn.load(trained)
    for photo in photos:
        (prediction,) = network(photo)
        assert said[photo.name] == pytest.approx(prediction.probability, abs=1e-4)
