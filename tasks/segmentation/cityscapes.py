"""Cityscapes, in its official folders as unpacked.

`leftImg8bit/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png`, and `..._gtFine_labelIds.png` under `gtFine`.
Ids are translated when labels are read, so `labelTrainIds` images are not needed. The labels of test are withheld: its
label images are void and are not read.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
"""

from pathlib import Path

from relattn.errors import MissingFileError
from relattn.tasks.files import not_found
from relattn.tasks.image_folders import images_below, say_left_out
from relattn.tasks.segmentation.pairs import LabelledImage, images_in, matched

IMAGES, LABELS = "leftImg8bit", "gtFine"
IMAGE_END, LABELS_END = "_leftImg8bit.png", "_gtFine_labelIds.png"
NESTINGS = ("cityscapes", "Cityscapes", ".")
PUBLISHED = {"train": 2_975, "val": 500}
"""Numbers of images with labels; test has 1,525 without."""


def find_cityscapes(root: Path, *, labels: bool = True) -> Path:
    """Find the folder that contains `leftImg8bit` and, if `labels` are needed, `gtFine`.

    Args:
        root: This folder, or the one that contains it as `cityscapes`.
        labels: Whether labels are needed.

    Raises:
        MissingFileError: If it does not exist, or lacks one of those that are needed.
    """
    for folder in (root / nesting for nesting in NESTINGS):
        there = [name for name in (IMAGES, LABELS) if (folder / name).is_dir()]
        if len(there) == 2 or (there == [IMAGES] and not labels):
            return folder
        if there:
            (lacking,) = {IMAGES, LABELS} - set(there)
            archive = f"{lacking}_trainvaltest.zip"
            raise MissingFileError(f"{folder} has {there[0]} and no {lacking}. Unpack {archive} there as well.")
    tree = [f"cityscapes/{name}/{split}/<city>/" for name in (IMAGES, LABELS) for split in ("train", "val")]
    source = f"Its authors offer {IMAGES}_trainvaltest.zip and {LABELS}_trainvaltest.zip at https://www.cityscapes-dataset.com."
    raise not_found("Cityscapes", root, tree, source, "cityscapes")


def read_cityscapes(folder: Path, split: str, *, labels: bool = True) -> list[LabelledImage]:
    """List the images of a split, sorted; those of test always without labels.

    Args:
        folder: The folder found by `find_cityscapes`.
        split: `train`, `val` or `test`.
        labels: Whether labels are needed.

    Raises:
        MissingFileError: If there are none, or an image or its labels are missing.
    """
    below = images_in(folder, f"{IMAGES}/{split}")
    names = [path for path in below if path.endswith(IMAGE_END)]
    others = [path for path in below if not path.endswith(IMAGE_END)]
    say_left_out(folder / IMAGES / split, others, f"names that do not end in {IMAGE_END}")
    images = [(name.removesuffix(IMAGE_END), f"{IMAGES}/{split}/{name}") for name in names]
    what = f"Cityscapes {split}"
    if split == "test" or not labels:
        if not images:
            raise MissingFileError(f"{what}: there is no image in {folder / IMAGES / split}. Unpack the archive again.")
        return [LabelledImage(path, None) for _, path in images]
    # The same folder also contains polygons, colours and instances.
    found = [path for path in images_below(folder / LABELS / split).paths if path.endswith(LABELS_END)]
    masks = [(name.removesuffix(LABELS_END), f"{LABELS}/{split}/{name}") for name in found]
    return matched(images, masks, what, folder)


def has_test(folder: Path) -> bool:
    """Whether the images of test exist."""
    return (folder / IMAGES / "test").is_dir()
