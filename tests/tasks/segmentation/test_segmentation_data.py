"""Segmentation data: reading the official layouts, errors for wrong files, and the network's inputs."""

import re
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from relattn.errors import InputError, MissingFileError
from relattn.synthetic.streets.layouts import write_cityscapes
from relattn.tasks.samplers import SampleIndex
from relattn.tasks.segmentation import CamVid, Cityscapes, Folders
from relattn.tasks.segmentation.label_files import read_labels
from relattn.tasks.segmentation.labels import CITYSCAPES
from relattn.tasks.segmentation.pairs import images_in

SIZE = (48, 96)
SMALL = "ignore:.*is (not the published set|a rendered stand-in):UserWarning"
TRAINER = SimpleNamespace(
    num_devices=1,
    global_rank=0,
    world_size=1,
    strategy=SimpleNamespace(root_device=torch.device("cpu")),
    overfit_batches=0,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cityscapes(tmp_path_factory.mktemp("segmentation"), train=6, val=3, test=2, size=SIZE)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(made, tmp_path / "cityscapes")
    return tmp_path


def ready(data):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is (not the published set|a rendered stand-in)")
        data.setup("fit")
        data.setup("predict")
    data.trainer = TRAINER
    return data


def a_file(root: Path, end: str, split: str = "train") -> Path:
    return sorted(root.rglob(f"*/{split}/*/*{end}"))[1]


def write_folders(root: Path, splits=("train", "val"), suffix=".jpg") -> Path:
    random = np.random.default_rng(0)
    for split in splits:
        for number in range(3):
            for kind, pixels, end in (
                ("images", random.integers(0, 256, (20, 30, 3), dtype=np.uint8), suffix),
                ("labels", random.integers(0, 3, (20, 30), dtype=np.uint8), ".png"),
            ):
                file = root / kind / split / "deep" / f"{number}{end}"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), pixels)
    return root


def write_camvid(root: Path, counts=(4, 2, 3)) -> Path:
    random = np.random.default_rng(1)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for number in range(count):
            for folder, shape, top in ((split, (36, 48, 3), 256), (f"{split}annot", (36, 48), 12)):
                file = root / "CamVid" / folder / f"0001TP_{number:06d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), random.integers(0, top, shape, dtype=np.uint8))
    return root


# What is read.


def test_cityscapes_is_read_back_as_it_was_written(made):
    data = ready(Cityscapes(made.parent, crop=(32, 32), batch_size=2))
    assert {split: len(streets) for split, streets in data.sets.items()} == {
        "train": 6, "val": 3, "test": 3, "predict": 2,
    }  # fmt: skip
    assert (data.num_classes, data.image_size) == (19, (32, 32))
    assert data.label_map.palette.shape == (19, 3)
    assert len(data.class_weights) == 19
    streets = data.sets["train"]
    assert [str(path) for path in streets.paths] == sorted(map(str, streets.paths))
    for index, path in enumerate(streets.paths):
        image, labels = streets.decode(index)
        file = made / path
        assert np.array_equal(image[..., ::-1], cv2.imread(str(file)))
        gt = str(file).replace("leftImg8bit", "gtFine").replace("_gtFine.png", "_gtFine_labelIds.png")
        ids = cv2.imread(gt, cv2.IMREAD_UNCHANGED)
        expected = [CITYSCAPES.ids.tolist().index(id) if id in CITYSCAPES.ids else 255 for id in ids.ravel()]
        assert labels.ravel().tolist() == expected
        scored = labels != 255
        assert np.array_equal(streets.label_ids(labels[scored]), ids[scored])


@pytest.mark.parametrize("nesting", [".", "Cityscapes"])
def test_other_places_are_found(root, nesting):
    if nesting != ".":
        (root / "cityscapes").rename(root / nesting)
    assert len(ready(Cityscapes(root if nesting != "." else root / "cityscapes")).sets["train"]) == 6


def test_the_training_images_can_be_tested_on_whole(made):
    data = ready(Cityscapes(made.parent, test_split="train", predict_split="val"))
    assert data.sets["test"].paths == data.sets["train"].paths
    assert data.sets["predict"].paths == data.sets["val"].paths
    assert data.sets["test"][SampleIndex(0, 0)]["image"].shape == (*SIZE, 3)
    assert data.describe()["test_split"] == "train"
    assert data.describe()["images"] == {"train": 6, "val": 3, "test": 6, "predict": 3}


def test_without_the_test_images_predictions_are_of_validation(root):
    shutil.rmtree(root / "cityscapes" / "leftImg8bit" / "test")
    data = ready(Cityscapes(root))
    assert data.sets["predict"].paths == data.sets["val"].paths


