"""All kinds of images are decoded in colour, upright and in 8 bits, to their last byte; otherwise an error says why."""

import importlib.util
import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from relattn.errors import InputError
from relattn.inference.trained import pixels_of
from relattn.tasks.decoding import decode_image, decode_wholly, eight_bits, read_image, size_of
from relattn.tasks.files import file_fault
from relattn.tasks.image_folders import images_below, say_left_out


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_opencv(pixels: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def other() -> Image.Image:
    """A new frame each time, because a Pillow image remembers how it was saved before."""
    return Image.new("RGB", (24, 40), "red")


NOISE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 24, 4), dtype=np.uint8), (0, 0), 3)
GREY, RGBA, RGB = (Image.fromarray(np.ascontiguousarray(part)) for part in (NOISE[..., 0], NOISE, NOISE[..., :3]))
SIXTEEN = NOISE[..., :3].astype(np.uint16) * 257

COLOUR = {
    "PNG": encoded(RGB, "PNG"),
    "RGBA PNG": encoded(RGBA, "PNG"),
    "16-bit PNG": by_opencv(SIXTEEN[..., ::-1], ".png"),
    "animated PNG": encoded(RGB, "PNG", save_all=True, append_images=[other()]),
    "palette PNG": encoded(RGB.quantize(255), "PNG"),
    "JPEG": encoded(RGB, "JPEG", quality=95),
    "progressive JPEG": encoded(RGB, "JPEG", progressive=True, quality=95),
    "CMYK JPEG": encoded(RGB.convert("CMYK"), "JPEG", quality=95),
    "MPO": encoded(RGB, "MPO", quality=95, save_all=True, append_images=[other()]),
    "BMP": encoded(RGB, "BMP"),
    "WebP": encoded(RGB, "WEBP", quality=95),
    "animated WebP": encoded(RGBA, "WEBP", lossless=True, save_all=True, append_images=[other()]),
    "TIFF": encoded(RGB, "TIFF"),
    "TIFF of two pages": encoded(RGB.copy(), "TIFF", save_all=True, append_images=[other()]),
    "RGBA TIFF": encoded(RGBA, "TIFF"),
    "CMYK TIFF": encoded(RGB.convert("CMYK"), "TIFF"),
    "16-bit TIFF": by_opencv(SIXTEEN[..., ::-1], ".tiff"),
    "animated GIF": encoded(RGB, "GIF", save_all=True, append_images=[other()]),
    "AVIF": encoded(RGB, "AVIF", quality=95),
    "JPEG 2000": encoded(RGB, "JPEG2000"),
    "PPM": encoded(RGB, "PPM"),
    "TGA": encoded(RGB, "TGA"),
    "QOI": encoded(RGB, "QOI"),
}
GREYS = {
    "grey PNG": encoded(GREY, "PNG"),
    "16-bit grey PNG": encoded(Image.fromarray(SIXTEEN[..., 0]), "PNG"),
    "grey JPEG": encoded(GREY, "JPEG", quality=95),
    "16-bit grey TIFF": encoded(Image.fromarray(SIXTEEN[..., 0]), "TIFF"),
    "32-bit grey TIFF": encoded(Image.fromarray(SIXTEEN[..., 0].astype(np.int32)), "TIFF"),
    "floating-point TIFF": encoded(Image.fromarray(np.float32(NOISE[..., 0] / 255)), "TIFF"),
    "16-bit PGM": by_opencv(SIXTEEN[..., 0], ".pgm"),
}
KINDS = COLOUR | GREYS


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_kind_are_read_as_8_bit_colour_of_the_first_frame(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(KINDS[kind])
    wanted = NOISE[..., :3] if kind in COLOUR else np.repeat(NOISE[..., :1], 3, axis=2)
    for pixels in (read_image(file), decode_wholly(KINDS[kind])):
        assert pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - wanted).mean() < 4
    assert file_fault(str(file)) is None
    assert size_of(file) == (40, 24)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("PPM", "16-bit PGM", "TGA", "QOI", "MPO")])
