"""The augmentation against its definitions, and its randomness."""

import numpy as np
import pytest

from relattn.errors import InputError
from relattn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, resize
from relattn.tasks.reid.augmentation import Augmentation, Pipeline, RandomErasing, RandomTranslation

HALVES = (slice(16), slice(16, 32))
OFF = {"translation": 0.0, "flip": 0.0, "erasing": 0.0}


def image(height: int = 256, width: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_evaluation_resizes_and_normalises() -> None:
    pixels = image()
    found = Preprocessing((256, 128))(pixels)
    np.testing.assert_allclose(found, (pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD, rtol=1e-4, atol=1e-4)
    assert found.dtype == np.float32
    assert Preprocessing((64, 32))(pixels).shape == (64, 32, 3)


def test_the_seed_decides_everything() -> None:
    pipeline, pixels = Pipeline((64, 32), Augmentation()), image()
    first = [pipeline(pixels, seed) for seed in range(8)]
    again = [Pipeline((64, 32), Augmentation())(pixels, seed) for seed in reversed(range(8))]
    assert all(np.array_equal(one, other) for one, other in zip(first, reversed(again), strict=True))
    assert len({one.tobytes() for one in first}) == 8


def test_steps_are_independent_and_as_likely_as_asked() -> None:
    """If all steps had the same seed, as with albumentations' Compose, exactly the erased images would be flipped."""
    pixels = np.zeros((64, 32, 3), np.uint8)
    pixels[:, :16] = 255
    flip_erase = np.zeros((2, 2))
    pipeline = Pipeline((64, 32), Augmentation(translation=0, flip=0.5, erasing=0.5, erasing_fill=9.0))
    for seed in range(600):
        found = pipeline(pixels, seed)
        left, right = (np.nanmean(np.where(found == 9, np.nan, found)[:, part]) for part in HALVES)
        flip_erase[int(left < right), int((found == 9).any())] += 1
    assert flip_erase.min() > 100  # 150 expected in each of the four


def test_translation_cuts_the_size_out_of_nine_eighths() -> None:
    step = RandomTranslation(256, 128, "antialiased", p=1.0)
    places = set()
    for seed in range(300):
        step.set_random_seed(seed)
        parameters = step.get_params()
        assert parameters["larger"] == (288, 144)
        places.add((parameters["top"], parameters["left"]))
        assert 0 <= parameters["top"] <= 32
        assert 0 <= parameters["left"] <= 16
    assert {top for top, _ in places} >= {0, 32}
    step.set_random_seed(1)
    pixels = image(400, 150)
    found = step.get_params()
    step.set_random_seed(1)
    rows, columns = slice(found["top"], found["top"] + 256), slice(found["left"], found["left"] + 128)
    expected = resize(pixels, (288, 144), "antialiased")[rows, columns]
    np.testing.assert_array_equal(step(image=pixels)["image"], expected)


def test_erasing_reaches_the_areas_of_the_paper() -> None:
    step, areas = RandomErasing(p=1.0, fill=(7.0, 8.0, 9.0)), []
    for seed in range(400):
        step.set_random_seed(seed)
        found = step(image=np.zeros((256, 128, 3), np.float32))["image"]
        erased = (found == (7.0, 8.0, 9.0)).all(axis=2)
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        assert erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # one rectangle
        assert erased.sum() == len(rows) * len(columns)
        areas.append(erased.mean())
    assert min(areas) >= 0.019
    assert max(areas) <= 0.402
    assert max(areas) > 0.35  # albumentations' own stops at 0.15 on images of this shape
    assert np.mean(areas) == pytest.approx(0.2, abs=0.03)


def test_erasing_comes_after_normalising_and_leaves_its_input_alone() -> None:
    pixels = image()
    kept = pixels.copy()
    found = Pipeline((256, 128), Augmentation(translation=0, flip=0, erasing=1.0))(pixels, 3)
    assert (found == 0).all(axis=2).mean() > 0.01  # ImageNet's mean colour
    assert np.array_equal(pixels, kept)
    plain = Pipeline((256, 128), Augmentation(**OFF))(pixels, 3)
    np.testing.assert_array_equal(plain, Preprocessing((256, 128))(pixels))


@pytest.mark.parametrize("interpolation", ["antialiased", "linear"])
def test_training_resizes_by_the_filter_of_evaluation(interpolation: str) -> None:
    pixels = image(300, 120)
    expected = Preprocessing((256, 128), interpolation=interpolation)(pixels)
    np.testing.assert_array_equal(Pipeline((256, 128), Augmentation(**OFF), interpolation)(pixels, 3), expected)


def test_what_is_translated_is_the_image_or_the_resized_image() -> None:
    pixels = image(400, 150)
    small = Preprocessing((256, 128), interpolation="antialiased").resized(pixels)
    sources = {"image": pixels, "resized": small}
    options = {**OFF, "translation": 1.0}
    for translate, source in sources.items():
        large = resize(source, (288, 144), "antialiased")
        cuts = (large[top : top + 256, left : left + 128] for top in range(33) for left in range(17))
        expected = {Preprocessing((256, 128))(cut).tobytes() for cut in cuts}
        pipeline = Pipeline((256, 128), Augmentation(**options, translate=translate))
        assert {pipeline(pixels, seed).tobytes() for seed in range(8)} <= expected
    with pytest.raises(InputError, match="translate is 'both', expected image or resized"):
        Augmentation(translate="both")
