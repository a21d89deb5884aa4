"""Layouts of Market-1501 and MSMT17: every nesting, and the errors for wrong trees. The trees are tiny."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from relattn.errors import InputError, MissingFileError
from relattn.tasks.files import departures, origin
from relattn.tasks.reid.market1501 import read_cuhk03_np, read_duke, read_market1501
from relattn.tasks.reid.msmt17 import read_msmt17
from relattn.tasks.reid.splits import PersonImage, Splits

MARKET = {
    "bounding_box_train": ["0007_c3s1_000001_01.jpg", "0002_c1s1_000451_03.jpg", "0002_c6s2_000001_02.JPG"],
    "query": ["0001_c1s1_001051_00.jpg", "0005_c2s1_000001_00.jpeg"],
    "bounding_box_test": [
        "0001_c2s1_000002_01.png",
        "-1_c1s1_000401_03.jpg",
        "0000_c4s6_014016_05.jpg",
        "0005_c3_1.jpg",
    ],
}
Reader = Callable[[Path], Splits]


def draw(file: Path) -> None:
    """Write an image of 8 x 4 pixels in the format of its file name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(file, "PNG" if file.suffix == ".png" else "JPEG")


def market(folder: Path, tree: dict[str, list[str]] = MARKET) -> Path:
    for name, files in tree.items():
        for file in files:
            draw(folder / name / file)
    return folder


