"""What a network sees in a street: an image, its true classes, the predicted ones, and where the two differ."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Classes = NDArray[np.integer[Any]]

PAPER, INK = (255, 255, 255), (28, 31, 36)
VOID, RIGHT, WRONG = (60, 60, 64), (235, 238, 241), (205, 45, 42)
"""Colours of pixels without a label, of right ones and of wrong ones."""
MARGIN, GAP, TEXT, SWATCH = 16, 10, 13, 12
"""Around the picture, between its parts, size of the font, and side of a legend's square, in pixels."""
LEAST = 320
"""Width of a part, at least; smaller images are enlarged by whole factors."""


def paint(classes: Classes, palette: Pixels) -> Pixels:
    """The colours of classes `(H, W)`: `(H, W, 3)`; what is no class is dark grey."""
    table = np.full((256, 3), VOID, np.uint8)
    table[: len(palette)] = palette
    return table[classes.astype(np.uint8)]


def overlay(image: Pixels, classes: Classes, palette: Pixels, opacity: float = 0.65) -> Pixels:
    """An image `(H, W, 3)` RGB with the colours of its classes `(H, W)` over it."""
    mixed = (1 - opacity) * image.astype(np.float32) + opacity * paint(classes, palette)
    return mixed.round().astype(np.uint8)


def segmentation(
    image: Pixels, truth: Classes | None, prediction: Classes, palette: Pixels, names: Sequence[str]
) -> Image.Image:
    """Draw an image, its truth, the prediction and the errors side by side, with a legend of the classes in them.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) classes, 255 where there is no label; None if it is not known, which leaves two parts.
        prediction: (H, W) classes.
        palette: (C, 3) uint8, the colours of the classes.
        names: Their names, C of them.
    """
    parts = {"image": image, "prediction": overlay(image, prediction, palette)}
    seen = set(np.unique(prediction).tolist())
    if truth is not None:
        labelled = truth < len(names)
        wrong = labelled & (truth != prediction)
        error = np.where(wrong[..., None], WRONG, RIGHT).astype(np.uint8)
        error[~labelled] = VOID
        share = 100 * wrong.sum() / max(labelled.sum(), 1)
        parts = {"image": image, "truth": overlay(image, truth, palette), **parts}
        parts[f"errors: {share:.1f} % of the labelled pixels"] = error
        seen |= set(np.unique(truth[labelled]).tolist())
    factor = max(1, -(-LEAST // image.shape[1]))
    pictures = {
        title: Image.fromarray(part).resize((part.shape[1] * factor, part.shape[0] * factor), Image.Resampling.NEAREST)
        for title, part in parts.items()
    }
    return assemble(pictures, [(names[index], tuple(palette[index].tolist())) for index in sorted(seen)])


def assemble(pictures: dict[str, Image.Image], legend: Sequence[tuple[str, tuple[int, ...]]]) -> Image.Image:
    """Put pictures of one size side by side, two to a row, with their titles above and a legend below."""
    font = ImageFont.load_default(TEXT)
    width, height = next(iter(pictures.values())).size
    columns, line = 2, TEXT + 8
    rows = -(-len(pictures) // columns)
    total = 2 * MARGIN + columns * width + (columns - 1) * GAP
    places, x, y = [], MARGIN, MARGIN + rows * (line + height + GAP)
    for name, _ in legend:
        step = SWATCH + 6 + round(font.getlength(name)) + 16
        if x + step > total - MARGIN and x > MARGIN:
            x, y = MARGIN, y + line
        places.append((x, y))
        x += step
    sheet = Image.new("RGB", (total, y + line + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (title, picture) in enumerate(pictures.items()):
        left = MARGIN + place % columns * (width + GAP)
        top = MARGIN + place // columns * (line + height + GAP)
        draw.text((left, top), title, fill=INK, font=font)
        sheet.paste(picture, (left, top + line))
    for (name, colour), (left, top) in zip(legend, places, strict=True):
        draw.rectangle((left, top + 2, left + SWATCH, top + 2 + SWATCH), fill=colour, outline=INK)
        draw.text((left + SWATCH + 6, top), name, fill=INK, font=font)
    return sheet
