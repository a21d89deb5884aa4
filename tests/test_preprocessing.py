"""Preprocessing of images: sizes, filters, crops, normalisation and its inverse, and the JSON form."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from relattn.errors import InputError
from relattn.preprocessing import Preprocessing, resize


def image(height: int = 30, width: int = 40) -> np.ndarray:
    """Values that increase from left to right and from top to bottom."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([2 * rows, 3 * columns, rows + columns], axis=2).astype(np.uint8)


@pytest.mark.parametrize("value_range", [1, 255])
def test_pixels_are_normalised_by_the_formula_and_restored(value_range: float) -> None:
    scale = value_range / 255
    mean, std = tuple(scale * value for value in (120.0, 115.0, 100.0)), tuple(scale * value for value in (60, 58, 57))
    prepare = Preprocessing((30, 40), mean=mean, std=std, value_range=value_range)
    found = prepare(image())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (image() / 255 * value_range - mean) / std, rtol=1e-5, atol=1e-6)
    if value_range == 1:
        (restored,) = prepare.restored(torch.from_numpy(found).permute(2, 0, 1)[None])
        assert np.array_equal(restored, image())


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"resize": "stretch"}, (20, 16)),
        ({"resize": "cover"}, (20, 16)),
        ({"resize": "scale", "scale": 0.5}, (15, 20)),
        ({"resize": "none"}, (30, 40)),
    ],
    ids=str,
)
def test_images_get_the_size_that_is_asked_for(options: dict, size: tuple[int, int]) -> None:
    resized = Preprocessing((20, 16), **options).resized(image())
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.uint8


def test_a_covering_image_is_cut_at_its_centre() -> None:
    found = Preprocessing((15, 10), resize="cover").resized(image())  # first to 15 x 20
    whole = cv2.resize(image(), (20, 15), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(found, whole[:, 5:15])


def test_areas_are_averaged_where_the_image_gets_smaller_alone() -> None:
    prepare = Preprocessing((15, 20), interpolation="area_or_linear")
    means = image().astype(float).reshape(15, 2, 20, 2, 3).mean(axis=(1, 3))
    assert np.abs(prepare.resized(image()) - means).max() <= 0.5
    larger = Preprocessing((60, 80), interpolation="area_or_linear").resized(image())
    assert np.array_equal(larger, cv2.resize(image(), (80, 60), interpolation=cv2.INTER_LINEAR))


def test_the_description_comes_back_from_json() -> None:
    prepare = Preprocessing((20, 16), resize="scale", scale=0.75, interpolation="area_or_linear", value_range=255)
    assert Preprocessing.from_json(prepare.as_json()) == prepare


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": "crop"}, "resize is 'crop', expected one of stretch, cover, scale, none"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic', expected one of linear, area_or_linear, antialiased"),
        ({"std": (1.0, 0.0, 1.0)}, "expected three of each, std positive"),
    ],
    ids=str,
)
def test_unknown_choices_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocessing((20, 16), **options)


def test_other_images_and_other_json_are_refused() -> None:
    with pytest.raises(InputError, match=r"float64 \(4, 4, 3\), expected uint8 \(height, width, 3\)"):
        Preprocessing((4, 4))(np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="not as relattn writes it: KeyError"):
        Preprocessing.from_json({"resize": "none"})
    for odd in ({"scale": "x"}, {"size": [1, 2, 3]}):
        with pytest.raises(InputError, match="not as relattn writes it: ValueError"):
            Preprocessing.from_json({**Preprocessing((4, 4)).as_json(), **odd})


SIZES = [
    ((300, 120), (256, 128)),  # lower and wider
    ((128, 64), (256, 128)),
    ((128, 64), (288, 144)),
    ((601, 303), (256, 128)),
    ((37, 19), (16, 64)),
    ((1, 1), (5, 3)),
]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pil(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.abs(first.astype(int) - second)


@pytest.mark.parametrize(("before", "after"), SIZES, ids=str)
def test_antialiased_is_pil_s_bilinear_filter(before: tuple[int, int], after: tuple[int, int]) -> None:
    image = noise(*before)
    found = resize(image, after, "antialiased")
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    differ = difference(found, by_pil(image, after))
    assert differ.max() <= 2
    assert differ.mean() < 0.3


def test_opencv_s_filter_is_another_where_images_get_smaller() -> None:
    image = noise(601, 303)
    expected = by_pil(image, (256, 128))
    assert difference(resize(image, (256, 128), "linear"), expected).mean() > 10
    assert difference(resize(image, (256, 128), "area_or_linear"), expected).mean() > 1


def test_what_has_the_size_is_left_alone_and_nothing_is_written_to() -> None:
    image = noise(20, 10)
    assert resize(image, (20, 10), "antialiased") is image
    image.flags.writeable = False  # as of a PIL picture
    before = image.copy()
    for view in (image, image[..., ::-1], image[::2], np.asfortranarray(image)):
        assert np.array_equal(resize(view, (8, 4), "antialiased"), resize(view.copy(), (8, 4), "antialiased"))
    assert np.array_equal(image, before)


@pytest.mark.parametrize(("how", "scale", "size"), [("stretch", 1, (16, 8)), ("scale", 0.5, (20, 15))])
def test_a_description_resizes_by_its_filter_and_survives_json(how: str, scale: float, size: tuple[int, int]) -> None:
    image = noise(40, 30)
    prepared = Preprocessing((16, 8), how, "antialiased", scale)
    assert Preprocessing.from_json(prepared.as_json()) == prepared
    assert prepared.as_json()["interpolation"] == "antialiased"
    assert np.array_equal(prepared.resized(image), resize(image, size, "antialiased"))


def test_the_image_that_covers_is_cut_after_it_was_filtered() -> None:
    image = noise(40, 30)
    covering = resize(image, (16, 12), "antialiased")
    assert np.array_equal(Preprocessing((16, 8), "cover", "antialiased").resized(image), covering[:, 2:10])