def msmt17(folder: Path, version: int = 1) -> Path:
    """A tree of MSMT17: 2 identities for training, and 2 others with the same numbers for the search."""
    train, test = (("train", "test"), ("mask_train_v2", "mask_test_v2"))[version - 1]
    lists = {
        "train": (train, ["0001/0001_002_15_0303noon_0001_0.jpg 1", "0000/0000_000_01_0303morning_0015_0.jpg 0"]),
        "val": (train, ["0001/0001_005_03_0303noon_0001_0_ex.jpg 1"]),
        "query": (test, ["0000/0000_000_04_0303morning_0015_0.jpg 0"]),
        "gallery": (test, ["0001/0001_000_05_0303morning_0015_0.jpg 1", "0000/0000_000_14_0303noon_0015_0.jpg 0"]),
    }
    for name, (images, lines) in lists.items():
        for line in lines:
            draw(folder / images / line.split()[0])
        (folder / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def paths(images: Iterable[PersonImage]) -> list[str]:
    return [image.path for image in images]


def assert_named(error: pytest.ExceptionInfo[InputError], *parts: object) -> None:
    for part in parts:
        assert str(part) in str(error.value)


@pytest.mark.parametrize(
    "nesting", ["", "Market-1501-v15.09.15", "market1501/Market-1501-v15.09.15", "market1501", "Market-1501"]
)
def test_market_is_found_in_every_nesting(nesting: str, tmp_path: Path) -> None:
    folder = market(tmp_path / nesting)
    splits = read_market1501(tmp_path)
    assert splits.root == folder
    assert splits.train == (
        PersonImage("bounding_box_train/0002_c1s1_000451_03.jpg", 2, 0),
        PersonImage("bounding_box_train/0002_c6s2_000001_02.JPG", 2, 5),
        PersonImage("bounding_box_train/0007_c3s1_000001_01.jpg", 7, 2),
    )
    assert [(image.identity, image.camera) for image in splits.query] == [(1, 0), (5, 1)]
    assert all((splits.root / image.path).is_file() for image in (*splits.train, *splits.query, *splits.gallery))


def test_images_in_folders_below_are_named_and_left_out(tmp_path: Path) -> None:
    folder = market(tmp_path)
    below = folder / "bounding_box_test" / "extra"
    below.mkdir()
    next(folder.glob("query/*.jpg")).rename(below / "0001_c2s1_000451_03.jpg")
    with pytest.warns(UserWarning, match=r"1 file is left out .Market-1501 has no folders .*extra/0001_c2s1"):
        splits = read_market1501(tmp_path)
    assert not any("extra" in path for path in paths(splits.gallery))


def test_junk_is_dropped_and_distractors_stay_in_the_gallery(tmp_path: Path) -> None:
    splits = read_market1501(market(tmp_path))
    assert [image.identity for image in splits.gallery] == [0, 1, 5]
    assert paths(splits.gallery) == sorted(paths(splits.gallery))


@pytest.mark.parametrize("nesting", ["", "DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID", "dukemtmc-reid"])
def test_duke_is_found_in_every_nesting(nesting: str, tmp_path: Path) -> None:
    tree = {name: [f"0001_c{camera}_f0046182.jpg"] for camera, name in enumerate(MARKET, start=6)}
    market(tmp_path / nesting, tree | {"bounding_box_train": ["0009_c6_f0046182.jpg"]})
    splits = read_duke(tmp_path)
    assert [part[0].camera for part in (splits.train, splits.query, splits.gallery)] == [5, 6, 7]
    assert splits.published["gallery identities"] == 1110


@pytest.mark.parametrize("nesting", ["cuhk03-np/{}", "CUHK03-NP/{}", "cuhk03-np/cuhk03-np/{}", "{}", ""])
@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_cuhk03_np_is_found_in_every_nesting(nesting: str, boxes: str, tmp_path: Path) -> None:
    tree = {"bounding_box_train": ["0003_c1_1.png"], "query": ["0001_c1_1.png"], "bounding_box_test": ["0001_c2_6.png"]}
    folder = market(tmp_path / nesting.format(boxes), tree)
    splits = read_cuhk03_np(tmp_path, boxes)  # type: ignore[arg-type]
    assert (splits.root, splits.gallery) == (folder, (PersonImage("bounding_box_test/0001_c2_6.png", 1, 1),))
    assert splits.published["train images"] == {"labeled": 7368, "detected": 7365}[boxes]


def test_one_kind_of_boxes_is_not_taken_for_the_other(tmp_path: Path) -> None:
    market(tmp_path / "labeled", {name: ["0001_c1_1.png"] for name in MARKET})
    for root in (tmp_path, tmp_path / "labeled"):
        with pytest.raises(MissingFileError, match="detected/bounding_box_train"):
            read_cuhk03_np(root, "detected")


def test_only_the_file_name_says_who_it_is(tmp_path: Path) -> None:
    splits = read_market1501(market(tmp_path / "12_c3" / "0099_c5s1"))
    assert {image.identity for image in splits.train} == {2, 7}
    assert {image.camera for image in splits.train} == {0, 2, 5}


def test_other_files_are_ignored(tmp_path: Path) -> None:
    whole = read_market1501(market(tmp_path))
    for name in ("Thumbs.db", "readme.txt", "._0002_c1s1_000451_03.jpg", ".DS_Store"):
        (tmp_path / "bounding_box_train" / name).write_bytes(b"not an image")
    (tmp_path / "gt_bbox").mkdir()
    assert read_market1501(tmp_path) == whole


@pytest.mark.parametrize(
    ("folder", "name", "said"),
    [
        ("query", "person.jpg", ("does not give the identity", "0002_c1s1_000451_03.jpg", "Rename or remove")),
        ("bounding_box_test", "-5_c1s1_000001_00.jpg", ("does not give the identity",)),
        ("bounding_box_train", "0002_c7s1_000001_00.jpg", ("camera is 7", "cameras 1 to 6")),
        ("bounding_box_train", "0002_c0s1_000001_00.jpg", ("camera is 0",)),
        ("query", "0002_c12s1_000001_00.jpg", ("camera is 12",)),
        ("query", "0000_c1s1_000001_00.jpg", ("identity 0 marks distractors", "Number identities from 1")),
        ("bounding_box_train", "0000_c1s1_000001_00.jpg", ("identity 0 marks distractors",)),
    ],
)
def test_a_wrong_name_is_an_error_that_names_the_file(
    folder: str, name: str, said: tuple[str, ...], tmp_path: Path
) -> None:
    draw(market(tmp_path) / folder / name)
    with pytest.raises(InputError) as caught:
        read_market1501(tmp_path)
    assert_named(caught, tmp_path / folder / name, *said)


def test_a_set_of_more_cameras_is_not_read_as_another(tmp_path: Path) -> None:
    market(tmp_path, {name: ["0001_c8_f0046182.jpg"] for name in MARKET})
    with pytest.raises(InputError, match="name the set that the folder holds"):
        read_market1501(tmp_path)


def test_half_of_a_tree_is_an_error(tmp_path: Path) -> None:
    market(tmp_path / "market1501", {"bounding_box_train": ["0002_c1s1_000451_03.jpg"]})
    with pytest.raises(MissingFileError, match=r"incomplete: query, bounding_box_test missing\. Unpack"):
        read_market1501(tmp_path)
    market(tmp_path / "Market-1501")  # a complete one is used
    assert read_market1501(tmp_path).root == tmp_path / "Market-1501"
    for file in (tmp_path / "Market-1501" / "query").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="no query image"):
        read_market1501(tmp_path)


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (read_market1501, ("Market-1501-v15.09.15/bounding_box_train", "zheng-lab", "make market1501 --root")),
        (read_duke, ("DukeMTMC-reID/query", "withdrew it in 2019", "make dukemtmc --root")),
        (read_cuhk03_np, ("cuhk03-np/detected/query", "person-re-ranking", "make cuhk03 --root")),
        (read_msmt17, ("MSMT17_V1/list_query.txt", "Peking University", "make msmt17 --root")),
        (lambda root: read_msmt17(root, 2), ("MSMT17_V2/mask_train_v2", "make msmt17 --root")),
    ],
    ids=["market1501", "duke", "cuhk03_np", "msmt17", "msmt17 v2"],
)
def test_a_missing_set_says_what_is_expected_and_how_to_get_it(reader: Reader, said: tuple[str, ...]) -> None:
    with pytest.raises(MissingFileError) as caught:
        reader(Path("data/nowhere"))
    assert_named(caught, "    data/nowhere/", "--data.root", "--root data/nowhere", *said)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("nesting", ["MSMT17_V{}", "msmt17/MSMT17_V{}", "MSMT17/MSMT17_V{}", "MSMT17_V{0}/MSMT17_V{0}"])