def test_images_without_labels_have_only_ignored_ones(made):
    sample = ready(Cityscapes(made.parent)).sets["predict"][SampleIndex(1, 0)]
    assert (sample["label"] == 255).all()
    assert sample["label"].shape == SIZE


def test_camvid(tmp_path):
    root = write_camvid(tmp_path)
    data = ready(CamVid(root))
    assert {split: len(streets) for split, streets in data.sets.items()} == {
        "train": 4, "val": 2, "test": 3, "predict": 3,
    }  # fmt: skip
    assert (data.num_classes, data.image_size) == (11, (360, 480))
    assert data.origin == {"genuine": True, "as_published": False}
    labels = data.sets["val"].decode(0)[1]
    ids = cv2.imread(str(root / "CamVid" / "valannot" / "0001TP_000000.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, np.where(ids == 11, 255, ids))
    more = ready(CamVid(root, train_on_val=True))
    assert len(more.sets["train"]) == 6
    with pytest.warns(UserWarning, match="train: 6 here, 468 published"):
        CamVid(root, train_on_val=True).setup("fit")


@pytest.mark.parametrize("name", ["Cityscapes", "CamVid"])
def test_images_alone_are_predicted(name, root):
    if name == "Cityscapes":
        shutil.rmtree(root / "cityscapes" / "gtFine")
        data = Cityscapes(root)
    else:
        write_camvid(root)
        shutil.rmtree(root / "CamVid" / "testannot")
        data = CamVid(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        data.setup("predict")
    assert {pair.labels for pair in data.sets["predict"].pairs} == {None}
    with pytest.raises(MissingFileError):
        type(data)(root).setup("test")


def test_own_folders(tmp_path):
    data = ready(Folders(write_folders(tmp_path), ["wood", "paper", "stone"]))
    assert data.class_names == ["wood", "paper", "stone"]
    assert len({tuple(colour) for colour in data.label_map.palette.tolist()}) == 3
    assert data.sets["test"].paths == data.sets["val"].paths
    assert str(data.sets["train"].paths[0]) == "images/train/deep/0.jpg"
    assert data.origin == {"genuine": True}
    write_folders(tmp_path, ["test"])
    assert str(ready(Folders(tmp_path, ["a", "b", "c"])).sets["test"].paths[0]).startswith("images/test/")


def test_a_set_is_as_published_by_its_numbers_and_genuine_if_it_was_not_rendered(made, tmp_path, monkeypatch):
    monkeypatch.setattr(Cityscapes, "published", {"train": 6, "val": 3})
    assert ready(Cityscapes(made.parent)).origin == {"genuine": False, "as_published": True}
    for kind in ("leftImg8bit", "gtFine"):
        shutil.copytree(made / kind, tmp_path / "cityscapes" / kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = Cityscapes(tmp_path)
        data.setup("fit")
    assert data.origin == {"genuine": True, "as_published": True}


# What reaches the network.


def test_batches_have_the_promised_form(made):
    data = ready(Cityscapes(made.parent, crop=(40, 56), batch_size=3, workers=0))
    batches = list(data.train_dataloader())
    assert len(batches) == 2
    for batch in batches:
        assert batch["image"].shape == (3, 3, 40, 56)
        assert batch["image"].dtype == torch.float32
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert (batch["label"].shape, batch["label"].dtype) == ((3, 40, 56), torch.int64)
        assert batch["index"].dtype == torch.int64
        assert set(batch["label"].unique().tolist()) <= {*range(19), 255}
    assert sorted(torch.cat([batch["index"] for batch in batches]).tolist()) == list(range(6))
    whole = list(data.val_dataloader())
    assert [batch["index"].tolist() for batch in whole] == [[0], [1], [2]]
    assert whole[0]["image"].shape == (1, 3, *SIZE)


def test_the_seed_and_the_epoch_decide_the_batches(made):
    def epoch(number, seed=0):
        data = ready(Cityscapes(made.parent, crop=(32, 32), batch_size=2, workers=0, seed=seed))
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        return torch.cat([batch["image"] for batch in loader])

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))
    assert not torch.equal(epoch(1), epoch(1, seed=1))


def test_several_images_make_a_batch_of_evaluation(made):
    data = ready(Cityscapes(made.parent, eval_batch_size=2, workers=0, check_files=False))
    assert [batch["image"].shape[0] for batch in data.val_dataloader()] == [2, 1]


def test_a_crop_larger_than_the_image_is_padded(made):
    data = ready(Cityscapes(made.parent, crop=(200, 300)))
    sample = data.sets["train"][SampleIndex(0, 3)]
    assert sample["image"].shape == (200, 300, 3)
    padding = (sample["image"] == 0).all(dim=2)
    assert (sample["label"][padding] == 255).all()
    assert padding.float().mean() > 0.3


def test_images_can_be_shrunk_evaluation_too(made):
    data = ready(Cityscapes(made.parent, image_scale=0.5, crop=(16, 32)))
    sample = data.sets["val"][SampleIndex(0, 0)]
    assert sample["image"].shape == (24, 48, 3)
    image, labels = data.sets["val"].decode(0)
    whole, all_labels = ready(Cityscapes(made.parent)).sets["val"].decode(0)
    assert image.shape == (24, 48, 3)
    assert np.abs(image.astype(int) - whole.reshape(24, 2, 48, 2, 3).mean(axis=(1, 3))).max() <= 1
    options = all_labels.reshape(24, 2, 48, 2).transpose(0, 2, 1, 3).reshape(24, 48, 4)
    assert (labels[..., None] == options).any(axis=2).all()
    assert data.describe()["image_scale"] == 0.5


def test_class_frequencies_are_counted_over_the_training_set(made):
    data = ready(Cityscapes(made.parent))
    everything = np.concatenate([data.sets["train"].labels(index).ravel() for index in range(6)])
    scored = everything[everything != 255]
    expected = [(scored == number).mean() for number in range(19)]
    np.testing.assert_allclose(data.class_frequencies(), expected)
    assert sum(expected) == pytest.approx(1)


# What is wrong with files.


def test_nothing_there_says_what_is_expected_and_how_to_get_it(tmp_path):
    with pytest.raises(MissingFileError, match=r"(?s)Cityscapes was not found.*leftImg8bit/.*data make cityscapes"):
        Cityscapes(tmp_path).setup("fit")
    with pytest.raises(MissingFileError, match=r"(?s)CamVid was not found.*trainannot"):
        CamVid(tmp_path).setup("fit")
    with pytest.raises(MissingFileError, match=r"images is missing"):
        Folders(tmp_path, ["a"]).setup("fit")


def test_only_one_of_the_archives(root):
    shutil.rmtree(root / "cityscapes" / "gtFine")
    with pytest.raises(MissingFileError, match=r"has leftImg8bit and no gtFine. Unpack gtFine_trainvaltest.zip"):
        Cityscapes(root).setup("fit")


@pytest.mark.parametrize(
    ("end", "message"),
    [("_labelIds.png", "1 of 6 images have no labels"), ("_leftImg8bit.png", "1 of 6 label images have no image")],
)
def test_half_of_a_pair_is_missing(root, end, message):
    file = a_file(root, end)
    file.unlink()
    with pytest.raises(MissingFileError, match=message) as error:
        Cityscapes(root).setup("fit")
    assert file.name.split("_leftImg8bit")[0].split("_gtFine")[0] in str(error.value)


def test_an_empty_split(root):
    for kind in ("leftImg8bit", "gtFine"):
        shutil.rmtree(root / "cityscapes" / kind / "val")
        (root / "cityscapes" / kind / "val").mkdir()
    with pytest.raises(MissingFileError, match="Cityscapes val: there is no image in"):
        Cityscapes(root).setup("fit")


@pytest.mark.filterwarnings(SMALL)
def test_a_file_cut_off(root):
    file = a_file(root, "_leftImg8bit.png")
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match=rf"1 of the 18 files.*{file.name} \(cut off before its end\)"):
        Cityscapes(root).setup("fit")


@pytest.mark.filterwarnings(SMALL)
def test_a_file_that_is_no_image(root):
    file = a_file(root, "_leftImg8bit.png")
    file.write_bytes(b"nothing like an image")
    with pytest.raises(
        InputError, match=rf"{file.name} \(not an image that OpenCV or Pillow reads: it begins with b'nothing '\)"
    ):
        Cityscapes(root).setup("fit")
    data = ready(Cityscapes(root, check_files=False))
    index = [path.name for path in data.sets["train"].paths].index(file.name)
    with pytest.raises(InputError, match=rf"{file.name} cannot be decoded as an image: not an image that"):
        data.sets["train"][SampleIndex(index, 0)]


@pytest.mark.filterwarnings(SMALL)
def test_labels_of_another_size(root):
    file = a_file(root, "_labelIds.png")
    cv2.imwrite(str(file), np.zeros((SIZE[0], SIZE[1] // 2), np.uint8))
    message = rf"{file.name} is 48 x 48 pixels \(height x width\), and its image 48 x 96"
    with pytest.raises(InputError, match=message):
        Cityscapes(root).setup("fit")
    data = ready(Cityscapes(root, check_files=False))
    with pytest.raises(InputError, match=message):
        data.sets["train"].decode(1)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full(SIZE, 34, np.uint8), "4,608 pixels have the label 34, and Cityscapes has 0 to 33, 255"),
        (np.full((*SIZE, 3), [70, 0, 0], np.uint8), "has 3 channels that differ .uint8.*may be a coloured one"),
        (np.full(SIZE, 26001, np.uint16), "has values up to 26,001 .uint16.*one channel with ids from 0 to 255"),
    ],
)
def test_labels_that_are_none(root, pixels, message):
    file = a_file(root, "_labelIds.png")
    cv2.imwrite(str(file), pixels)
    data = ready(Cityscapes(root))
    with pytest.raises(InputError, match=rf"{file.name}.*{message}"):
        data.sets["train"][SampleIndex(1, 0)]


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "L"), ("a.tif", "1"), ("a.tif", "I"), ("a.tif", "I;16"), ("a.png", "RGB"), ("a.png", "LA")],
)
def test_labels_in_other_forms_have_the_same_ids(tmp_path, name, mode):
    ids = np.array([[0, 1], [1, 0]], np.uint8)
    image = Image.fromarray(ids * 255 if mode == "1" else ids).convert("L")
    if mode == "LA":
        image.putalpha(255)
    image.convert(mode if mode != "I;16" else "I").convert(mode).save(tmp_path / name)
    assert read_labels(tmp_path / name).tolist() == ids.tolist()
    assert read_labels(tmp_path / name).dtype == np.uint8


