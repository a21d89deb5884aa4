"""Drawn faces: layouts, correct labels, aligned points, and pairs that raw pixels cannot decide."""

import hashlib
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from relattn.cli.data import main
from relattn.errors import InputError
from relattn.synthetic.faces import layouts as face
from relattn.synthetic.faces.head import PLACES, Head
from relattn.synthetic.faces.layouts import ALIKE, PACKS, YEARS, draw_condition, pack_pairs, write_faces
from relattn.synthetic.faces.people import Appearance, draw_appearance, draw_identity
from relattn.synthetic.faces.render import render
from relattn.synthetic.staging import MARKER

SMALL = {"identities": 3, "images_per_identity": 2, "pairs": 20, "size": 24}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("faces"), **SMALL)


def contents(folder):
    """The files of a set, except the one that marks it as rendered."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if name != MARKER}


def person(number, **arguments):
    return draw_identity(np.random.default_rng((7, number)), **arguments)


def test_files_are_where_they_are_expected(faces):
    train = {f"train/{identity:05d}/{image:03d}.jpg" for identity in (1, 2, 3) for image in (1, 2)}
    assert contents(faces).keys() == train | {f"{name}.bin" for name in PACKS}
    for path in faces.rglob("*.jpg"):
        assert cv2.imread(str(path)).shape == (24, 24, 3)


@pytest.mark.parametrize("name", PACKS)
def test_packs_are_in_the_official_order(name, faces):
    bins, same = pickle.loads((faces / f"{name}.bin").read_bytes())
    assert len(bins) == 40
    assert all(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).shape == (24, 24, 3) for image in bins)
    assert same == [True, False] * 10
    assert {type(value) for value in same} == {bool}
    assert len(set(bins)) == 40


def test_another_seed_gives_other_people_and_photographs(tmp_path, monkeypatch):
    """The tests of the command line check that the same seed gives the same files."""

    def noise(who, look, **_options):
        seed = int.from_bytes(hashlib.sha256(repr((who, look)).encode()).digest())
        return np.random.default_rng(seed).integers(256, size=(24, 24, 3), dtype=np.uint8)

    monkeypatch.setattr(face, "render", noise)
    found = [contents(write_faces(tmp_path / str(seed), **SMALL, seed=seed)) for seed in (0, 1)]
    assert all(found[1][name] != content for name, content in found[0].items())


@pytest.mark.parametrize("name", PACKS)
def test_packs_stress_what_their_namesakes_do(name):
    people = set()
    for same, ((one, first), (other, second)) in pack_pairs(name, 100, 0):
        assert (one == other) == same
        people |= {one, other}
        turned, ages = sorted((abs(first.yaw), abs(second.yaw))), sorted((first.age, second.age))
        if name == "cplfw":
            assert turned[0] <= 0.3
            assert turned[1] >= 0.55
        if name == "cfp_fp":
            assert turned[0] <= 0.12
            assert 1.1 <= turned[1] < np.pi / 2
        if name == "calfw":
            assert ages[0] <= 0.3
            assert ages[1] >= 0.55
        if name == "agedb_30":
            assert (ages[1] - ages[0]) * YEARS == pytest.approx(30)
        if name in ("lfw", "cplfw", "cfp_fp"):
            assert ages[1] - ages[0] <= 0.1 + 1e-9
        if name in ALIKE:
            assert one.woman == other.woman
            assert max(abs(a - b) for a, b in zip(one.skin, other.skin, strict=True)) < 0.06 * 255
    assert len(people) == 150  # nobody is in two pairs
    assert draw_condition("lfw", np.random.default_rng(0)).keys() == {"age"}


def test_points_are_where_aligned_faces_have_them():
    frontal, distances = [], []
    for number in range(30):
        who = person(number)
        for yaw in (0.0, 0.7, -1.3):
            head = Head(who, Appearance(yaw=yaw, smile=0), scale=1)
            distance, wide = who.eye_distance, who.mouth_width
            points = [(-distance, 0, 0), (distance, 0, 0), (0, head.nose, who.nose_tip)]
            points += [(-wide, head.mouth[1], 1), (wide, head.mouth[1], 1)]
            found = head.complex(head.on(np.array(points, dtype=np.float64)))
            assert found.mean() == pytest.approx(PLACES.mean())
            (frontal if yaw == 0 else distances).append(np.abs(found - PLACES).mean())
    assert max(frontal) < 5
    assert max(distances) < 25


def test_the_nose_goes_where_the_head_turns():
    for yaw in (-0.8, 0.8):
        head = Head(person(0), Appearance(yaw=yaw), scale=1)
        tip, between = head.complex(head.on(np.array([[0, head.nose, 14.0], [0, 0, 0.0]])))
        assert np.sign(tip.real - between.real) == np.sign(yaw)
        assert head.faces(20 * np.sign(yaw)) < head.faces(-20 * np.sign(yaw))


def test_images_are_drawn_alike_at_any_size():
    look = draw_appearance(np.random.default_rng(0), person(1), noise=0.0, quality=1)
    images = [render(person(1), look, size=size) for size in (56, 112)]
    assert [image.shape for image in images] == [(56, 56, 3), (112, 112, 3)]
    assert images[0].dtype == np.uint8
    halved = cv2.resize(images[1], (56, 56), interpolation=cv2.INTER_AREA)
    assert np.abs(halved.astype(int) - images[0]).mean() < 6
    np.testing.assert_array_equal(render(person(1), look), images[1])


@pytest.mark.parametrize(
    "change",
    [
        {"age": 0.9}, {"yaw": 0.6}, {"pitch": 0.2}, {"roll": 0.1}, {"smile": 1.0}, {"mouth_open": 1.0}, {"gaze": 1.0},
        {"eyes_open": 0.6}, {"brows": 3.0}, {"light": (0.9, 0, 0.4)}, {"contrast": 0.8}, {"tint": (1.1, 1, 0.9)},
        {"exposure": 0.7}, {"glasses": "thin"}, {"glasses": "thick"}, {"glasses": "dark"}, {"headwear": "cap"},
        {"headwear": "beanie"}, {"obstacle": "mask"}, {"obstacle": "hand"}, {"beard": 1.0}, {"moustache": 1.0},
        {"makeup": 1.0}, {"weight": 1.0}, {"shift": (2.0, *[0.0] * 9)}, {"blur": 1.5}, {"noise": 9.0},
        {"quality": 0.5}, {"grain": 1},
    ],
    ids=str,
)  # fmt: skip
def test_everything_that_varies_is_seen(change):
    who = person(3)._replace(hairstyle="short")
    usual = Appearance()
    assert (render(who, usual._replace(**change)) != render(who, usual)).mean() > 0.001


def test_hairstyles_differ():
    styles = ("short", "crop", "side", "long", "bob", "fringe", "curly", "bald", "tied")
    images = {render(person(2), Appearance(hairstyle=style)).tobytes() for style in styles if style != "short"}
    assert len(images) == len(styles) - 1


def test_identities_vary_and_look_alikes_are_still_others():
    people = [person(number) for number in range(100)]
    assert len({who.hairstyle for who in people}) == 8
    assert 30 < sum(who.woman for who in people) < 70
    assert any(who.freckles for who in people)
    double = person(500, like=people[0])
    assert double.woman == people[0].woman
    assert abs(double.skin[0] - people[0].skin[0]) < 0.06 * 255
    assert double.eye_distance != people[0].eye_distance


@pytest.mark.slow
def test_raw_pixels_say_a_little_about_the_identity():
    vectors, labels = [], []
    for same, photographs in pack_pairs("lfw", 140, 3):
        for photograph in photographs:
            grey = cv2.cvtColor(render(*photograph, size=56), cv2.COLOR_RGB2GRAY).ravel().astype(np.float64)
            vectors.append(grey / np.linalg.norm(grey))
        labels.append(same)
    distances = np.square(np.array(vectors[::2]) - vectors[1::2]).sum(axis=1)
    accuracy = max(((distances < limit) == labels).mean() for limit in distances)
    assert 0.53 < accuracy < 0.75


def test_an_existing_folder_is_kept_and_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "old" / "faces").mkdir(parents=True)
    with pytest.raises(InputError, match=r"faces exists.*remove it or write to another root"):
        write_faces(tmp_path / "old", **SMALL)
    assert list((tmp_path / "old").rglob("*")) == [tmp_path / "old" / "faces"]

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(face, "render", fail)
    with pytest.raises(OSError, match="disk full"):
        write_faces(tmp_path / "new", **SMALL)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"identities": 1}, "identities is 1, expected 2 or more"),
        ({"images_per_identity": 0}, "images_per_identity is 0, expected 1 or more"),
        ({"pairs": 0}, "pairs is 0, expected 20 or more"),
        ({"pairs": 30}, "pairs is 30, expected a multiple of 20"),
        ({"size": 8}, "size is 8, expected 16 or more"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_bad_arguments_are_named(arguments, message, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        write_faces(tmp_path, **SMALL | arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_writes_them(faces, tmp_path, capsys, monkeypatch):
    """The same files again, for the training people and one pack."""
    monkeypatch.setattr(face, "PACKS", PACKS[:1])
    arguments = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    assert main(["make", "faces", "--root", str(tmp_path), *arguments]) == 0
    found = contents(tmp_path / "faces")
    assert found.keys() == contents(faces).keys() - {f"{name}.bin" for name in PACKS[1:]}
    assert found.items() <= contents(faces).items()
    assert re.search(rf"faces: .*, {len(found) + 1} files", capsys.readouterr().err)
    with pytest.raises(InputError, match="--junk does not apply to faces"):
        main(["make", "faces", "--root", str(tmp_path), "--junk", "1"])
