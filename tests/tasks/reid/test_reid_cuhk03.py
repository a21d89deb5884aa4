"""CUHK03: the HDF5 release, its extracted images, both protocols. The release is tiny but has the genuine structure."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
import pytest
from scipy.io import savemat

from relattn.errors import InputError, MissingFileError
from relattn.tasks.reid.cuhk03 import read_cuhk03
from relattn.tasks.reid.splits import PersonImage

PAIRS = (4, 2)
"""Identities at each pair of cameras."""
COLUMNS = (0, 2, 5, 6)
"""Columns, of ten, that have images: two from each camera, numbered from 1 in file names."""
PEOPLE = [(pair, person) for pair, people in enumerate(PAIRS, start=1) for person in range(1, people + 1)]
NAMES = sorted(
    f"{pair}_{person:03d}_{1 if column < 5 else 2}_{column + 1:02d}.png"
    for pair, person in PEOPLE
    for column in COLUMNS
)
RELEASES = [("cuhk03_release", ""), ("cuhk03/cuhk03_release", "cuhk03")]


def pixels(pair: int, person: int, column: int) -> np.ndarray:
    """An image, 8 high and 4 wide, with unique colours."""
    rows, columns = np.mgrid[:8, :4]
    return np.stack([rows * 20 + pair, columns * 30 + person, rows * 0 + 200 + column], axis=2).astype(np.uint8)


def write_release(folder: Path) -> Path:
    """Write `cuhk-03.mat` as MATLAB does: cells are arrays of references, axes are reversed, empty cells hold sizes."""
    folder.mkdir(parents=True)
    with h5py.File(folder / "cuhk-03.mat", "w") as file:
        count = 0

        def stored(content: np.ndarray) -> h5py.Reference:
            nonlocal count
            count += 1
            return file.create_dataset(f"#refs#/{count}", data=content).ref

        def cell(references: np.ndarray) -> h5py.Reference:
            nonlocal count
            count += 1
            return file.create_dataset(f"#refs#/{count}", data=references.T, dtype=h5py.ref_dtype).ref

        for boxes in ("labeled", "detected"):
            pairs = file.create_dataset(boxes, (1, len(PAIRS)), dtype=h5py.ref_dtype)
            for pair, people in enumerate(PAIRS, start=1):
                table = np.empty((people, 10), dtype=h5py.ref_dtype)
                for person, column in np.ndindex(table.shape):
                    filled = pixels(pair, person + 1, column).T if column in COLUMNS else np.zeros(2, np.uint64)
                    table[person, column] = stored(filled)
                pairs[0, pair - 1] = cell(table)
        sets = file.create_dataset("testsets", (1, 2), dtype=h5py.ref_dtype)
        for split, people in enumerate(([(1, 3), (2, 1)], [(2, 2), (1, 1)])):
            sets[0, split] = stored(np.array(people, np.float64).T)
    return folder / "cuhk-03.mat"


def protocol() -> dict[str, Any]:
    """The fields of a protocol that trains on people with even labels; labels are neither dense nor in order."""
    labels = [2 + 7 * ((PEOPLE.index((int(name[0]), int(name[2:5]))) * 5) % 6) for name in NAMES]
    index = {name: position for position, name in enumerate(NAMES, start=1)}
    train = [index[name] for name, label in zip(NAMES, labels, strict=True) if label % 2 == 0]
    test = [name for name in NAMES if index[name] not in train]
    query = [index[name] for name in test if name.endswith(("_01.png", "_06.png"))]
    return {
        "filelist": np.array(NAMES, dtype=object)[:, None],
        "labels": np.array(labels, np.uint16)[:, None],
        "camId": np.array([int(name[6]) for name in NAMES], np.uint8)[:, None],
        "train_idx": np.array(train[::-1], np.uint16)[:, None],
        "query_idx": np.array(query, np.uint16)[:, None],
        "gallery_idx": np.array([index[name] for name in test if index[name] not in query], np.uint16)[:, None],
    }


def write_protocol(folder: Path, boxes: str = "detected", **changed: Any) -> Path:
    file = folder / f"cuhk03_new_protocol_config_{boxes}.mat"
    savemat(file, {name: field for name, field in (protocol() | changed).items() if field is not None})
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the release, and the protocol beside it."""
    write_release(tmp_path / "data" / "cuhk03_release")
    write_protocol(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(("release", "home"), RELEASES)
@pytest.mark.parametrize("beside", ["release", "home", "root"])
@pytest.mark.parametrize("boxes", ["labeled", "detected"])
@pytest.mark.sampled(5)
def test_the_release_is_found_in_every_nesting(
    release: str, home: str, beside: str, boxes: str, tmp_path: Path
) -> None:
    write_release(tmp_path / release)
    write_protocol(tmp_path / {"release": release, "home": home, "root": ""}[beside], boxes)
    splits = read_cuhk03(tmp_path, boxes)  # type: ignore[arg-type]
    assert splits.root == tmp_path / home
    assert sorted(file.name for file in (splits.root / f"images_{boxes}").iterdir()) == NAMES
    assert splits.published["train images"] == {"labeled": 7368, "detected": 7365}[boxes]


def test_images_are_upright_and_in_their_colours(root: Path) -> None:
    splits = read_cuhk03(root)
    for image in splits.train:
        pair, person, _, number = (int(part) for part in Path(image.path).stem.split("_"))
        with PIL.Image.open(splits.root / image.path) as picture:
            np.testing.assert_array_equal(np.asarray(picture), pixels(pair, person, number - 1))


def test_the_new_protocol(root: Path) -> None:
    fields, splits = protocol(), read_cuhk03(root)
    for split, images in (("train", splits.train), ("query", splits.query), ("gallery", splits.gallery)):
        expected = []
        for index in fields[f"{split}_idx"].ravel() - 1:
            label, camera = int(fields["labels"][index, 0]), int(fields["camId"][index, 0]) - 1
            expected.append(PersonImage(f"images_detected/{NAMES[index]}", label, camera))
        assert list(images) == sorted(expected)
    assert {image.identity for image in splits.query} == {9, 23, 37}
    assert splits.counts()["query images"] == 6


@pytest.mark.parametrize(("split", "people"), [(0, {3, 5}), (1, {1, 6})])
def test_the_classic_protocol(split: int, people: set[int], root: Path) -> None:
    splits = read_cuhk03(root, protocol="classic", split=split)
    assert splits.query == splits.gallery
    assert {image.identity for image in splits.query} == people
    assert {image.identity for image in splits.train} == set(range(1, 7)) - people
    assert sorted(image.path.split("/")[1] for image in (*splits.train, *splits.query)) == NAMES
    assert {image.camera for image in splits.train} == {0, 1}
    assert PersonImage("images_detected/1_003_2_06.png", 3, 1) in (*splits.train, *splits.query)
    assert splits.published["train identities"] == 1367


def test_images_are_extracted_once(root: Path) -> None:
    first = read_cuhk03(root)
    assert sorted(path.name for path in root.iterdir()) == [
        "cuhk03_new_protocol_config_detected.mat",
        "cuhk03_release",
        "images_detected",
    ]
    (root / "images_detected" / NAMES[0]).write_bytes(b"as another program wrote it")
    assert read_cuhk03(root) == first
    assert (root / "images_detected" / NAMES[0]).read_bytes() == b"as another program wrote it"
    shutil.rmtree(root / "cuhk03_release")
    assert read_cuhk03(root) == first
    with pytest.raises(MissingFileError, match="the only file with the splits"):
        read_cuhk03(root, protocol="classic")


@pytest.mark.parametrize("name", ["new", "classic"])
def test_a_half_finished_extraction_is_an_error(name: Any, root: Path) -> None:
    read_cuhk03(root)
    for file in NAMES[:7]:
        (root / "images_detected" / file).unlink()
    with pytest.raises(MissingFileError, match=r"7 of the 24 images .* and 2 more.* extracted again from") as caught:
        read_cuhk03(root, protocol=name)
    assert str(root / "images_detected") in str(caught.value)
    shutil.rmtree(root / "cuhk03_release")
    with pytest.raises(MissingFileError, match=r"for which put .*cuhk-03\.mat there"):
        read_cuhk03(root)


def test_an_extraction_that_fails_leaves_nothing(root: Path) -> None:
    with h5py.File(root / "cuhk03_release" / "cuhk-03.mat", "a") as file:
        table = file[file["detected"][0, 1]]
        table[6, 1] = file.create_dataset("wrong", data=np.zeros((3, 4, 8), np.float64)).ref
    with pytest.raises(InputError, match=r"2_002_2_07.png is float64 \(8, 4, 3\), expected uint8 RGB"):
        read_cuhk03(root)
    assert not [path for path in root.iterdir() if "images" in path.name]


def test_two_processes_may_extract_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def after_another(self: Path, target: Path) -> Path:
        shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", after_another)
    assert read_cuhk03(root).train
    assert [path.name for path in root.iterdir() if "images" in path.name] == ["images_detected"]


def test_a_folder_that_cannot_be_written_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PIL.Image.Image, "save", full)
    with pytest.raises(InputError, match=r"images_detected.*cannot be written: No space left"):
        read_cuhk03(root)
    assert not [path for path in root.iterdir() if "images" in path.name]