def test_gif_labels_are_refused_since_their_values_change(tmp_path):
    Image.fromarray(np.array([[0, 2]], np.uint8)).save(tmp_path / "a.gif")
    with pytest.raises(InputError, match=r"a\.gif is a GIF, whose writers renumber the values"):
        read_labels(tmp_path / "a.gif")


def test_images_of_different_sizes_make_no_batch(tmp_path):
    write_folders(tmp_path)
    for kind, shape, end in (("images", (10, 12, 3), "jpg"), ("labels", (10, 12), "png")):
        cv2.imwrite(str(tmp_path / kind / "val" / "deep" / f"1.{end}"), np.zeros(shape, np.uint8))
    for check in (True, False):
        with pytest.raises(InputError, match=r"eval_batch_size is 2.*\(10 x 12, 20 x 30\) do not make a batch"):
            Folders(tmp_path, ["a", "b", "c"], eval_batch_size=2, check_files=check).setup("fit")


def test_camvid_half_unpacked(tmp_path):
    root = write_camvid(tmp_path)
    shutil.rmtree(root / "CamVid" / "testannot")
    with pytest.raises(MissingFileError, match=r"CamVid is incomplete: testannot missing"):
        CamVid(root).setup("fit")
    write_camvid(root)
    (root / "CamVid" / "valannot" / "0001TP_000001.png").unlink()
    with pytest.raises(MissingFileError, match=r"CamVid val.*1 of 2 images have no labels: val/0001TP_000001.png"):
        CamVid(root).setup("fit")


def test_two_images_of_one_name(tmp_path):
    write_folders(tmp_path)
    shutil.copy(tmp_path / "images/train/deep/1.jpg", tmp_path / "images/train/deep/1.jpeg")
    with pytest.raises(InputError, match=r"deep/1.jpeg and images/train/deep/1.jpg"):
        Folders(tmp_path, ["a", "b", "c"]).setup("fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "Cityscapes: batch_size is 0, expected at least 1"),
        ({"crop": (8, 100)}, "crop is 8, expected at least 16"),
        ({"image_scale": 0.0}, "image_scale is 0.0, expected above 0"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Cityscapes("nowhere", **arguments)


def test_a_batch_larger_than_the_set(made):
    with pytest.raises(InputError, match="batch_size is 8, and the training set has 6 images"):
        ready(Cityscapes(made.parent)).train_dataloader()


def test_files_of_other_programs_are_passed_over(root):
    folder = a_file(root, "_leftImg8bit.png").parent
    for name in ("Thumbs.db", "._hidden.png", "notes.txt"):
        (folder / name).write_bytes(b"x")
    assert len(ready(Cityscapes(root)).sets["train"]) == 6
    assert all(name.endswith(".png") for name in images_in(root, "cityscapes/leftImg8bit/train"))
