"""Your own images with label images, in two folders: `images/{train,val,test}` and `labels/{train,val,test}`.

If the folders of all or some splits are missing, a share of the training images is held out instead.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relattn.errors import InputError, MissingFileError
from relattn.tasks.image_folders import check_split_folders, say_left_out
from relattn.tasks.segmentation.data import SegmentationData
from relattn.tasks.segmentation.labels import own_labels
from relattn.tasks.segmentation.pairs import LabelledImage, by_keys, images_in, matched
from relattn.tasks.shares import (
    check_shares,
    check_trainable,
    hold_out,
    say_not_scored,
    shares_of,
    stand_in_for_missing,
)

SPLITS = ("train", "val", "test")


class Folders(SegmentationData):
    """Your own images with label images: `images/{train,val,test}` and `labels/{train,val,test}`, or a share held out.

    Label images have one channel, or a palette whose indices count, in a lossless format such as PNG. An image and its
    labels have the same path in the two folders, apart from their suffixes. Without `test`, the validation images serve
    as the test set.
    """

    holding_out = "--data.validation 0.2 holds out that share of the training images"

    def __init__(
        self,
        root: Path | str,
        classes: Sequence[str],
        *,
        ids: Sequence[int] | None = None,
        ignored: Sequence[int] | None = None,
        images: str = "images",
        labels: str = "labels",
        image_suffix: str = "",
        label_suffix: str = "",
        validation: float = 0.0,
        test: float | None = None,
        split_seed: int = 0,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains the two folders.
            classes: Names of the classes, in the order of their ids.
            ids: The value in label images of each class: `[0,255]` for masks of black and white, `[1,2,3]` if 0 is
                void; by default 0, 1, ...
            ignored: Values of pixels that are neither trained on nor scored; by default 255, unless it is a class's.
            images: The folder of images, relative to `root`.
            labels: The folder of label images, which may be the same.
            image_suffix: Ending of image names, before the dot, which their labels' names do not have; other files in
                their folder are left out.
            label_suffix: Ending of label image names, before the dot: `_mask` for `a_mask.png` of `a.jpg`.
            validation: Without `val`, the share of the training images that is held out for validation. With 0, the
                curves of a run are computed on the test set; nothing is chosen by them.
            test: Without `test`, the share of the training images that is held out for the test; by default 0.2, or 0
                if there is `val`, which then serves as the test set. With 1, all images are scored or predicted, and
                none can be trained on.
            split_seed: Seed of the split into these shares. It is independent of the run's seed, so that runs with
                different seeds have the same test set.
            arguments: Arguments shared by all segmentation data sets, see `SegmentationData`.

        Raises:
            InputError: If there is no class, or ids or shares are out of range.
        """
        super().__init__(root, **arguments)
        check_shares("Folders", validation=validation, test=test or 0.0)
        self.expect(split_seed=(split_seed, 0))
        self.label_map = own_labels(list(classes), ignored, "Folders", ids)
        self.places = {"images": images.strip("/"), "labels": labels.strip("/")}
        self.suffixes = {"images": image_suffix, "labels": label_suffix}
        if self.places["images"] == self.places["labels"] and image_suffix == label_suffix:
            raise InputError(
                f"Folders: images and labels are both in {images!r}, and nothing tells them apart. Say what names of "
                "label images end in: --data.label_suffix _mask."
            )
        self.validation, self.test, self.split_seed = validation, test, split_seed

    def read_splits(self, splits: Sequence[str]) -> tuple[Path, dict[str, list[LabelledImage]]]:
        images = self.root / self.places["images"]
        if not images.is_dir():
            raise MissingFileError(
                f"Folders: {images} is missing. Expected {self.places['images']} and {self.places['labels']} in "
                f"{self.root}; name another place with --data.root, --data.images and --data.labels."
            )
        check_split_folders(images, (*SPLITS, "predict"), "Folders")
        if "train" in splits:
            check_trainable("Folders", self.test)
        if tuple(splits) == ("predict",):
            parts = [part for part in ("predict", "test", "val") if (images / part).is_dir()]
            flat = not (images / "train").is_dir()
            if parts or (flat and not (self.root / self.places["labels"]).is_dir()):
                return self.root, {"predict": self.unlabelled(parts[0] if parts else "")}
        there = [split for split in SPLITS if (images / split).is_dir()]
        found = self.held_out(splits, there)
        stand_in_for_missing(found)
        for split in splits:
            if not found.get(split):
                raise MissingFileError(
                    f"Folders: {images / split} is missing. Expected train and val, or test, in it and in "
                    f"{self.root / self.places['labels']}; or images alone, of which a share is held out with "
                    "--data.test."
                )
        return self.root, {split: found[split] for split in splits}

    def held_out(self, splits: Sequence[str], there: Sequence[str]) -> dict[str, list[LabelledImage]]:
        """Find the images of the required splits; those without a folder are held out of training."""
        shares = shares_of(there, validation=self.validation, test=self.test)
        drawn_from_train = "train" in splits or any(shares.values())
        found = {part: self.split(part) for part in there if part != "train" or drawn_from_train}
        if not there:
            found["train"] = self.split("")
        if "train" in found:
            total = len(found["train"])
            found |= hold_out(found["train"], [0] * total, shares, self.split_seed)
            if "train" not in splits and not there and self.is_new():
                say_not_scored(self.root, len(found["train"]), total, shares["test"])
        return found

    def files(self, kind: str, split: str) -> list[tuple[str, str]]:
        """Key and path of each image (`images`) or label image (`labels`) of a split whose name ends as required.

        Raises:
            MissingFileError: If their folder does not exist.
        """
        place = "/".join(filter(None, (self.places[kind], split)))
        if not (self.root / place).is_dir():
            raise MissingFileError(
                f"Folders: {self.root / place} is missing. Expected {self.places['images']} and "
                f"{self.places['labels']} in {self.root}, with the same folders in them."
            )
        own, other = self.suffixes[kind], self.suffixes["labels" if kind == "images" else "images"]
        mixed = self.places["images"] == self.places["labels"]
        found, left_out = [], []
        for name in images_in(self.root, place):
            stem = name.rpartition(".")[0]
            if stem.endswith(own) and not (mixed and not own and other and stem.endswith(other)):
                found.append((stem.removesuffix(own), f"{place}/{name}"))
            elif not (mixed and stem.endswith(other)):
                left_out.append(name)
        say_left_out(self.root / place, left_out, f"names that do not end in {own}")
        return found

    def split(self, split: str) -> list[LabelledImage]:
        """List the images of a split, paired with their labels by their names."""
        return matched(self.files("images", split), self.files("labels", split), f"Folders {split}".strip(), self.root)

    def unlabelled(self, split: str) -> list[LabelledImage]:
        """List the images of a split without their labels, for prediction."""
        return [LabelledImage(path, None) for path in by_keys(self.files("images", split)).values()]
