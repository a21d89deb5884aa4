"""The label table against the official one, and the translation in both directions."""

import numpy as np
import pytest
import torch

from relattn.errors import InputError
from relattn.tasks.segmentation.labels import CAMVID, CITYSCAPES, CITYSCAPES_WEIGHTS, LabelMap, own_labels, ranges

OFFICIAL = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15,
    31: 16, 32: 17, 33: 18,
}  # fmt: skip
"""cityscapesScripts' map from id to train id."""


def test_every_id_of_cityscapes_has_the_official_train_id() -> None:
    ids = np.array([*range(34), 255], np.uint8)
    expected = [OFFICIAL.get(int(id), 255) for id in ids]
    assert CITYSCAPES.to_train(ids[None], "x.png")[0].tolist() == expected
    assert CITYSCAPES.to_ids(np.arange(19)).tolist() == list(OFFICIAL)
    assert CITYSCAPES.classes[:3] + CITYSCAPES.classes[16:] == [
        "road", "sidewalk", "building", "train", "motorcycle", "bicycle",
    ]  # fmt: skip
    assert CITYSCAPES.palette[[0, 13, 18]].tolist() == [[128, 64, 128], [0, 0, 142], [119, 11, 32]]
    assert len(CITYSCAPES_WEIGHTS) == 19
    assert CITYSCAPES_WEIGHTS[17] == max(CITYSCAPES_WEIGHTS)  # of motorcycles


@pytest.mark.parametrize("wrong", [34, 100, 254])
def test_unknown_ids_are_named_with_their_file(wrong: int) -> None:
    labels = np.array([[7, wrong], [wrong, 33]], np.uint8)
    with pytest.raises(
        InputError, match=rf"a/b\.png: 2 pixels have the label {wrong}, and Cityscapes has 0 to 33, 255"
    ):
        CITYSCAPES.to_train(labels, "a/b.png")


@pytest.mark.parametrize("wrong", [-1, 19, 255])
def test_only_classes_are_predicted(wrong: int) -> None:
    with pytest.raises(InputError, match="expected train ids from 0 to 18"):
        CITYSCAPES.to_ids(np.array([0, wrong]))


def test_predictions_may_be_tensors() -> None:
    found = CITYSCAPES.to_ids(torch.tensor([[0, 18]]))
    assert found.tolist() == [[7, 33]]
    assert found.dtype == np.uint8


def test_camvid_has_eleven_classes_and_void() -> None:
    assert len(CAMVID.classes) == len(CAMVID.palette) == 11
    assert CAMVID.to_train(np.array([[0, 10, 11]], np.uint8), "x").tolist() == [[0, 10, 255]]
    with pytest.raises(InputError, match="CamVid has 0 to 11, 255"):
        CAMVID.to_train(np.array([[12]], np.uint8), "x")


def test_colours() -> None:
    colours = CITYSCAPES.colour(np.array([[0, 10, 255]], np.uint8))
    assert colours.tolist() == [[[128, 64, 128], [70, 130, 180], [0, 0, 0]]]
    for number in (1, 2, 40, 150):
        assert len(np.unique(own_labels([str(n) for n in range(number)], [255], "own").palette, axis=0)) == number


@pytest.mark.parametrize(
    ("classes", "ids", "ignored", "message"),
    [
        ([], [], [], "there are 0 classes, expected 1 to 254"),
        (["x"] * 255, range(255), [], "there are 255 classes"),
        (["a", "b"], [1, 1], [], "needs one id of its own"),
        (["a", "b"], [0, 1], [1], "needs one id of its own"),
        (["a", "b"], [0], [], "needs one id of its own"),
    ],
)
def test_tables_that_make_no_sense(classes, ids, ignored, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        LabelMap(classes, [(0, 0, 0)] * len(classes), ids, ignored, name="own")


def test_ranges() -> None:
    assert ranges([0, 1, 2, 5, 254, 255]) == "0 to 2, 5, 254 to 255"
