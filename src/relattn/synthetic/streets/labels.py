"""The labels of Cityscapes: number, name and colour of each, as in its official label images.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, and cityscapesScripts'
`labels.py`. A licence plate has number -1 there and is never drawn into label images, which show what is behind it.
"""

from typing import NamedTuple


class Label(NamedTuple):
    """One label."""

    name: str
    id: int
    """The value of its pixels in `*_gtFine_labelIds.png`."""

    train_id: int | None
    """Index among the 19 classes that are scored; None if it is ignored."""

    colour: tuple[int, int, int]
    """RGB in `*_gtFine_color.png`."""


LABELS = (
    Label("unlabeled", 0, None, (0, 0, 0)),
    Label("ego vehicle", 1, None, (0, 0, 0)),
    Label("rectification border", 2, None, (0, 0, 0)),
    Label("out of roi", 3, None, (0, 0, 0)),
    Label("static", 4, None, (0, 0, 0)),
    Label("dynamic", 5, None, (111, 74, 0)),
    Label("ground", 6, None, (81, 0, 81)),
    Label("road", 7, 0, (128, 64, 128)),
    Label("sidewalk", 8, 1, (244, 35, 232)),
    Label("parking", 9, None, (250, 170, 160)),
    Label("rail track", 10, None, (230, 150, 140)),
    Label("building", 11, 2, (70, 70, 70)),
    Label("wall", 12, 3, (102, 102, 156)),
    Label("fence", 13, 4, (190, 153, 153)),
    Label("guard rail", 14, None, (180, 165, 180)),
    Label("bridge", 15, None, (150, 100, 100)),
    Label("tunnel", 16, None, (150, 120, 90)),
    Label("pole", 17, 5, (153, 153, 153)),
    Label("polegroup", 18, None, (153, 153, 153)),
    Label("traffic light", 19, 6, (250, 170, 30)),
    Label("traffic sign", 20, 7, (220, 220, 0)),
    Label("vegetation", 21, 8, (107, 142, 35)),
    Label("terrain", 22, 9, (152, 251, 152)),
    Label("sky", 23, 10, (70, 130, 180)),
    Label("person", 24, 11, (220, 20, 60)),
    Label("rider", 25, 12, (255, 0, 0)),
    Label("car", 26, 13, (0, 0, 142)),
    Label("truck", 27, 14, (0, 0, 70)),
    Label("bus", 28, 15, (0, 60, 100)),
    Label("caravan", 29, None, (0, 0, 90)),
    Label("trailer", 30, None, (0, 0, 110)),
    Label("train", 31, 16, (0, 80, 100)),
    Label("motorcycle", 32, 17, (0, 0, 230)),
    Label("bicycle", 33, 18, (119, 11, 32)),
)

ID = {label.name: label.id for label in LABELS}
"""The number of each label."""