def test_msmt17_is_found_in_every_nesting(nesting: str, version: int, tmp_path: Path) -> None:
    folder = msmt17(tmp_path / nesting.format(version), version)
    for root in (tmp_path, folder):
        splits = read_msmt17(root)
        assert splits.root == folder
        train = ("train", "mask_train_v2")[version - 1]
        assert splits.train == (
            PersonImage(f"{train}/0000/0000_000_01_0303morning_0015_0.jpg", 0, 0),
            PersonImage(f"{train}/0001/0001_002_15_0303noon_0001_0.jpg", 1, 14),
        )
        assert [(image.identity, image.camera) for image in splits.gallery] == [(0, 13), (1, 4)]


def test_msmt17_without_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = msmt17(tmp_path / "anywhere")
    assert read_msmt17(folder).root == folder
    assert read_msmt17(msmt17(tmp_path / "data" / "msmt17").parent).root == tmp_path / "data" / "msmt17"
    for name in ("train", "test"):  # of another data set
        (tmp_path / name).mkdir()
    with pytest.raises(MissingFileError, match="was not found"):
        read_msmt17(tmp_path)


def test_msmt17_trains_on_its_validation_list_only_when_told_to(tmp_path: Path) -> None:
    msmt17(tmp_path / "MSMT17_V1")
    without, both = read_msmt17(tmp_path), read_msmt17(tmp_path, validation=True)
    assert set(both.train) - set(without.train) == {PersonImage("train/0001/0001_005_03_0303noon_0001_0_ex.jpg", 1, 2)}
    assert paths(both.train) == sorted(paths(both.train))
    assert (without.published["train images"], both.published["train images"]) == (30_248, 32_621)


