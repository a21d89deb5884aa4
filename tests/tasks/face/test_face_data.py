"""Joined training sets, the search for verification sets, and batches in the form that the task expects."""

import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from relattn.errors import InputError, MissingFileError
from relattn.synthetic.faces.layouts import write_faces
from relattn.synthetic.faces.records import write_records
from relattn.tasks.face.data_sets import Faces
from relattn.tasks.face.folders import IdentityFolders
from relattn.tasks.face.records import Records
from relattn.tasks.face.sources import Joined, open_source, read_exclusions
from relattn.tasks.face.verification_sets import OFFICIAL, VerificationSet
from relattn.tasks.samplers import SampleIndex


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faces")
    write_faces(root, identities=5, images_per_identity=4, pairs=20, size=40)
    return root


def trainer(rank: int = 0, world_size: int = 1) -> SimpleNamespace:
    device = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(global_rank=rank, world_size=world_size, num_devices=1, strategy=device, overfit_batches=0)


def faces(root: Path, **arguments: object) -> Faces:
    data = Faces(root, **{"batch_size": 6, "eval_batch_size": 64, "workers": 0, "image_size": (40, 40)} | arguments)
    data.trainer = trainer()
    data.setup("fit")
    return data


def folder(path: Path, people: dict[str, int]) -> Path:
    """A training set: the given number of images of each identity, recognisable by colour."""
    for number, (name, images) in enumerate(people.items()):
        (path / name).mkdir(parents=True)
        for image in range(images):
            pixels = np.full((24, 24, 3), (40 * number, 10 * image, 99), np.uint8)
            cv2.imwrite(str(path / name / f"{image}.png"), pixels)
    return path


# --- sources


def test_folders_are_identities(tmp_path: Path) -> None:
    path = folder(tmp_path / "set", {"b": 2, "a": 1, "c": 1})
    (path / "c" / "more").mkdir()
    shutil.copy(path / "a" / "0.png", path / "c" / "more" / "x.JPG")
    (path / "empty").mkdir()
    (path / ".hidden").mkdir()
    (path / "notes.txt").write_text("no image")
    (path / "a" / "Thumbs.db").write_text("no image")
    found = IdentityFolders(path)
    assert found.identities == ["a", "b", "c"]
    assert found.files == ["a/0.png", "b/0.png", "b/1.png", "c/0.png", "c/more/x.JPG"]
    assert found.labels.tolist() == [0, 1, 1, 2, 2]
    assert found.read(4) == (path / "a" / "0.png").read_bytes()
    (path / "b" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1 of the 5 images in .*b/1\.png \(empty\)"):
        found.check()
    (path / "b" / "0.png").unlink()
    with pytest.raises(InputError, match=r"b/0\.png cannot be read"):
        found.read(1)


def test_sources_are_recognised(tmp_path: Path) -> None:
    folder(tmp_path / "images", {"a": 1})
    write_records(tmp_path / "records" / "train", [(0, b"x")])
    assert isinstance(open_source(tmp_path / "images"), IdentityFolders)
    for path in ("records", "records/train", "records/train.rec"):
        assert isinstance(open_source(tmp_path / path), Records)
    with pytest.raises(MissingFileError, match="neither a folder"):
        open_source(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no folders with images"):
        open_source(tmp_path / "empty")


def test_joined_sources_are_labelled_without_gaps(tmp_path: Path) -> None:
    one = IdentityFolders(folder(tmp_path / "one", {"a": 3, "b": 1, "c": 2}))
    write_records(tmp_path / "two" / "casia", [(3, b"p"), (3, b"q"), (8, b"r"), (9, b"s"), (9, b"t")])
    two = Records(tmp_path / "two" / "casia")
    both = Joined([one, two])
    assert both.labels.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 4, 5, 5]
    assert both.identities == ["one/a", "one/b", "one/c", "casia/3", "casia/8", "casia/9"]
    frequent = Joined([one, two], min_images=2)
    assert frequent.identities == ["one/a", "one/c", "casia/3", "casia/9"]
    assert frequent.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert [frequent.read(index) for index in (5, 8)] == [b"p", b"t"]
    assert frequent.read(3) == one.read(4)
    assert frequent.where(3).endswith("one/c/0.png")
    assert frequent.counts() == {"one": 5, "casia": 4}
    with pytest.raises(InputError, match=r"No training images are left of one, casia with min_images 9"):
        Joined([one, two], min_images=9)
    with pytest.raises(InputError, match="Several training sets are called one"):
        Joined([one, one])


def test_identities_of_a_list_are_left_out_and_unknown_ones_reported(tmp_path: Path) -> None:
    one, two = (IdentityFolders(folder(tmp_path / name, {"a": 2, "b": 1, "c": 1})) for name in ("one", "two"))
    with pytest.warns(UserWarning, match=r"Names in several training sets, 3 of them, .*: a, b, c\."):
        Joined([one, two])
    path = tmp_path / "overlap.txt"
    path.write_text("# in LFW as well\nb\n\ntwo/a  # a comment\ntwo/zoe\nyan\n")
    with (
        pytest.warns(UserWarning, match=r"overlap\.txt: 2 of 4 entries name no identity .*: two/zoe, yan\."),
        pytest.warns(UserWarning, match=r"1 of them, count as different people: c\."),
    ):
        joined = Joined([one, two], exclude=path)
    assert joined.identities == ["one/a", "one/c", "two/c"]
    assert joined.labels.tolist() == [0, 0, 1, 2]
    with pytest.raises(MissingFileError, match=r"none\.txt: no such file"):
        read_exclusions(tmp_path / "none.txt")


# --- batches


def test_training_batches_are_as_promised(root: Path) -> None:
    data = faces(root)
    assert (data.num_classes, data.image_size) == (5, (40, 40))
    loader = data.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 3  # of 20 images, 2 are left out
    for batch in batches:
        assert batch["image"].shape == (6, 3, 40, 40)
        assert batch["image"].dtype == torch.float32
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert -127.5 / 128 <= batch["image"].min() < batch["image"].max() <= 127.5 / 128
        assert batch["label"].dtype == batch["index"].dtype == torch.int64
        for image, label, index in zip(batch["image"], batch["label"], batch["index"], strict=True):
            file = root / "faces" / "train" / f"{int(label) + 1:05d}" / f"{int(index) % 4 + 1:03d}.jpg"
            pixels = (cv2.imread(str(file))[..., ::-1].astype(np.float64) - 127.5) / 128
            found = image.permute(1, 2, 0).numpy()
            assert any(np.allclose(found, turned, atol=1e-6) for turned in (pixels, pixels[:, ::-1]))
    indices = torch.cat([batch["index"] for batch in batches]).tolist()
    assert len(set(indices)) == 18


def test_the_seed_decides_order_and_flips(root: Path) -> None:
    def images(seed: int, epoch: int = 0) -> torch.Tensor:
        loader = faces(root, seed=seed).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([batch["image"] for batch in loader])

    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(1), images(2))
    assert not torch.equal(images(1), images(1, epoch=1))


