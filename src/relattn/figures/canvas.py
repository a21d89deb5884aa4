"""What the figures share: a grid of pictures, colour maps with their bars, and the files that they are written to.

Colour maps are perceptually uniform and tell apart for colour-blind readers: one for masks and weights, one that is
white at 0 for values with a sign.
"""

import math
import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.publish import publishing

mpl = Lazy("matplotlib", "suite")
mpl_figure = Lazy("matplotlib.figure", "suite")
colour_maps = Lazy("matplotlib.cm", "suite")
layout_engine = Lazy("matplotlib.layout_engine", "suite")

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from torch import Tensor

Pixels = NDArray[np.uint8]

SEQUENTIAL, SIGNED = "viridis", "RdBu_r"
INK, FAINT, TARGET = "#1c1f24", "#646a73", "#e8432e"
"""Colours of text, of notes, and of marked positions."""
SIZE, SMALL = 9.0, 8.0
"""Sizes of fonts, in points."""
SIDE = 1.65
"""Side of a square picture, in inches; others have its area."""
LEAST = 1.15
"""Least width of a picture, in inches, which a title needs."""
GLYPH = 0.075
"""Width of a character, in inches."""
DPI = 160
MOST = 8
"""Images of one figure."""

WRITING = Lock()


def check_count(images: int) -> None:
    """Raise an InputError unless there are 1 to 8 images."""
    if not 1 <= images <= MOST:
        raise InputError(f"A figure shows 1 to {MOST} images, and {images} are given.")


def grid(
    rows: int,
    columns: int,
    *,
    aspect: float,
    title: str,
    note: str = "",
    lines: int = 0,
    side: float = SIDE,
) -> "tuple[Figure, NDArray[Any]]":
    """A figure of `rows` x `columns` pictures.

    Args:
        rows: Rows.
        columns: Columns.
        aspect: Width over height of a picture.
        title: The line above.
        note: A paragraph below.
        lines: Of text at the pictures of each row.
        side: Of a square picture, in inches; others have its area.

    Returns:
        The figure, and its axes, (rows, columns), without ticks and frames.
    """
    aspect = min(max(aspect, 0.33), 3.0)
    height = side / math.sqrt(aspect)
    width = max(height * aspect, LEAST)
    full = columns * (width + 0.08) + 0.9
    characters = int(full / GLYPH)
    note = textwrap.fill(note, characters)
    title = textwrap.fill(title, int(characters * 0.78))
    around = note.count("\n") + title.count("\n") + 2
    figure = mpl_figure.Figure(
        figsize=(full, rows * (height + 0.08) + 0.75 + 0.17 * (around + rows * lines)),
        layout=layout_engine.ConstrainedLayoutEngine(h_pad=0.06),
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        bare(ax)
    figure.suptitle(title, fontsize=SIZE + 2, color=INK, fontweight="bold", parse_math=False)
    if note:
        figure.supxlabel(note, fontsize=SMALL, color=FAINT)
    return figure, axes


def bare(ax: "Axes") -> None:
    """Take ticks and frame away."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def head(ax: "Axes", text: str, aspect: float) -> None:
    """Write a column's title, broken where it is wider than its pictures."""
    width = max(SIDE * math.sqrt(min(max(aspect, 0.33), 3.0)), LEAST)
    ax.set_title(textwrap.fill(text, max(int(width / GLYPH), 8)), fontsize=SIZE, color=INK)


def label(ax: "Axes", text: str) -> None:
    """Write a row's name at its left."""
    ax.set_ylabel(text, fontsize=SIZE, color=INK)


def show_image(ax: "Axes", pixels: Pixels) -> None:
    """Show an image (H, W, 3)."""
    ax.imshow(pixels, interpolation="nearest")


def show_map(
    ax: "Axes", values: "Tensor", limits: tuple[float, float], size: tuple[int, int], *, cmap: str = SEQUENTIAL
) -> "AxesImage":
    """Show a map as large as its image, a position as an even area.

    Args:
        ax: Where.
        values: (h, w).
        limits: Values of the ends of the colour map.
        size: Height and width of the image, in pixels.
        cmap: The colour map.
    """
    extent = (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)
    low, high = limits
    pixels = values.detach().float().cpu().numpy()
    return ax.imshow(pixels, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest")


def limits_of(values: "Tensor") -> tuple[float, float]:
    """The smallest and the largest value; a little apart where they are one."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 1e-6 * max(abs(high), 1e-3) else (low - 1e-3, high + 1e-3)


def bar(figure: "Figure", shown: "AxesImage", axes: "Sequence[Axes]", *, beside: bool, text: str = "") -> None:
    """Draw a colour bar with three numbers, below the axes or at their right."""
    low, high = shown.get_clim()
    opaque = colour_maps.ScalarMappable(shown.norm, shown.cmap)  # what is shown may let an image through
    tall = len({ax.get_subplotspec().rowspan.start for ax in axes}) if beside else 1  # type: ignore[union-attr]
    where = {"location": "right", "aspect": 14 * tall} if beside else {"location": "bottom", "aspect": 12}
    drawn = figure.colorbar(opaque, ax=list(axes), pad=0.02, shrink=0.9, **where)  # type: ignore[arg-type]
    ticks = [low, (low + high) / 2, high] if beside else [low, high]
    drawn.set_ticks(ticks, labels=[number(tick, high - low) for tick in ticks])
    drawn.ax.tick_params(labelsize=SMALL, labelcolor=INK, length=2)
    if not beside:
        first, last = drawn.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    drawn.outline.set_visible(False)
    if text:
        drawn.set_label(text, fontsize=SMALL, color=INK)


def number(value: float, span: float) -> str:
    """A number with as many digits as a range of `span` needs."""
    if value and (abs(value) >= 1e4 or span < 1e-3):
        return f"{value:.1e}"
    digits = max(0, 2 - math.floor(math.log10(span))) if span > 0 else 2
    return f"{value:.{digits}f}"


def save(figure: "Figure", folder: Path, name: str, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write a figure as `<name>.png` and `<name>.pdf` into a folder, which is made; return the files.

    Raises:
        InputError: If nothing can be written there.
    """
    files = [folder / f"{name}.{suffix}" for suffix in formats]
    for file in files:
        write(figure, file)
    return files


def write(figure: "Figure", file: Path) -> None:
    """Write a figure in the format that the file's name ends in; the fonts of a PDF are embedded, as TrueType.

    Raises:
        InputError: If it cannot be written.
    """
    options = output_options(figure)
    if file.suffix == ".pdf":
        options["metadata"] = {"CreationDate": None}  # without the date, the same figure is the same file
    if file.suffix == ".png":
        options["pil_kwargs"] = {"compress_level": 4}  # a quarter faster than 6 for 5 % more bytes
    # The kind of fonts is a global setting of matplotlib: one thread at a time changes it.
    with WRITING, mpl.rc_context({"pdf.fonttype": 42}), publishing(file) as stream:
        figure.savefig(stream, format=file.suffix[1:], **options)


def as_image(figure: "Figure") -> Image.Image:
    """A figure as an RGB image, for loggers."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1}, **output_options(figure))
    return Image.open(buffer).convert("RGB")


def output_options(figure: "Figure") -> dict[str, Any]:
    """Resolution and edges of files: what matplotlib laid out is trimmed, what was laid out in pixels is kept."""
    if figure.get_layout_engine() is None:
        return {"dpi": "figure"}
    return {"dpi": DPI, "bbox_inches": "tight", "pad_inches": 0.12}