def test_no_kind_may_lack_its_second_half(kind: str, tmp_path: Path) -> None:
    content, file = KINDS[kind], tmp_path / "image"
    # Only the first of several frames is read: the others may be missing.
    lengths = (0, 1, 8, len(content) // (4 if "animated" in kind or "pages" in kind else 2))
    for length in lengths:
        with pytest.raises(
            InputError, match=r"empty|not an image that OpenCV or Pillow reads|cut off before its end|damaged"
        ):
            decode_wholly(content[:length])
        file.write_bytes(content[:length])
        assert file_fault(str(file)), length


@pytest.mark.parametrize("kind", [kind for kind in COLOUR if kind not in ("QOI", "TGA")])
def test_what_follows_a_whole_image_is_allowed(kind: str, tmp_path: Path) -> None:
    film = b"\0\0\0\x18ftypmp42" + np.random.default_rng(1).integers(0, 255, 5000, dtype=np.uint8).tobytes()
    for more in (film, bytes(3000)):
        file = tmp_path / "motion"
        file.write_bytes(KINDS[kind] + more)
        assert file_fault(str(file)) is None
        np.testing.assert_array_equal(read_image(file), decode_wholly(KINDS[kind]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_kind_is_turned_upright(kind: str, orientation: int, tmp_path: Path) -> None:
    quarters = np.zeros((32, 48), np.uint8)  # darker from corner to corner
    quarters[:16, :24], quarters[:16, 24:], quarters[16:, :24], quarters[16:, 24:] = 0, 80, 160, 240
    backwards = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # the tag that undoes each
    methods = (None, *(getattr(Image.Transpose, name) for name in (
        "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"
    )))  # fmt: skip
    method = methods[backwards[orientation] - 1]
    stored = Image.fromarray(quarters).convert("RGB")
    stored = stored if method is None else stored.transpose(method)
    exif = Image.Exif()
    exif[0x112] = orientation
    file = tmp_path / "image"
    file.write_bytes(encoded(stored, kind, exif=exif))
    assert size_of(file) == (32, 48)
    corners = read_image(file)[[4, 4, -5, -5], [4, -5, 4, -5], 0].astype(int)
    assert np.abs(corners - [0, 80, 160, 240]).max() < 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><title>404", "a web page or drawing in text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "a video"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "pip install pillow-heif"),
        (b"once upon a time", "begins with b'once upo'"),
    ],
)
def test_the_true_reason_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(content)
    if b"heic" in content and importlib.util.find_spec("pillow_heif"):
        pytest.skip("pillow-heif is installed, and reads HEIC")
    assert reason in str(file_fault(str(file)))
    with pytest.raises(InputError, match=r"picture\.jpg cannot be decoded") as error:
        read_image(file)
    assert reason in str(error.value)


def test_numbers_that_are_no_pixels_are_refused(tmp_path: Path) -> None:
    for values, said in (
        (np.full((4, 4), 300.0, np.float32), "floating-point numbers from 300 to 300, expected 0 to 1"),
        (np.full((4, 4), -1, np.int32), "whole numbers from -1 to -1, expected 0 to 65535"),
    ):
        file = tmp_path / "image.tiff"
        Image.fromarray(values).save(file)
        for read in (read_image, lambda path: decode_wholly(path.read_bytes())):
            with pytest.raises(InputError, match=said):
                read(file)


def test_pictures_of_python_are_scaled_as_files_are(tmp_path: Path) -> None:
    for image in (Image.fromarray(SIXTEEN[..., 0]), Image.fromarray(np.float32(NOISE[..., 0] / 255)), RGBA):
        file = tmp_path / "image.tiff"
        image.save(file)
        np.testing.assert_array_equal(pixels_of(image), read_image(file))
    with pytest.raises(InputError, match="expected 0 to 1"):
        eight_bits(Image.fromarray(np.full((2, 2), 255.0, np.float32)))


def test_damaged_exif_says_nothing() -> None:
    content = COLOUR["JPEG"]
    segment = b"\xff\xe1\x00\x10Exif\0\0" + b"II*\0\xff\xff\xff\xff"
    np.testing.assert_array_equal(decode_image(content[:2] + segment + content[2:], "it"), decode_image(content, "it"))


def test_folders_are_searched_and_other_files_named(tmp_path: Path) -> None:
    for name in (
        "a/1.JPG",
        "a/b/2.webp",
        "3.tif",
        "Thumbs.db",
        ".hidden.png",
        "a/notes.txt",
        "__MACOSX/1.jpg",
        "a/@eaDir/1.JPG/SYNOPHOTO_THUMB_M.jpg",
        "4.raw",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = images_below(tmp_path)
    assert found.paths == ["3.tif", "a/1.JPG", "a/b/2.webp"]
    assert found.left_out == ["4.raw", "a/notes.txt"]
    assert images_below(tmp_path, "a", deep=False).paths == ["a/1.JPG"]
    (tmp_path / "again").symlink_to(tmp_path / "a")
    with pytest.warns(UserWarning, match=r"again is left out, since it is .*/a, which is read already"):
        assert images_below(tmp_path).paths == found.paths
    with pytest.warns(UserWarning, match=r"2 files are left out \(not images by their names\): 4\.raw, a/notes\.txt\."):
        say_left_out(tmp_path, found.left_out)