@pytest.mark.parametrize(("flip", "expected"), [(0.0, 0), (1.0, 18)])
def test_flips_are_as_likely_as_asked(flip: float, expected: int, root: Path) -> None:
    plain = faces(root, flip=0.0).sets["train"]
    flipped = 0
    data = faces(root, flip=flip)
    for batch in data.train_dataloader():
        for image, index in zip(batch["image"], batch["index"], strict=True):
            original = plain[SampleIndex(int(index), 0)]["image"].permute(2, 0, 1)
            flipped += int(torch.allclose(image * 128 + 127.5, original.flip(2).float(), atol=1e-3))
    assert flipped == expected


def test_half_of_the_images_are_flipped(root: Path) -> None:
    images = faces(root).sets["train"]
    original = images.images
    pixels = [images[SampleIndex(0, seed)]["image"].numpy().tobytes() for seed in range(300)]
    assert len(original) == 20
    assert len(set(pixels)) == 2
    assert 120 < pixels.count(pixels[0]) < 180


def test_evaluation_goes_through_all_verification_sets_in_order(root: Path) -> None:
    data = faces(root, verification_sets=["cfp_fp", "lfw"])
    assert list(data.verification) == ["cfp_fp", "lfw"]
    batches = list(data.val_dataloader())
    assert torch.equal(torch.cat([batch["index"] for batch in batches]), torch.arange(80))
    assert torch.equal(torch.cat([batch["label"] for batch in batches]), torch.full((80,), -1))
    images = torch.cat([batch["image"] for batch in batches])
    assert images.shape == (80, 3, 40, 40)
    for place, name in ((0, "cfp_fp"), (40, "lfw")):
        pairs = data.verification[name]
        for index in (0, 1, 39):
            expected = (torch.from_numpy(pairs.read(index)).permute(2, 0, 1) - 127.5) / 128
            torch.testing.assert_close(images[place + index], expected)
    for loader in (data.test_dataloader(), data.predict_dataloader()):
        assert torch.equal(next(iter(loader))["image"], batches[0]["image"])


def test_processes_share_the_images(root: Path) -> None:
    parts = []
    for rank in range(2):
        data = faces(root)
        data.trainer = trainer(rank, 2)
        parts.append([batch["index"] for batch in data.train_dataloader()])
        evaluated = torch.cat([batch["index"] for batch in data.test_dataloader()])
        assert torch.equal(evaluated, torch.arange(rank, 200, 2))
    whole = [batch["index"] for batch in faces(root).train_dataloader()]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([parts[0][step], parts[1][step]]), batch)


# --- what is found, and what is said of it


