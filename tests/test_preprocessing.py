"""How images are prepared: sizes, what is cut out, the formula of normalisation, its way back, and the JSON of it."""

import cv2
import numpy as np
import pytest
import torch

from relattn.errors import InputError
from relattn.preprocessing import Preprocessing


def image(height: int = 30, width: int = 40) -> np.ndarray:
    """Values that grow from left to right and from top to bottom."""
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
