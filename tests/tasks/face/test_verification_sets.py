"""Verification sets, as `.bin` files and as lists: published files are read, and damage is reported."""

import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relattn.errors import InputError, MissingFileError
from relattn.tasks.decoding import Pixels, decode_image
from relattn.tasks.face import Face, Faces
from relattn.tasks.face.pairs import read_pairs
from relattn.tasks.face.verification_sets import VerificationSet, read_bin


def jpeg(value: int = 0, size: tuple[int, int] = (112, 112), suffix: str = ".jpg") -> bytes:
    pixels = np.random.default_rng(value).integers(0, 256, (*size, 3), np.uint8)
    return cv2.imencode(suffix, cv2.GaussianBlur(pixels, (0, 0), 4))[1].tobytes()


IMAGES = [jpeg(value) for value in range(4)]
SAME = [True, False]


def python2(images: list[bytes], same: list[bool]) -> bytes:
    """A pickle as Python 2's cPickle writes it, with images as `str`: opcodes SHORT_BINSTRING and BINSTRING."""
    out = io.BytesIO()
    out.write(b"\x80\x02](")
    for image in images:
        out.write(b"T" + len(image).to_bytes(4, "little") + image)
    out.write(b"e](" + b"".join(b"\x88" if value else b"\x89" for value in same) + b"e\x86.")
    return out.getvalue()


def python2_arrays() -> bytes:
    """Arrays as Python 2 writes them: NumPy's type names and the pixels are `str`, opcodes U and T."""
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    arrays = b""
    for image in IMAGES:
        arrays += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        arrays += b"(K\x01M" + len(image).to_bytes(2, "little") + b"\x85" + dtype + b"\x89"
        arrays += b"T" + len(image).to_bytes(4, "little") + image + b"tb"
    return b"\x80\x02](" + arrays + b"e](\x88\x89e\x86."


FORMS = {
    "python2 arrays": python2_arrays(),
    "python2": python2(IMAGES, SAME),
    "bytes": pickle.dumps((IMAGES, SAME)),
    "protocol2": pickle.dumps((IMAGES, SAME), protocol=2),
    "arrays": pickle.dumps(([np.frombuffer(image, np.uint8) for image in IMAGES], SAME)),
    "arrays of protocol 5": pickle.dumps(([np.frombuffer(image, np.uint8) for image in IMAGES], SAME), protocol=5),
    "writable arrays of protocol 5": pickle.dumps(
        ([np.frombuffer(image, np.uint8).copy() for image in IMAGES], np.array(SAME)), protocol=5
    ),
    "bytearrays": pickle.dumps(([bytearray(image) for image in IMAGES], SAME)),
    "bytearrays of protocol 2": pickle.dumps(([bytearray(image) for image in IMAGES], SAME), protocol=2),
    "columns": pickle.dumps(([np.frombuffer(image, np.uint8)[:, None] for image in IMAGES], SAME), protocol=2),
    "numpy booleans": pickle.dumps(([*IMAGES], [np.True_, np.False_])),
    "array of booleans": pickle.dumps((tuple(IMAGES), np.array(SAME))),
}


def put(folder: Path, content: bytes, name: str = "lfw.bin") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str, tmp_path: Path) -> None:
    pairs = read_bin(put(tmp_path, FORMS[form]))
    assert pairs.name == "lfw"
    assert list(pairs.images) == IMAGES
    assert pairs.same.dtype == bool
    assert pairs.same.tolist() == SAME
    assert len(pairs) == 4
    pairs.check()


def test_images_are_rgb_and_brought_to_size(tmp_path: Path) -> None:
    red = np.zeros((150, 120, 3), np.uint8)
    red[..., 2] = 255  # OpenCV's order is BGR
    encoded = cv2.imencode(".png", red)[1].tobytes()
    pixels = central(read_bin(put(tmp_path, pickle.dumps(([encoded] * 2, [True])))).read(1))
    assert pixels.shape == (112, 112, 3)
    assert pixels.dtype == np.uint8
    assert pixels[..., 0].min() == 255
    assert pixels[..., 1:].max() == 0


def central(pixels: Pixels, size: tuple[int, int] = (112, 112)) -> Pixels:
    """An image as evaluation crops it."""
    return Faces(image_size=size).preprocessing().resized(pixels)


