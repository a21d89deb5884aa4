"""The augmentation against its definition (resize all, pad, crop, flip), and its randomness."""

import cv2
import numpy as np
import pytest

from relattn.tasks.segmentation import Cityscapes
from relattn.tasks.segmentation.augmentation import STATISTICS, Augmentation, Pipeline, RandomScaledCrop

MEAN, STD = (np.array(values) for values in STATISTICS["imagenet"])


def scene(height: int = 60, width: int = 100) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)
    labels = random.integers(0, 19, (height // 5, width // 5), dtype=np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return image, cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("seed", range(25))
def test_a_scaled_crop_is_a_part_of_the_resized_image(seed: int) -> None:
    """Only the window is computed, and it equals the window of the fully resized image."""
    image, labels = scene()
    step = RandomScaledCrop((48, 64), (0.5, 2.1), 0.1)
    step.set_random_seed(seed)
    parameters = step.get_params_dependent_on_data({"shape": image.shape}, {})
    step.set_random_seed(seed)
    found = step(image=image, mask=labels)
    height, width = (round(side / ratio) for side, ratio in zip((60, 100), parameters["ratio"], strict=True))
    (top, left), (rows, columns) = parameters["start"], parameters["window"]
    assert (rows, columns) == (min(height, 48), min(width, 64))
    place = slice(top, top + rows), slice(left, left + columns)
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)[place]
    # warpAffine interpolates at 32 positions per pixel, resize at 2048.
    difference = np.abs(found["image"].astype(int) - resized)
    assert difference.max() <= 6
    assert difference.mean() < 1
    # The centre of each pixel, in exact arithmetic.
    ys, xs = (np.arange(height) * 2 + 1) * 60 // (2 * height), (np.arange(width) * 2 + 1) * 100 // (2 * width)
    assert (found["mask"] == labels[ys][:, xs][place]).mean() > 0.99


def test_scales_are_those_of_the_recipe_and_alike_in_number() -> None:
    step, counts = RandomScaledCrop((8, 8), (0.5, 2.1), 0.1), np.zeros(17)
    for seed in range(3400):
        step.set_random_seed(seed)
        ratio = step.get_params_dependent_on_data({"shape": (1000, 1000)}, {})["ratio"][0]
        counts[round((1 / ratio - 0.5) * 10)] += 1
    assert counts.min() > 140  # 200 expected
    assert counts.max() < 260


def test_windows_reach_all_corners() -> None:
    step, places = RandomScaledCrop((50, 90), (1.0, 1.0), 0.1), set()
    for seed in range(900):
        step.set_random_seed(seed)
        places.add(step.get_params_dependent_on_data({"shape": (60, 100)}, {})["start"])
    assert {top for top, _ in places} == set(range(11))
    assert {left for _, left in places} == set(range(11))


def test_padding_is_the_mean_colour_at_the_bottom_and_at_the_right() -> None:
    image, labels = scene()
    pipeline = Pipeline((160, 260), Augmentation(scales=(1.0, 1.0), flip=0))
    found, truth = pipeline(image, labels, 0)
    assert found.shape == (160, 260, 3)
    assert found.dtype == np.float32
    assert truth.dtype == np.uint8
    np.testing.assert_allclose(found[:60, :100], (image / 255 - MEAN) / STD, rtol=1e-4, atol=1e-4)
    assert np.array_equal(truth[:60, :100], labels)
    assert not found[60:].any()
    assert not found[:, 100:].any()
    assert (truth[60:] == 255).all()
    assert (truth[:, 100:] == 255).all()
    flipped, mirrored = Pipeline((160, 260), Augmentation(scales=(1.0, 1.0), flip=1))(image, labels, 0)
    assert np.array_equal(flipped, found[:, ::-1])
    assert np.array_equal(mirrored, truth[:, ::-1])


def test_image_and_labels_stay_together() -> None:
    """The image's values are its labels': whatever happens, both must agree except at edges."""
    _, labels = scene()
    image = np.repeat(labels[..., None] * 10, 3, axis=2)
    for seed in range(20):
        found, truth = Pipeline((48, 64), Augmentation())(image, labels, seed)
        values = np.rint((found[..., 0] * STD[0] + MEAN[0]) * 25.5)
        inside = truth != 255
        assert (values[inside] == truth[inside]).mean() > 0.55
        assert np.corrcoef(values[inside], truth[inside])[0, 1] > 0.85


def test_the_seed_decides_everything_and_steps_are_independent() -> None:
    image, labels = scene()
    first = [Pipeline((32, 32), Augmentation())(image, labels, seed) for seed in range(6)]
    pipeline = Pipeline((32, 32), Augmentation())
    again = [pipeline(image, labels, seed) for seed in reversed(range(6))][::-1]
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert len({image.tobytes() for image, _ in first}) == 6
    ramp = np.repeat(np.tile(np.arange(100, dtype=np.uint8), (60, 1))[..., None], 3, axis=2)
    large_flipped = np.zeros((2, 2))
    for seed in range(400):
        found, _ = Pipeline((20, 20), Augmentation(scales=(1.0, 2.0), step=1.0))(ramp, labels, seed)
        slope = float(found[0, -1, 0] - found[0, 0, 0]) / 19 * STD[0] * 255
        large_flipped[int(abs(slope) < 0.75), int(slope < 0)] += 1
    assert large_flipped.min() > 65  # 100 expected in each of the four


def test_evaluation_keeps_images_whole() -> None:
    image, _ = scene()
    found = Cityscapes(crop=(32, 32)).preprocessing()(image)
    np.testing.assert_allclose(found, (image / 255 - MEAN) / STD, rtol=1e-4, atol=1e-4)


def test_the_means_of_ocnet() -> None:
    image, labels = scene()
    off = Augmentation(scales=(1.0, 1.0), flip=0.0)
    varied, _ = Pipeline(image.shape[:2], off, normalisation="caffe")(image, labels, 0)
    for found in (varied, Cityscapes(normalisation="caffe").preprocessing()(image)):
        np.testing.assert_allclose(found, image - np.array([102.9801, 115.9465, 122.7717]), rtol=1e-4, atol=1e-3)


def test_inputs_are_left_alone() -> None:
    image, labels = scene()
    kept = image.copy(), labels.copy()
    Pipeline((32, 32), Augmentation())(image, labels, 1)
    assert np.array_equal(image, kept[0])
    assert np.array_equal(labels, kept[1])