def test_a_missing_set_says_what_is_expected_and_how_to_get_it() -> None:
    for name, parts in {
        "new": ("cuhk03/cuhk03_release/cuhk-03.mat", "new_protocol_config_detected.mat", "Chinese University of Hong"),
        "classic": ("classic protocol", "cuhk03_release", "relattn data make cuhk03 --root data/nowhere"),
    }.items():
        with pytest.raises(MissingFileError) as caught:
            read_cuhk03(Path("data/nowhere"), protocol=name)  # type: ignore[arg-type]
        for part in (*parts, "data/nowhere/", "--data.root"):
            assert part in str(caught.value)


def test_folders_of_cuhk03_np_are_read_where_the_release_is_missing(tmp_path: Path) -> None:
    for folder, file in (
        ("bounding_box_train", "0003_c1_1"),
        ("query", "0001_c1_1"),
        ("bounding_box_test", "0001_c2_6"),
    ):
        (tmp_path / "cuhk03-np" / "labeled" / folder).mkdir(parents=True)
        (tmp_path / "cuhk03-np" / "labeled" / folder / f"{file}.png").touch()
    splits = read_cuhk03(tmp_path, "labeled")
    assert splits.root == tmp_path / "cuhk03-np" / "labeled"
    with pytest.raises(MissingFileError, match="was not found"):
        read_cuhk03(tmp_path, "labeled", "classic")
    with pytest.raises(MissingFileError, match="was not found"):
        read_cuhk03(tmp_path, "detected")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"boxes": "drawn"}, "boxes is 'drawn', expected 'labeled' or 'detected'"),
        ({"protocol": "old"}, "protocol is 'old', expected 'new' or 'classic'"),
        ({"protocol": "classic", "split": 2}, "split is 2, expected 0 to 1"),
        ({"protocol": "classic", "split": -1}, "split is -1, expected 0 to 1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str, root: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_cuhk03(root, **arguments)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("labels", None, "has no field labels"),
        ("filelist", None, "cannot be read as CUHK03's protocol"),
        ("labels", np.ones(23), "labels has 23 entries, expected 24, as filelist has"),
        ("labels", np.zeros(24), "entry 1 of labels is 0, expected at least 1"),
        ("labels", np.full(24, 1.5), "labels holds float64, expected whole numbers"),
        ("camId", np.full(24, 3), "entry 1 of camId is 3, expected 1 to 2"),
        ("query_idx", np.array([5, 0]), "entry 2 of query_idx is 0, expected 1 to 24"),
        ("gallery_idx", np.array([25]), "entry 1 of gallery_idx is 25, expected 1 to 24"),
        ("train_idx", np.array([3, 3]), "train_idx names an entry of filelist twice"),
        ("train_idx", np.arange(1, 25), "is in train_idx and in query_idx"),
        ("labels", np.full(24, 7), "identities of train_idx are in query_idx or gallery_idx as well: 7"),
        ("filelist", np.array(["../1.png"] * 24, object)[:, None], r"filelist has '\.\./1\.png', expected names like"),
        ("filelist", np.array([*NAMES[1:], "9_001_1_01.png"], object)[:, None], "1 of the 24 .*9_001_1_01.png"),
    ],
)
@pytest.mark.sampled(3)
def test_a_wrong_protocol_is_named(field: str, value: Any, said: str, root: Path) -> None:
    file = write_protocol(root, **{field: value})
    with pytest.raises(InputError, match=said) as caught:
        read_cuhk03(root)
    assert str(file) in str(caught.value)


