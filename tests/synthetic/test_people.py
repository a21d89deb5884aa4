"""Drawn people: official layouts, correct labels, and people who can be told apart, but not by raw pixels."""

import itertools
import re
from collections import defaultdict

import cv2
import h5py
import numpy as np
import pytest
import scipy.io

from relattn.cli.data import main
from relattn.errors import InputError
from relattn.synthetic.people import cameras
from relattn.synthetic.people import layouts as reid
from relattn.synthetic.people.cameras import World, draw_looks
from relattn.synthetic.people.layouts import write_cuhk03, write_dukemtmc, write_market1501, write_msmt17
from relattn.synthetic.people.render import PAINTS, PATTERNS, draw_person, render
from relattn.synthetic.staging import MARKER

SMALL = {"train_identities": 5, "test_identities": 7}
MARKET_NAME = re.compile(r"(-1|\d{4})_c([1-6])s([1-6])_(\d{6})_(\d{2})\.jpg")
DUKE_NAME = re.compile(r"(\d{4})_c([1-8])_f(\d{7})\.jpg")
MSMT17_NAME = re.compile(r"(\d{4})/\1_(\d{3})_(\d{2})_(\d{4}[a-z]+)_(\d{4})_(\d)\.jpg")
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return write_market1501(tmp_path_factory.mktemp("market"), junk=9, distractors=11, **SMALL)


@pytest.fixture(scope="module")
def duke(tmp_path_factory):
    return write_dukemtmc(tmp_path_factory.mktemp("duke"), distractors=3, **SMALL)


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def msmt17(request, tmp_path_factory):
    return write_msmt17(tmp_path_factory.mktemp("msmt17"), version=request.param, **SMALL)


@pytest.fixture(scope="module")
def cuhk03(tmp_path_factory):
    return write_cuhk03(tmp_path_factory.mktemp("cuhk03"), **SMALL)


@pytest.fixture(scope="module")
def camera():
    return World("market1501", 0, cameras=2).cameras[0]