def test_the_record_says_what_was_used(root: Path) -> None:
    data = faces(root)
    described = data.describe()
    assert len(described.pop("fingerprint")) == 16
    assert described == {
        "data": "Faces",
        "images": {"train": 20, **dict.fromkeys(OFFICIAL, 40)},
        "identities": 5,
        "sources": {"train": 20},
        "pairs": dict.fromkeys(OFFICIAL, 20),
        "genuine": False,
        "as_published": False,
    }
    assert list(data.verification) == list(OFFICIAL)
    assert data.identities[0] == "train/00001"


def test_sets_of_the_official_sizes_are_as_published(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = (root / "faces/train/00001/001.jpg").read_bytes()
    sizes = dict(OFFICIAL)

    def sets(self: Faces) -> list[VerificationSet]:
        return [
            VerificationSet(name, Path(name), [image] * (2 * size), np.ones(size, bool)) for name, size in sizes.items()
        ]

    monkeypatch.setattr(Faces, "read_verification_sets", sets)
    assert faces(root).origin["as_published"]
    sizes["lfw"] -= 1
    assert not faces(root).origin["as_published"]


def test_insightfaces_folder_is_read_as_it_is(root: Path, tmp_path: Path) -> None:
    image = (root / "faces/train/00001/001.jpg").read_bytes()
    write_records(tmp_path / "train", [(0, image), (0, image), (1, image)])
    for name in ("lfw", "cfp_fp", "agedb_30"):
        shutil.copy(root / "faces" / f"{name}.bin", tmp_path)
    with pytest.warns(UserWarning, match="of the five verification sets, calfw, cplfw are missing"):
        data = faces(tmp_path, batch_size=2)
    assert data.num_classes == 2
    assert list(data.verification) == ["lfw", "cfp_fp", "agedb_30"]
    assert next(iter(data.train_dataloader()))["image"].shape == (2, 3, 40, 40)


def test_a_verification_set_may_be_a_folder_with_pairs(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "faces" / "train", tmp_path / "train")
    (tmp_path / "lfw" / "Ann").mkdir(parents=True)
    for number in (1, 2):
        shutil.copy(root / f"faces/train/00001/00{number}.jpg", tmp_path / "lfw" / "Ann" / f"Ann_000{number}.jpg")
    (tmp_path / "lfw" / "pairs.txt").write_text("Ann 1 2\n")
    data = faces(tmp_path, verification_sets=["lfw", str(root / "faces" / "calfw.bin")])
    assert {name: len(pairs) for name, pairs in data.verification.items()} == {"lfw": 2, "calfw": 40}


def test_several_training_sets(root: Path, tmp_path: Path) -> None:
    folder(tmp_path / "celebs", {"x": 3, "y": 1})
    (tmp_path / "out.txt").write_text("00002\n")
    data = faces(root, train=["train", str(tmp_path / "celebs")], min_images=2, exclude=tmp_path / "out.txt")
    assert data.identities == ["train/00001", "train/00003", "train/00004", "train/00005", "celebs/x"]
    assert data.describe()["sources"] == {"train": 16, "celebs": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"workers": -1}, "workers is -1"),
        ({"image_size": (8, 8)}, "image_size is 8, expected at least 16"),
        ({"flip": 1.5}, "flip is 1.5, expected a probability"),
        ({"min_images": 0}, "min_images is 0"),
        ({"train": []}, "train is an empty list"),
        ({"verification_sets": []}, "verification_sets is an empty list"),
        ({"verification_sets": ["lfw", "lfw"]}, "verification_sets are lfw, lfw"),
        ({"verification_sets": ["lfx"]}, "the verification set 'lfx' was not found"),
        ({"train": ["none"]}, "the training set 'none' was not found"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str, root: Path) -> None:
    with pytest.raises(InputError, match=message):
        faces(root, **arguments)


def test_what_is_missing_is_shown_with_its_stand_in(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"(?s)faces/lfw\.bin\n.*relattn data make faces --root") as error:
        faces(tmp_path)
    assert "agedb_30.bin" in str(error.value)
    shutil.copy(root / "faces" / "lfw.bin", tmp_path)
    with pytest.raises(MissingFileError, match=r"(?s)A training set of faces was not found.*faces/train\n"):
        faces(tmp_path, verification_sets=["lfw"])


def test_damaged_files_are_found_before_the_run(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "faces", tmp_path / "faces")
    image = tmp_path / "faces/train/00002/003.jpg"
    image.write_bytes(image.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"00002/003\.jpg \(cut off before its end\)"):
        faces(tmp_path)
    assert faces(tmp_path, check_files=False).num_classes == 5
    image.write_bytes((root / "faces/train/00002/003.jpg").read_bytes())
    bins, same = pickle.loads((tmp_path / "faces/lfw.bin").read_bytes())
    (tmp_path / "faces/lfw.bin").write_bytes(pickle.dumps(([b"", *bins[1:]], same)))
    with pytest.raises(InputError, match=r"lfw\.bin: image 0 is empty"):
        faces(tmp_path)