def test_msmt17_asks_which_version(tmp_path: Path) -> None:
    first, second = msmt17(tmp_path / "MSMT17_V1"), msmt17(tmp_path / "msmt17" / "MSMT17_V2", 2)
    with pytest.raises(InputError) as caught:
        read_msmt17(tmp_path)
    assert_named(caught, first, second, "--data.version")
    assert read_msmt17(tmp_path, 1).root == first
    assert read_msmt17(tmp_path, 2).root == second
    with pytest.raises(InputError, match="version is 3, expected 1, 2"):
        read_msmt17(tmp_path, 3)  # type: ignore[arg-type]


def test_msmt17_names_what_is_missing(tmp_path: Path) -> None:
    folder = msmt17(tmp_path / "MSMT17_V1")
    (folder / "list_val.txt").unlink()
    assert read_msmt17(tmp_path).train
    (folder / "list_query.txt").unlink()
    with pytest.raises(MissingFileError, match=r"list_query.txt, list_val.txt missing. Peking.*same archive") as caught:
        read_msmt17(tmp_path, validation=True)
    assert str(folder) in str(caught.value)
    msmt17(folder)
    (folder / "test/0000/0000_000_14_0303noon_0015_0.jpg").unlink()
    with pytest.raises(MissingFileError, match=r"1 of the 2 images of the gallery set .*test/0000/0000_000_14"):
        read_msmt17(tmp_path)
    (folder / "test").rename(folder / "tset")
    with pytest.raises(MissingFileError, match="MSMT17_V1 is incomplete: test missing"):
        read_msmt17(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0000/0000_000_16_a_b.jpg 0", "camera of 0000/0000_000_16_a_b.jpg is 16, expected 1 to 15"),
        ("0000/0000_000_xx_a_b.jpg 0", "expected a path and an identity"),
        ("0000/0000_000_01_a_b.jpg", "expected a path and an identity"),
        ("0000/0000_000_01_a_b.jpg -1", "expected a path and an identity"),
        ("0000/portrait.jpg 0", "expected a path and an identity"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(line: str, said: str, tmp_path: Path) -> None:
    file = msmt17(tmp_path / "MSMT17_V1") / "list_query.txt"
    file.write_text(f"{file.read_text()}\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_msmt17(tmp_path)
    assert_named(caught, f"{file}, line 3", said)


def test_lists_that_are_no_lists(tmp_path: Path) -> None:
    file = msmt17(tmp_path / "MSMT17_V1") / "list_gallery.txt"
    file.write_text(file.read_text() * 2)
    with pytest.raises(InputError, match="gallery set name images twice: test/0000/0000_000_14"):
        read_msmt17(tmp_path)
    file.write_text("")
    with pytest.raises(InputError, match="no gallery image"):
        read_msmt17(tmp_path)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a list"):
        read_msmt17(tmp_path)


def test_counts_are_compared_with_the_published_ones_in_one_warning(tmp_path: Path) -> None:
    splits = read_market1501(market(tmp_path))
    with pytest.warns(UserWarning, match="not the published set") as caught:
        found = origin("Market-1501", tmp_path, departures(splits.counts(), splits.published))
    assert found == {"genuine": True, "as_published": False}
    (message,) = [str(warning.message) for warning in caught]
    for part in ("train images: 3 here, 12,936 published", "gallery identities: 3 here, 751 pub", "Do not compare"):
        assert part in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = origin("Market-1501", tmp_path, departures(splits.counts(), splits.counts()))
        assert same == {"genuine": True, "as_published": True}
        assert origin("mine", tmp_path) == {"genuine": True}
        read_msmt17(msmt17(tmp_path / "MSMT17_V1"))  # equal numbers in train and test are other people
    with pytest.warns(UserWarning, match=r"2 identities are in training and in test \(1, 5\)"):
        read_market1501(market(tmp_path, {"bounding_box_train": ["0001_c1s1_1_1.jpg", "0005_c1s1_1_1.jpg"]}))
