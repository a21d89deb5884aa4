"""The antialiased filter, against PIL's bilinear one."""

import numpy as np
import pytest
from PIL import Image

from relattn.preprocessing import Preprocessing, resize

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
