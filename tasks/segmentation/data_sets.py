"""The data sets for `--data`, each a thin wrapper around its reader."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from relattn.tasks.segmentation import camvid, cityscapes
from relattn.tasks.segmentation.data import SegmentationData
from relattn.tasks.segmentation.labels import CAMVID, CITYSCAPES, CITYSCAPES_WEIGHTS
from relattn.tasks.segmentation.pairs import LabelledImage


class Cityscapes(SegmentationData):
    """Cityscapes: 2,975 training and 500 validation images of 1024 x 2048 pixels, finely labelled with 19 classes."""

    label_map = CITYSCAPES
    published = cityscapes.PUBLISHED
    class_weights = CITYSCAPES_WEIGHTS
    holding_out = "labels of the official test images are withheld; --data CamVid has both, and so may --data Folders"

    def __init__(
        self,
        root: Path | str = "data",
        *,
        test_split: Literal["val", "train"] = "val",
        predict_split: Literal["val", "test"] | None = None,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains `cityscapes`, or `leftImg8bit` and `gtFine`.
            test_split: The split that `relattn test` scores; the labels of the official test images are withheld. The
                paper also gives the score on the training images, whole and without augmentation.
            predict_split: The split for which `relattn predict` writes predictions; by default the official test images
                if they exist, else the validation images.
            arguments: Arguments shared by all segmentation data sets, see `SegmentationData`.
        """
        super().__init__(root, **arguments)
        self.test_split, self.predict_split = test_split, predict_split

    def read_splits(self, splits: Sequence[str]) -> tuple[Path, dict[str, list[LabelledImage]]]:
        folder = cityscapes.find_cityscapes(self.root, labels={*splits} != {"predict"})
        predict = self.predict_split or ("test" if cityscapes.has_test(folder) else "val")
        official = {"test": self.test_split, "predict": predict}
        return folder, {
            split: cityscapes.read_cityscapes(folder, official.get(split, split), labels=split != "predict")
            for split in splits
        }

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "test_split": self.test_split}


class CamVid(SegmentationData):
    """CamVid as SegNet uses it: 367 training, 101 validation and 233 test images of 360 x 480 pixels, 11 classes."""

    label_map = CAMVID
    published = camvid.PUBLISHED

    def __init__(
        self,
        root: Path | str = "data",
        *,
        crop: tuple[int, int] = (360, 480),
        train_on_val: bool = False,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains `CamVid`, or its six folders.
            crop: Height and width of the training windows, in pixels.
            train_on_val: Whether to train on the validation images as well, as many papers that report test scores do.
            arguments: Arguments shared by all segmentation data sets, see `SegmentationData`.
        """
        super().__init__(root, crop=crop, **arguments)
        self.train_on_val = train_on_val

    def read_splits(self, splits: Sequence[str]) -> tuple[Path, dict[str, list[LabelledImage]]]:
        official = {split: {"predict": ["test"]}.get(split, [split]) for split in splits}
        if self.train_on_val and "train" in official:
            official["train"].append("val")
        self.published = {split: sum(camvid.PUBLISHED[part] for part in parts) for split, parts in official.items()}
        names = sorted({part for parts in official.values() for part in parts})
        labels = {*splits} != {"predict"}
        folder = camvid.find_camvid(self.root, names, labels=labels)
        return folder, {
            split: sorted(pair for part in parts for pair in camvid.read_camvid(folder, part, labels=labels))
            for split, parts in official.items()
        }

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "train_on_val": self.train_on_val}