def test_the_shorter_edge_is_resized_and_the_centre_taken() -> None:
    ramp = np.repeat(np.arange(224, dtype=np.uint8)[:, None, None], 3, axis=2).repeat(112, axis=1)
    found = central(ramp)  # the width fits already: the middle 112 of 224 rows
    np.testing.assert_array_equal(found[:, 0, 0], np.arange(56, 168))
    assert central(np.zeros((300, 224, 3), np.uint8)).shape == (112, 112, 3)
    assert central(np.zeros((40, 90, 3), np.uint8)).shape == (112, 112, 3)
    assert central(np.zeros((250, 250, 3), np.uint8), (112, 96)).shape == (112, 96, 3)
    exact = decode_image(jpeg(), "an image")
    np.testing.assert_array_equal(central(exact), exact)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((IMAGES[:3], SAME), "3 images, an odd number"),
        ((IMAGES, [True]), "4 images and 1 labels of pairs, expected 2"),
        (([], []), "is empty: 0 images"),
        ((IMAGES, []), "is empty"),
        ((IMAGES, [True, 2]), r"issame\[1\] is 2, expected True or False"),
        ((IMAGES, [True, "no"]), r"issame\[1\] is of type str"),
        (([*IMAGES[:3], "text"], SAME), "image 3 is of type str, expected an encoded image"),
        (([*IMAGES[:3], np.zeros((4, 4), np.uint8)], SAME), r"image 3 is an array of uint8 of shape \(4, 4\)"),
        (([*IMAGES[:3], np.zeros(4)], SAME), "image 3 is an array of float64"),
        ((IMAGES, True), "issame is a bool, expected a list"),
        ({"bins": IMAGES}, "holds a dict, expected the pair"),
        (IMAGES, "holds a list, expected the pair"),
    ],
)
def test_what_is_no_verification_set_is_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_bin(put(tmp_path, pickle.dumps(content)))
    assert "lfw.bin" in str(error.value)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "empty"),
        (IMAGES[0][: len(IMAGES[0]) // 2], "cut off before its end"),
        (b"GIF89a" + bytes(100), "cut off before its end"),
        (b"version https://git-lfs", "not an image, but a pointer of Git LFS"),
    ],
)
def test_damaged_images_are_found_before_the_run(image: bytes, reason: str, tmp_path: Path) -> None:
    pairs = read_bin(put(tmp_path, pickle.dumps(([*IMAGES[:3], image], SAME))))
    with pytest.raises(InputError, match=rf"1 of the 4 images of .*lfw\.bin.*image 3 is {reason}"):
        pairs.check()


def test_an_undecodable_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    damaged = IMAGES[0][:4] + b"\xff\xd9"
    pairs = read_bin(put(tmp_path, pickle.dumps(([*IMAGES[:3], damaged], SAME))))
    with pytest.raises(InputError, match=r"lfw\.bin: image 3 cannot be decoded as an image: damaged"):
        pairs.read(3)


