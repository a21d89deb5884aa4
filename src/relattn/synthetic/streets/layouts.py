"""Drawn streets in the official layout of Cityscapes, which a loader for the genuine set reads.

`leftImg8bit/{train,val,test}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png` and, under `gtFine`, the same with
`_gtFine_labelIds.png`, `_gtFine_instanceIds.png` and `_gtFine_color.png`. As in the genuine set, the test labels are
void. Deviation: there is no `_gtFine_polygons.json`, because streets are drawn in pixels.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.synthetic.staging import staged
from relattn.synthetic.streets.labels import ID, LABELS
from relattn.synthetic.streets.render import RARE, render

cv2 = Lazy("cv2", "suite")

CITIES = {
    "train": ("aachen", "bochum", "bremen", "cologne", "hamburg", "ulm"),
    "val": ("frankfurt", "lindau", "munster"),
    "test": ("berlin", "bonn", "mainz"),
}
SPLITS = tuple(CITIES)
COLOURS = np.array([label.colour for label in LABELS], np.uint8)


def write_cityscapes(
    root: Path,
    *,
    train: int = 300,
    val: int = 60,
    test: int = 0,
    size: tuple[int, int] = (128, 256),
    seed: int = 0,
) -> Path:
    """Draw streets and write them in the layout of Cityscapes, all of them or nothing.

    Rare kinds appear in fixed parts of a split's streets (`relattn.synthetic.streets.render.RARE`), and in at least
    one, so that even small sets have every class in training and validation.

    Args:
        root: Folder to write to; created if it does not exist.
        train: Streets for training, 2,975 in the genuine set.
        val: Streets for validation, 500 in the genuine set.
        test: Streets without labels, 1,525 in the genuine set.
        size: Height and width, in pixels; 1024 x 2048 in the genuine set.
        seed: The same seed gives the same streets, at any size.

    Returns:
        The folder written, `root/cityscapes`.

    Raises:
        InputError: If that folder already exists, or a number is out of range.
    """
    for what, value, least in (
        ("train", train, 1), ("val", val, 1), ("test", test, 0), ("seed", seed, 0), ("size", min(size), 32),
    ):  # fmt: skip
        if value < least:
            raise InputError(f"cityscapes: {what} is {value}, expected {least} or more.")
    with staged(root, "cityscapes") as folder:
        for place, (split, count) in enumerate(zip(SPLITS, (train, val, test), strict=True)):
            for number, rare in enumerate(_rare(count, np.random.default_rng((seed, place)))):
                scene = render((seed, place, number), rare=rare, size=size)
                city = CITIES[split][number % len(CITIES[split])]
                name = f"{split}/{city}/{city}_{number // len(CITIES[split]):06d}_000019"
                _save(folder / f"leftImg8bit/{name}_leftImg8bit.png", scene.image[..., ::-1])
                labels, instances = scene.labels, scene.instances
                if split == "test":
                    labels = np.where(labels == ID["ego vehicle"], labels, ID["unlabeled"]).astype(np.uint8)
                    instances = labels.astype(np.uint16)
                opaque = np.full((*size, 1), 255, np.uint8)
                _save(folder / f"gtFine/{name}_gtFine_labelIds.png", labels)
                _save(folder / f"gtFine/{name}_gtFine_instanceIds.png", instances)
                _save(folder / f"gtFine/{name}_gtFine_color.png", np.dstack([COLOURS[labels][..., ::-1], opaque]))
    return root / folder.name


def _rare(count: int, rng: np.random.Generator) -> list[frozenset[str]]:
    """The rare kinds in each of `count` streets."""
    found: list[set[str]] = [set() for _ in range(count)]
    for kind, part in RARE.items():
        for street in np.argsort(rng.random(count), kind="stable")[: max(round(part * count), 1)]:
            found[street].add(kind)
    return [frozenset(kinds) for kinds in found]


def _save(file: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes())
