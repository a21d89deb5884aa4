"""The figure of segmented images: its pictures, its text on errors, and its legend."""

import numpy as np
import pytest

from relattn.figures.files import as_image
from relattn.figures.segmentation import RIGHT, VOID, WRONG, Segmented, segmentation


def test_segmentations_show_truth_prediction_and_errors_with_one_legend() -> None:
    palette, names = (
        np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8),
        ["road", "sky", "car", "bus"],
    )
    truth = np.array([[0, 0, 1, 255]] * 2)
    prediction = np.array([[0, 1, 1, 2], [0, 0, 1, 1]])
    samples = [Segmented(np.full((2, 4, 3), 40, np.uint8), prediction, truth)] * 3
    figure = segmentation(samples, palette, names, title="s")
    image, overlaid, predicted, errors = (np.asarray(ax.images[0].get_array()) for ax in figure.axes[:4])
    np.testing.assert_array_equal(image, samples[0].image)
    mixed = (0.35 * 40 + 0.65 * palette[0]).round()
    np.testing.assert_array_equal(overlaid[0, 0], mixed)
    np.testing.assert_array_equal(overlaid[0, 3], (0.35 * 40 + 0.65 * np.array(VOID)).round())
    np.testing.assert_array_equal(predicted[1, 1], mixed)
    np.testing.assert_array_equal(errors, [[RIGHT, WRONG, RIGHT, VOID], [RIGHT, RIGHT, RIGHT, VOID]])
    texts = " ".join(text for ax in figure.axes for text in (ax.get_title(), ax.get_xlabel())).replace("\n", " ")
    assert texts.count("16.7 % of labelled pixels wrong") == 3  # 1 of 6
    assert texts.count("red: wrong, dark: unlabelled") == 1
    (legend,) = figure.legends
    colours = {
        text.get_text(): patch.get_facecolor() for text, patch in zip(legend.texts, legend.get_patches(), strict=True)
    }
    assert colours == {"road": (1, 0, 0, 1), "sky": (0, 1, 0, 1), "car": (0, 0, 1, 1)}, "of the classes that are there"
    shown = as_image(figure)
    bottom = legend.get_window_extent().y0
    assert all(ax.get_tightbbox().y0 > bottom for ax in figure.axes)
    assert shown.width > shown.height


@pytest.mark.parametrize(("truth", "count"), [(np.zeros((6, 9), int), 4), (None, 2)])
def test_one_image_is_large_and_may_have_no_truth(truth: np.ndarray | None, count: int) -> None:
    sample = Segmented(np.zeros((6, 9, 3), np.uint8), np.zeros((6, 9), int), truth)
    figure = segmentation([sample], np.zeros((1, 3), np.uint8), ["road"])
    assert sum(len(ax.images) for ax in figure.axes) == count
    assert as_image(figure).width > 1000