def contents(folder):
    """The files of a set, except the one that marks it as rendered."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if name != MARKER}


def boxes(folder, name, split):
    """Parse (identity, camera) of every file of a split; every name must be official."""
    matches = [name.fullmatch(path.name) for path in (folder / split).iterdir()]
    assert all(matches)
    return [(int(match[1]), int(match[2])) for match in matches]


def assert_searchable(query, gallery):
    """Each identity has one query per camera, and each query has a match from another camera."""
    assert len(query) == len(set(query)) > 0
    for identity, camera in query:
        assert {other for number, other in gallery if number == identity} - {camera}
        assert (identity, camera) in gallery  # junk of the same camera, to be ignored


def test_market1501(market):
    assert market.name == "Market-1501-v15.09.15"
    assert sorted(path.name for path in market.iterdir()) == sorted([*FOLDERS, MARKER])
    train, query, gallery = (boxes(market, MARKET_NAME, split) for split in FOLDERS)
    trained, tested = ({identity for identity, _ in part} for part in (train, query))
    assert (len(trained), len(tested)) == (5, 7)
    assert trained | tested == set(range(1, 13))
    assert trained != set(range(1, 6)), "training and test interleave"
    assert {identity for identity, _ in gallery} == tested | {-1, 0}
    assert [identity for identity, _ in gallery].count(-1) == 9
    assert [identity for identity, _ in gallery].count(0) == 11
    assert_searchable(query, gallery)
    cameras = defaultdict(set)
    for identity, camera in train:
        cameras[identity].add(camera)
    assert min(len(seen) for seen in cameras.values()) >= 2
    for path in market.rglob("*.jpg"):
        assert path.read_bytes()[:3] == b"\xff\xd8\xff"
    assert cv2.imread(str(path)).shape == (128, 64, 3)


def test_duke(duke):
    assert duke.name == "DukeMTMC-reID"
    train, query, gallery = (boxes(duke, DUKE_NAME, split) for split in FOLDERS)
    trained, tested, found = ({identity for identity, _ in part} for part in (train, query, gallery))
    assert (len(trained), len(tested), len(found - tested)) == (5, 7, 3)
    assert not trained & found
    assert min(trained | found) == 1
    assert_searchable(query, gallery)
    for stranger in found - tested:
        assert len({camera for identity, camera in gallery if identity == stranger}) == 1


def test_msmt17(msmt17):
    folders = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}[msmt17.name]
    lists = {}
    for split in ("train", "val", "query", "gallery"):
        lines = [line.split() for line in (msmt17 / f"list_{split}.txt").read_text().splitlines()]
        assert lines
        for path, person in lines:
            assert MSMT17_NAME.fullmatch(path)
            assert int(path[:4]) == int(person)
        lists[split] = [(int(person), int(path.split("_")[2]) - 1, path) for path, person in lines]
    for folder, splits, people in ((folders[0], ("train", "val"), 5), (folders[1], ("query", "gallery"), 7)):
        listed = [path for split in splits for _, _, path in lists[split]]
        assert sorted(listed) == sorted(contents(msmt17 / folder))
        assert {person for split in splits for person, *_ in lists[split]} == set(range(people))
    assert {person for person, *_ in lists["train"]} == set(range(5))
    assert {camera for split in lists.values() for _, camera, _ in split} <= set(range(15))
    assert_searchable(*([item[:2] for item in lists[split]] for split in ("query", "gallery")))


def walk(folder, kind):
    """Read the images of `cuhk-03.mat` by file name, in the way torchreid, fast-reid and RGA do."""
    found = {}
    with h5py.File(folder / "cuhk03_release" / "cuhk-03.mat", "r") as mat:
        for pair, reference in enumerate(mat[kind][0]):
            people = mat[reference][:].T
            assert people.shape[1] == 10
            for person in range(people.shape[0]):
                for column, image_reference in enumerate(people[person, :]):
                    image = mat[image_reference][:].T
                    if image.size == 0 or image.ndim < 3:
                        continue
                    view = 1 if column < 5 else 2
                    found[f"{pair + 1:01d}_{person + 1:03d}_{view:01d}_{column + 1:02d}.png"] = image
    return found


@pytest.mark.parametrize("kind", ["labeled", "detected"])
def test_cuhk03(cuhk03, kind):
    images = walk(cuhk03, kind)
    config = scipy.io.loadmat(cuhk03 / f"cuhk03_new_protocol_config_{kind}.mat")
    names = [name[0] for name in config["filelist"].squeeze()]
    assert names == sorted(set(names))
    assert set(names) == set(images)
    for name, image in images.items():
        height, width, channels = image.shape
        assert 160 <= height <= 280, name
        assert 60 <= width <= 100, name
        assert (channels, image.dtype) == (3, np.uint8)
    for field in ("filelist", "labels", "camId"):
        assert config[field].shape == (len(names), 1)
    assert [config[field].dtype for field in ("labels", "camId", "train_idx")] == [np.uint16, np.uint8, np.uint16]
    labels, views = config["labels"].squeeze(), config["camId"].squeeze()
    assert set(labels.tolist()) == set(range(1, 13))
    assert views.tolist() == [int(name.split("_")[2]) for name in names]
    assert len({(label, name[:5]) for label, name in zip(labels.tolist(), names, strict=True)}) == 12
    train, query, gallery = (
        config[f"{split}_idx"].squeeze().astype(int) - 1 for split in ("train", "query", "gallery")
    )
    assert sorted([*train, *query, *gallery]) == list(range(len(names)))
    assert len(set(labels[train])) == 5
    assert set(labels[query]) == set(labels[gallery])
    assert not set(labels[train]) & set(labels[query])
    assert len(query) == 2 * 7
    assert_searchable(*(list(zip(labels[part], views[part], strict=True)) for part in (query, gallery)))


def test_cuhk03_cells_and_splits_of_the_classic_protocol(cuhk03):
    labeled, detected = (walk(cuhk03, kind) for kind in ("labeled", "detected"))
    assert len(labeled) < 120, "some cells have no image"
    assert set(detected) <= set(labeled)
    assert all(labeled[name].shape == detected[name].shape for name in detected)
    assert not any(np.array_equal(labeled[name], detected[name]) for name in detected)
    people = {tuple(int(part) for part in name.split("_")[:2]) for name in labeled}
    assert {pair for pair, _ in people} == {1, 2, 3, 4, 5}
    with h5py.File(cuhk03 / "cuhk03_release" / "cuhk-03.mat", "r") as mat:
        splits = [[tuple(map(int, row)) for row in mat[reference][:].T.tolist()] for reference in mat["testsets"][0]]
        assert mat["labeled"].shape == mat["detected"].shape == (1, 5)
    assert len(splits) == 20
    for split in splits:
        assert len(split) == len(set(split)) == 6
        assert set(split) < people
    assert splits[0] != splits[1]


@pytest.mark.slow
def test_cuhk03_has_the_official_pairs_at_the_official_size(tmp_path, monkeypatch):
    tiny = np.zeros((2, 1, 3), dtype=np.uint8)
    monkeypatch.setattr(reid, "render", lambda *_args, **_kwargs: tiny)
    monkeypatch.setattr(reid, "_ten", lambda *_: [tiny, *[None] * 4, tiny, *[None] * 4])
    folder = write_cuhk03(tmp_path, train_identities=767, test_identities=700)
    with h5py.File(folder / "cuhk03_release" / "cuhk-03.mat", "r") as mat:
        assert [mat[reference].shape for reference in mat["labeled"][0]] == [(10, size) for size in reid.PAIRS]
        assert {mat[reference].shape for reference in mat["testsets"][0]} == {(2, 100)}
    assert scipy.io.loadmat(folder / "cuhk03_new_protocol_config_labeled.mat")["query_idx"].shape == (1400, 1)


def test_the_same_seed_gives_the_same_files_and_another_seed_others(market, tmp_path):
    few = {"train_identities": 1, "test_identities": 2, "junk": 1, "distractors": 1}
    first, same, other = (write_market1501(tmp_path / str(n), **few, seed=s) for n, s in enumerate((0, 0, 1)))
    assert contents(first) == contents(same)
    assert not set(contents(other).values()) & {*contents(first).values(), *contents(market).values()}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_images_of_cuhk03(cuhk03, tmp_path):
    again, known = walk(write_cuhk03(tmp_path, **SMALL), "detected"), walk(cuhk03, "detected")
    assert all(np.array_equal(again[name], known[name]) for name in known)


def test_images_are_all_different_and_none_is_constant(market, duke):
    for folder in (market, duke):
        images = list(contents(folder).values())
        assert len(set(images)) == len(images)
        assert min(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).std() for image in images) > 2


def test_render_keeps_to_the_size_and_draws_the_person_only():
    world = World("market1501", seed=0)
    for camera in world.cameras[:3]:
        look = next(draw_looks(camera, 1, np.random.default_rng(1)))._replace(company="none")
        person = draw_person(np.random.default_rng(2))
        with_person, without, repainted = (
            render(who, camera, look).astype(int)
            for who in (person, None, person._replace(upper=PAINTS["green"], pattern="plain", sleeves="long"))
        )
        assert with_person.shape == (128, 64, 3)
        assert 0.1 < (np.abs(with_person - without).max(axis=2) > 12).mean() < 0.6
        assert 0.01 < (np.abs(with_person - repainted).max(axis=2) > 12).mean() < 0.3
        assert render(person, camera, look, size=(201, 83)).shape == (201, 83, 3)
        assert np.array_equal(render(person, camera, look), with_person)


@pytest.mark.parametrize(
    ("yaw", "box"),
    list(zip(np.linspace(-7, 7, 9).tolist(), itertools.cycle([(0.0, 0.0, 1.0), *reid.BOXES]), strict=False)),
)
def test_everybody_can_be_drawn_from_everywhere(yaw, box, camera):
    look = next(draw_looks(camera, 1, np.random.default_rng(0)))._replace(yaw=yaw, box=box)
    person = draw_person(np.random.default_rng(round(10 * abs(yaw))))
    for place, company in enumerate(("none", "behind", "stranger", "pole", "bicycle", "hedge")):
        pattern = [*PATTERNS, "plain"][place % len(PATTERNS)]
        image = render(person._replace(pattern=pattern), camera, look._replace(company=company, place=place / 5.0))
        assert image.shape == (128, 64, 3)
        assert image.dtype == np.uint8


def test_few_people_are_occluded(camera):
    looks = list(draw_looks(camera, 2000, np.random.default_rng(0)))
    in_front = sum(look.company not in ("none", "behind") for look in looks) / len(looks)
    assert 0.03 < in_front < 0.15


def test_people_are_many_though_colours_are_few():
    people = [draw_person(np.random.default_rng((0, number))) for number in range(300)]
    kinds = {(person.hairstyle, person.pattern, person.sleeves, person.garment, person.bag) for person in people}
    assert len(kinds) > 200
    alike = sum(max(abs(a - b) for a, b in zip(people[0].upper, other.upper, strict=True)) < 40 for other in people)
    assert alike > 5


@pytest.mark.slow
def test_raw_pixels_say_little_about_the_identity(tmp_path):
    folder = write_market1501(tmp_path, train_identities=1, test_identities=40, junk=0, distractors=0)

    def load(split):
        files = sorted((folder / split).iterdir())
        matches = [MARKET_NAME.fullmatch(file.name) for file in files]
        pixels = [cv2.resize(cv2.imread(str(file)), (32, 64)).ravel() / np.float32(255) for file in files]
        return np.array(pixels), *(np.array([int(match[group]) for match in matches]) for group in (1, 2))

    (query, people, cameras), (gallery, known, places) = load("query"), load("bounding_box_test")
    distances = np.square(gallery).sum(axis=1) - 2 * query @ gallery.T
    precisions = []
    for row, person, camera in zip(distances, people, cameras, strict=True):
        kept = (known != person) | (places != camera)
        ranks = np.flatnonzero((known == person)[kept][np.argsort(row[kept], kind="stable")]) + 1
        precisions.append((np.arange(1, len(ranks) + 1) / ranks).mean())
    assert 0.03 < np.mean(precisions) < 0.4


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_market1501, "Market-1501-v15.09.15"),
        (write_dukemtmc, "DukeMTMC-reID"),
        (write_msmt17, "MSMT17_V1"),
        (write_cuhk03, "cuhk03"),
    ],
)
def test_an_existing_folder_is_kept_and_a_failure_leaves_nothing_behind(write, name, tmp_path, monkeypatch):
    (tmp_path / "old" / name).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{name} exists.*remove it or write to another root"):
        write(tmp_path / "old", **SMALL)
    assert list((tmp_path / "old").rglob("*")) == [tmp_path / "old" / name]

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    for module in (cameras, reid):
        monkeypatch.setattr(module, "render", fail)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path / "new", **SMALL)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("write", "arguments", "message"),
    [
        (write_market1501, {"train_identities": 0}, "train_identities is 0, expected 1 or more"),
        (write_market1501, {"test_identities": -1}, "test_identities is -1, expected 1 or more"),
        (write_market1501, {"images_per_camera": 1}, "images_per_camera is 1, expected 2 or more"),
        (write_market1501, {"cameras": 7}, "cameras is 7, expected 2 to 6"),
        (write_market1501, {"cameras": 1}, "cameras is 1, expected 2 to 6"),
        (write_market1501, {"junk": -1}, "junk is -1, expected 0 or more"),
        (write_dukemtmc, {"distractors": -1}, "distractors is -1, expected 0 or more"),
        (write_dukemtmc, {"seed": -1}, "seed is -1, expected 0 or more"),
        (write_msmt17, {"version": 3}, "version is 3, expected 1 to 2"),
        (write_cuhk03, {"train_identities": 5, "test_identities": 4}, "is 9, expected 10 or more"),
    ],
)
def test_bad_arguments_are_named(write, arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write(tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_writes_a_set_and_a_contact_sheet(tmp_path):
    line = "make market1501 --train_identities 1 --test_identities 2 --cameras 2 --junk 0 --distractors 0 --seed 3"
    assert main([*line.split(), "--root", str(tmp_path), "--preview", str(tmp_path / "sheets" / "sheet.png")]) == 0
    assert {file.name[6] for file in (tmp_path / "Market-1501-v15.09.15" / "query").iterdir()} == {"1", "2"}
    assert cv2.imread(str(tmp_path / "sheets" / "sheet.png")).shape == (8 * 128, 2 * 64, 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("market1501 --train 5", "--train does not apply to market1501; its options are --root, --train_identities"),
        ("cifar10 --junk 5", "--junk does not apply to cifar10; its options are --root, --train, --test, --seed"),
        ("dukemtmc --version 2", "--version does not apply to dukemtmc"),
        ("cifar10 --preview a.png", "--preview is for market1501, dukemtmc, msmt17, cuhk03"),
        ("dukemtmc --preview a.jpg", "--preview is a.jpg, expected a name that ends in .png"),
        ("marked1501", "Closest: market1501"),
        ("dukemtmc --train_identities 0", "train_identities is 0"),
    ],
)
def test_the_command_line_refuses_what_does_not_apply(line, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        main(["make", *line.split(), "--root", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