class Hostile:
    """The content of an attacker's file: it requests a function call while it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


class HostileEval(Hostile):
    def __reduce__(self) -> tuple[object, ...]:
        return (eval, (f"__import__('pathlib').Path({str(self.mark)!r}).touch()",))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("attacker", [Hostile, HostileEval])
def test_a_hostile_pickle_runs_nothing(attacker: type[Hostile], protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = put(tmp_path, pickle.dumps(([*IMAGES, attacker(mark)], SAME), protocol=protocol))
    with pytest.raises(InputError, match="which is not data"):
        read_bin(path)
    assert not mark.exists()
    with path.open("rb") as file:  # the attack is a real one
        pickle.load(file)
    assert mark.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.bin: no such file"):
        read_bin(tmp_path / "none.bin")


SMALL = [jpeg(value, (16, 16)) for value in range(4)]
SEEDS = [python2(SMALL, SAME), pickle.dumps(([np.frombuffer(image, np.uint8) for image in SMALL], np.array(SAME)))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_gives_an_error_or_a_sound_set(data: st.DataObject, tmp_path: Path) -> None:
    """Bytes are changed, removed or inserted: only InputError may come out, or a valid set."""
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["change", "cut", "insert"]))
        if kind == "change":
            content[place] = data.draw(st.integers(0, 255))
        elif kind == "cut" and place:
            del content[place:]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=4))
    try:
        pairs = read_bin(put(tmp_path, bytes(content)))
    except InputError:
        return
    assert len(pairs) == 2 * len(pairs.same) > 0
    messages: list[str] = []
    for index in range(len(pairs)):
        try:
            assert pairs.read(index).shape[2] == 3
        except InputError as error:
            messages.append(str(error))
    assert all("lfw.bin" in message for message in messages)


# --- pairs.txt


def people(folder: Path, suffix: str = ".jpg") -> Path:
    for number, name in enumerate(("Anna_Ek", "Bo_Li")):
        (folder / name).mkdir(parents=True)
        for image in (1, 2):
            (folder / name / f"{name}_{image:04d}{suffix}").write_bytes(jpeg(2 * number + image, suffix=suffix))
    return folder


LINES = "Anna_Ek\t1\t2\nAnna_Ek\t2\tBo_Li\t1\n"


@pytest.mark.parametrize("header", ["", "1 1\n", "1\t1\n", "1\n"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_list_of_pairs_is_read(header: str, suffix: str, tmp_path: Path) -> None:
    folder = people(tmp_path / "lfw", suffix)
    (folder / "pairs.txt").write_text(header + LINES)
    pairs = read_pairs(folder)
    names = [str(image.relative_to(folder)) for image in pairs.images if isinstance(image, Path)]
    assert names == [
        f"Anna_Ek/Anna_Ek_0001{suffix}",
        f"Anna_Ek/Anna_Ek_0002{suffix}",
        f"Anna_Ek/Anna_Ek_0002{suffix}",
        f"Bo_Li/Bo_Li_0001{suffix}",
    ]
    assert pairs.same.tolist() == [True, False]
    assert pairs.name == "lfw"
    pairs.check()
    np.testing.assert_array_equal(pairs.read(1), pairs.read(2))
    np.testing.assert_array_equal(pairs.read(3), decode_image(pairs.encoded(3), "it"))


def test_one_person_named_twice_is_one_person(tmp_path: Path) -> None:
    folder = people(tmp_path / "lfw")
    (folder / "pairs.txt").write_text("Anna_Ek 1 Anna_Ek 2\nAnna_Ek 1 Bo_Li 1\n")
    assert read_pairs(folder).same.tolist() == [True, False]


def test_a_list_of_other_folds_than_the_protocols_is_refused(tmp_path: Path) -> None:
    folder = people(tmp_path / "lfw")
    (folder / "pairs.txt").write_text("2 1\n" + LINES + LINES)
    data = Faces(tmp_path)
    data.verification = {"lfw": read_pairs(folder)}
    with pytest.raises(InputError, match=r"pairs\.txt states 2 folds, .* has 10: give --model\.folds 2"):
        Face("resnet8").build_metric(data)
    assert Face("resnet8", folds=2).build_metric(data).folds == 2


def test_spaces_separate_columns_and_tabs_allow_spaces_in_names(tmp_path: Path) -> None:
    folder = people(tmp_path / "lfw")
    (folder / "Bo_Li").rename(folder / "Bo Li")
    for file in sorted((folder / "Bo Li").iterdir()):
        file.rename(file.with_name(file.name.replace("_Li", " Li")))
    (folder / "pairs.txt").write_text("Anna_Ek 1 2\nBo Li\t1\tAnna_Ek\t2\n")
    assert read_pairs(folder).same.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Anna_Ek 1\n", "line 1 has 2 columns"),
        (LINES + "a b c d e\n", "line 3 has 5 columns"),
        (LINES + "Anna_Ek 1 Anna_Ek 1\n", r"line 3 pairs .*Anna_Ek_0001\.jpg with itself"),
        ("Anna_Ek 1 x\n", r"line 1: .*Anna_Ek/x is missing"),
        ("Anna_Ek 1 7\n", r"line 1: .*Anna_Ek_0007\.jpg is missing"),
        ("Cy 1 2\n", r"line 1: .*Cy_0001\.jpg is missing"),
        ("../lfw/Anna_Ek 1 2\n", "is not the name of a person's folder"),
        ("10 300\n" + LINES, "lists 2 pairs, and its first line, '10 300', says 6,000"),
        ("", "is empty"),
        ("10 300\n", "is empty"),
    ],
)
def test_a_wrong_list_is_named(text: str, message: str, tmp_path: Path) -> None:
    folder = people(tmp_path / "lfw")
    (folder / "pairs.txt").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_pairs(folder)
    assert "pairs.txt" in str(error.value)


def test_a_photograph_that_disappears_is_named(tmp_path: Path) -> None:
    pairs = VerificationSet("lfw", tmp_path / "pairs.txt", [tmp_path / "a.jpg"] * 2, np.array([True]))
    with pytest.raises(InputError, match=r"a\.jpg cannot be read: no such file"):
        pairs.read(0)
