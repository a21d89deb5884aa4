"""Segmentations by a network: an image, its true classes, the predicted ones, and the errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relattn.extras import Lazy
from relattn.figures.canvas import DPI, FAINT, INK, Grid, Pixels, show_image
from relattn.figures.lettering import text_width
from relattn.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

patches = Lazy("matplotlib.patches", "suite")

Classes = NDArray[np.integer[Any]]

VOID, RIGHT, WRONG = (60, 60, 64), (235, 238, 241), (205, 45, 42)
"""Colours of unlabelled, correct and wrong pixels."""
OPACITY = 0.65
"""Opacity of the colours of classes over their image."""
ERRORS = "errors (red: wrong, dark: unlabelled)"
LARGE, SMALLER = 3.2, 1.9
"""Side of a square picture, in inches: for a single image, and for several below each other."""


@dataclass(frozen=True)
class Segmented:
    """An image with its classes."""

    image: Pixels
    """`(H, W, 3)` uint8 RGB."""
    prediction: Classes
    """`(H, W)` predicted classes."""
    truth: Classes | None = None
    """`(H, W)` true classes, 255 for unlabelled pixels; None if unknown, in which case there are only two pictures."""


def paint(classes: Classes, palette: Pixels) -> Pixels:
    """The colours `(H, W, 3)` of classes `(H, W)`; values that are not classes are dark grey."""
    table = np.full((256, 3), VOID, np.uint8)
    table[: len(palette)] = palette
    return table[classes.astype(np.uint8)]


def overlay(image: Pixels, classes: Classes, palette: Pixels) -> Pixels:
    """Draw the colours of classes `(H, W)` over an image `(H, W, 3)` RGB."""
    mixed = (1 - OPACITY) * image.astype(np.float32) + OPACITY * paint(classes, palette)
    return mixed.round().astype(np.uint8)


def segmentation(
    samples: Sequence[Segmented],
    palette: Pixels,
    names: Sequence[str],
    *,
    title: str = "",
    style: Style | None = None,
) -> "Figure":
    """Draw images, their true classes, the prediction and the errors, with a legend of all classes in them.

    A single image has two pictures side by side and two below; several images have one row each.

    Args:
        samples: The images.
        palette: `(C, 3)` uint8, the colours of the classes.
        names: Their names, C of them.
        title: The line above.
        style: Style of the figure.
    """
    style = style or Style()
    pictures = [parts(sample, palette, len(names)) for sample in samples]
    titles = max(pictures, key=len)
    single = len(samples) == 1
    shape = (-(-len(titles) // 2), 2) if single else (len(samples), len(titles))
    aspect = fmean(sample.image.shape[1] / sample.image.shape[0] for sample in samples)
    side = LARGE if single else SMALLER
    group = shape[0] if single else 1
    grid = Grid(*shape, aspect=aspect, title=title, style=style, lines=2, side=side, group=group)
    figure, pixels = grid.figure, 2 * DPI * grid.width  # printed papers have more pixels per inch
    places = [grid.axes.flat] if single else grid.axes
    tops = {block[0] for block in grid.blocks}
    for number, (row, shown, sample) in enumerate(zip(places, pictures, samples, strict=True)):
        for ax, name in zip(row, titles, strict=True):
            if name in shown:
                show_image(ax, reduced(shown[name], pixels))
            if number in tops:
                ax.set_title(grid.wrapped(name), fontsize=style.size, color=INK, parse_math=False)
            if name == ERRORS and sample.truth is not None:
                share = grid.wrapped(wrong_share(sample, len(names)))
                ax.set_xlabel(share, fontsize=style.small, color=FAINT)
    legend(figure, {names[index]: palette[index] for index in classes_in(samples, len(names))}, style.small)
    return figure


def parts(sample: Segmented, palette: Pixels, classes: int) -> dict[str, Pixels]:
    """The pictures of an image by their titles."""
    image, truth = sample.image, sample.truth
    prediction = {"prediction": overlay(image, sample.prediction, palette)}
    if truth is None:
        return {"image": image, **prediction}
    errors = np.where((truth != sample.prediction)[..., None], WRONG, RIGHT).astype(np.uint8)
    errors[truth >= classes] = VOID
    return {"image": image, "truth": overlay(image, truth, palette), **prediction, ERRORS: errors}


def wrong_share(sample: Segmented, classes: int) -> str:
    """The share of labelled pixels that are wrong, in words."""
    assert sample.truth is not None
    labelled = sample.truth < classes
    wrong = labelled & (sample.truth != sample.prediction)
    return f"{100 * wrong.sum() / max(labelled.sum(), 1):.1f} % of labelled pixels wrong"


def classes_in(samples: Sequence[Segmented], classes: int) -> list[int]:
    """The classes that occur in the truth or the predictions, sorted."""
    maps = [found for sample in samples for found in (sample.prediction, sample.truth) if found is not None]
    return [index for index in sorted({int(index) for found in maps for index in np.unique(found)}) if index < classes]


def reduced(pixels: Pixels, width: float) -> Pixels:
    """Shrink a picture to about `width` pixels, if it is wider: matplotlib is slow with large ones."""
    factor = int(pixels.shape[1] / width)
    return np.asarray(Image.fromarray(pixels).reduce(factor)) if factor > 1 else pixels


def legend(figure: "Figure", colours: dict[str, Pixels], size: float) -> None:
    """Write the names of the classes next to their colours, below the pictures, as many per line as fit."""
    handles = [
        patches.Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colour), edgecolor=FAINT, linewidth=0.5, label=name)
        for name, colour in colours.items()
    ]
    widest = (
        max((text_width(name, size) for name in colours), default=0) + 4 * size
    )  # including the square and the space around it
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, min(int(72 * figure.get_figwidth() / widest), len(handles))),
        fontsize=size,
        labelcolor=INK,
        frameon=False,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.5,
    )
