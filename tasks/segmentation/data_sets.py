"""The data sets that `--data` names, each a few lines over its reader."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from relattn.errors import InputError, MissingFileError
from relattn.tasks.segmentation import camvid, cityscapes
from relattn.tasks.segmentation.data import SegmentationData
from relattn.tasks.segmentation.labels import CAMVID, CITYSCAPES, CITYSCAPES_WEIGHTS, IGNORED, own_labels
from relattn.tasks.segmentation.pairs import LabelledImage, images_in, matched


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
            root: The folder that holds `cityscapes`, or `leftImg8bit` and `gtFine`.
            test_split: What `relattn test` scores: the labels of the official test images are withheld. The paper
                gives the score on the training images as well, whole and unvaried.
            predict_split: What `relattn predict` writes predictions of; by default the official test images where they
                are there, else validation's.
            arguments: Shared by all sets, see `SegmentationData`.
        """
        super().__init__(root, **arguments)
        self.test_split, self.predict_split = test_split, predict_split

    def read_splits(self, splits: Sequence[str]) -> tuple[Path, dict[str, list[LabelledImage]]]:
        folder = cityscapes.find_cityscapes(self.root)
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
            root: The folder that holds `CamVid`, or its six folders.
            crop: Height and width of the windows that are trained on, in pixels.
            train_on_val: Whether the validation images are trained on as well, as many papers do that report test.
            arguments: Shared by all sets, see `SegmentationData`.
        """
        super().__init__(root, crop=crop, **arguments)
        self.train_on_val = train_on_val

    def read_splits(self, splits: Sequence[str]) -> tuple[Path, dict[str, list[LabelledImage]]]:
        official = {split: {"predict": ["test"]}.get(split, [split]) for split in splits}
        if self.train_on_val and "train" in official:
            official["train"].append("val")
        self.published = {split: sum(camvid.PUBLISHED[part] for part in parts) for split, parts in official.items()}
        names = sorted({part for parts in official.values() for part in parts})
        folder = camvid.find_camvid(self.root, names)
        return folder, {
            split: sorted(pair for part in parts for pair in camvid.read_camvid(folder, part))
            for split, parts in official.items()
        }

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "train_on_val": self.train_on_val}


class Folders(SegmentationData):
    """Your own images: `images/{train,val,test}` and `labels/{train,val,test}`, with files of the same names.

    Label images are PNGs of one channel, whose values are the places of the classes in the list, from 0. Images may be
    JPEG or PNG, and lie in folders of their own. Without `test` validation's are tested on.
    """

    holding_out = "put images of the test into images/test and labels/test"

    def __init__(
        self,
        root: Path | str,
        classes: Sequence[str],
        *,
        ignored: Sequence[int] = (IGNORED,),
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that holds `images` and `labels`.
            classes: Names of the classes, in the order of their ids.
            ignored: Ids of pixels that are neither trained on nor scored.
            arguments: Shared by all sets, see `SegmentationData`.

        Raises:
            InputError: If there is no class, or ids are out of range.
        """
        super().__init__(root, **arguments)
        if wrong := [number for number in ignored if not 0 <= number <= 255]:
            raise InputError(f"Folders: ignored has {wrong[0]}, and label images hold ids from 0 to 255.")
        self.label_map = own_labels(list(classes), list(ignored), "Folders")

    def read_splits(self, splits: Sequence[str]) -> tuple[Path, dict[str, list[LabelledImage]]]:
        found = {}
        for split in splits:
            name = split
            if split == "predict" and not (self.root / "images" / "predict").is_dir():
                name = "test"
            if name == "test" and not (self.root / "images" / "test").is_dir():
                name = "val"
            found[split] = self.split(name, labels=split != "predict")
        return self.root, found

    def split(self, split: str, *, labels: bool) -> list[LabelledImage]:
        """The images of a split, paired by their names without suffixes; without their labels for predictions.

        Raises:
            MissingFileError: If its folder is not there.
        """
        for kind in ("images", *(["labels"] if labels else [])):
            if not (self.root / kind / split).is_dir():
                raise MissingFileError(
                    f"Folders: {self.root / kind / split} is missing. Expected images/train, images/val, labels/train "
                    f"and labels/val in {self.root}; name another place with --data.root."
                )
        images, masks = (
            [(name.rpartition(".")[0], f"{kind}/{split}/{name}") for name in images_in(self.root, f"{kind}/{split}")]
            for kind in ("images", "labels")
        )
        if not labels:
            return [LabelledImage(path, None) for _, path in images]
        return matched(images, masks, f"Folders {split}", self.root)