def test_damaged_files_are_named(root: Path) -> None:
    release, config = root / "cuhk03_release" / "cuhk-03.mat", root / "cuhk03_new_protocol_config_detected.mat"
    for damaged, name in ((release, "new"), (release, "classic"), (config, "new")):
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:100])
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_cuhk03(root, protocol=name)  # type: ignore[arg-type]
        assert str(damaged) in str(caught.value)
        damaged.write_bytes(whole)
    config.unlink()
    with pytest.raises(MissingFileError, match=r"config_detected\.mat is missing.*person-re-ranking"):
        read_cuhk03(root)


def test_a_test_set_of_nobody_is_named(root: Path) -> None:
    with h5py.File(root / "cuhk03_release" / "cuhk-03.mat", "a") as file:
        file["testsets"][0, 0] = file.create_dataset("a", data=np.array([[1, 3.0], [4, 9.0]])).ref
        file["testsets"][0, 1] = file.create_dataset("b", data=np.ones((3, 2))).ref
    with pytest.raises(InputError, match=r"testsets names \(pair, identity\) \(3, 9\)"):
        read_cuhk03(root, protocol="classic")
    with pytest.raises(InputError, match=r"testsets has an entry of shape \(2, 3\)"):
        read_cuhk03(root, protocol="classic", split=1)
