"""What the figures share: a grid of pictures, maps over or beside an image, and colour bars.

Colour maps are perceptually uniform and tell apart for colour-blind readers: one for masks and weights, one that is
white at 0 for values with a sign. Maps of few positions are drawn as rectangles, which stay sharp in a PDF at any size.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.figures.lettering import text_width
from relattn.figures.style import SIZE, Style

mpl_figure = Lazy("matplotlib.figure", "suite")
colour_maps = Lazy("matplotlib.cm", "suite")
layout_engine = Lazy("matplotlib.layout_engine", "suite")

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from torch import Tensor

Pixels = NDArray[np.uint8]

SEQUENTIAL, SIGNED = "viridis", "RdBu_r"
INK, FAINT, TARGET = "#1c1f24", "#646a73", "#e8432e"
"""Colours of text, of notes, and of marked positions."""
SMALL = SIZE - 1
"""Size of the font of notes, in points."""
SIDE = 1.65
"""Side of a square picture, in inches; others have its area."""
LEAST = 1.15
"""Least width of a picture, in inches, which a title needs; less where the width of the figure is chosen."""
NARROWEST = 0.3
"""Least width of a picture, in inches, where the width of the figure is chosen."""
AROUND, GAP = 0.9, 0.08
"""Inches beside all pictures of a line, for labels and bars, and between two pictures."""
GLYPH = 0.075
"""Width of a character, in inches, at the usual size of the font."""
DPI = 160
"""Pixels to the inch."""
MOST = 8
"""Images of one figure."""
RECTANGLES = 1024
"""Positions of a map that is drawn as rectangles, at most; others are pictures."""
OPACITY = 0.6
"""Of a map over its image."""
LEAST_SPAN, FLAT = 0.05, 0.01
"""Colours span at least this part of the largest value; maps that vary by less than the second part of it are flat."""


def check_count(images: int) -> None:
    """Raise an InputError unless there are 1 to 8 images."""
    if not 1 <= images <= MOST:
        raise InputError(f"A figure shows 1 to {MOST} images, and {images} are given.")


class Grid:
    """A figure of rows and columns of pictures, whose rows may stand in blocks side by side.

    Attributes:
        figure: The figure.
        axes: (rows, columns), without ticks and frames.
        style: How it looks.
        blocks: The rows of each block, from top to bottom.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        aspect: float,
        title: str,
        style: Style,
        note: str = "",
        lines: int = 0,
        side: float = SIDE,
        group: int = 1,
    ) -> None:
        """Make the figure.

        Args:
            rows: Rows.
            columns: Columns.
            aspect: Width over height of a picture.
            title: The line above.
            style: How it looks.
            note: A paragraph below.
            lines: Of text at the pictures of each row.
            side: Of a square picture, in inches; others have its area.
            group: Rows of one image, which stay together.

        Raises:
            InputError: If pictures would be too narrow in the width that is chosen.
        """
        self.style = style
        images = rows // group
        beside = min(style.columns or 1, images)
        below = -(-images // beside) * group
        across = beside * columns
        aspect = min(max(aspect, 0.33), 3.0)
        around = AROUND * style.scale + (beside - 1) * GAP * 2
        if style.width is None:
            height = side / math.sqrt(aspect)
            self.width = max(height * aspect, LEAST * style.scale)
            full = across * (self.width + GAP) + around
        else:
            full = style.width
            self.width = (full - around) / across - GAP
            if self.width < NARROWEST:
                needed = math.ceil(10 * (across * (NARROWEST + GAP) + around)) / 10
                raise InputError(
                    f"--width {full:g} has no room for the {across} pictures of a line: give at least {needed:g}, or "
                    "fewer networks, modules or --columns."
                )
            height = self.width / aspect
        characters = int(full / (GLYPH * style.scale))
        note = "" if style.bare else textwrap.fill(note, characters)
        title = "" if style.bare else textwrap.fill(title, int(characters * 0.78))
        text = (bool(note) + note.count("\n")) + (bool(title) + title.count("\n")) + below // group * group * lines
        high = below * (height + GAP) + 0.75 + 0.17 * style.scale * text
        self.figure = mpl_figure.Figure(figsize=(full, high), layout=layout_engine.ConstrainedLayoutEngine(h_pad=0.06))
        ratios = [1.0] * columns
        for _ in range(beside - 1):
            ratios += [0.12, *[1.0] * columns]
        places = self.figure.add_gridspec(below, len(ratios), width_ratios=ratios)
        self.axes: NDArray[Any] = np.empty((rows, columns), dtype=object)
        self.blocks: list[list[int]] = [[] for _ in range(beside)]
        for row in range(rows):
            line, block = divmod(row // group, beside)
            self.blocks[block].append(row)
            for column in range(columns):
                ax = self.figure.add_subplot(places[line * group + row % group, block * (columns + 1) + column])
                bare(ax)
                self.axes[row, column] = ax
        if title:
            self.figure.suptitle(title, fontsize=style.size + 2, color=INK, fontweight="bold", parse_math=False)
        if note:
            self.figure.supxlabel(note, fontsize=style.small, color=FAINT, parse_math=False)

    def head(self, column: int, text: str) -> None:
        """Write a column's title over every block, broken where it is wider than its pictures."""
        wrapped = self.wrapped(text)
        for block in self.blocks:
            self.axes[block[0], column].set_title(wrapped, fontsize=self.style.size, color=INK, parse_math=False)

    def wrapped(self, text: str) -> str:
        """A text broken where it is wider than a picture."""
        return textwrap.fill(text, max(int(self.width / (GLYPH * self.style.scale)), 6))

    def label(self, row: int, text: str, column: int = 0) -> None:
        """Write a row's name at the left of one of its pictures."""
        self.axes[row, column].set_ylabel(text, fontsize=self.style.size, color=INK, parse_math=False)

    def below(self, row: int, column: int, *texts: str) -> None:
        """Write what is not empty of some lines below a picture."""
        text = "\n".join(self.wrapped(text) for text in texts if text)
        self.axes[row, column].set_xlabel(text, fontsize=self.style.small, color=FAINT, parse_math=False)

    def bar_below(self, column: int, shown: "ScalarMappable") -> None:
        """Draw the colour bar of a column below every block."""
        for block in self.blocks:
            axes = self.axes[block, column].tolist()
            bar(self.figure, shown, axes, beside=False, style=self.style, width=self.width)

    def bar_beside(self, axes: "Sequence[Axes]", shown: "ScalarMappable") -> None:
        """Draw a colour bar at the right of some pictures."""
        bar(self.figure, shown, axes, beside=True, style=self.style)


def bare(ax: "Axes") -> None:
    """Take ticks and frame away."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_image(ax: "Axes", pixels: Pixels) -> None:
    """Show an image (H, W, 3)."""
    ax.imshow(pixels, interpolation="nearest")


def show_map(
    ax: "Axes",
    values: "Tensor",
    limits: tuple[float, float],
    image: Pixels,
    *,
    cmap: str = SEQUENTIAL,
    over: bool = False,
) -> "ScalarMappable":
    """Show a map as large as its image, a position as an even area.

    Args:
        ax: Where.
        values: (h, w).
        limits: Values of the ends of the colour map.
        image: (H, W, 3).
        cmap: The colour map.
        over: Whether the image shines through, in grey.
    """
    height, width = image.shape[:2]
    low, high = limits
    found = values.detach().float().cpu().numpy()
    if not over and found.size <= RECTANGLES:
        across, down = (
            np.linspace(-0.5, side - 0.5, count + 1)
            for side, count in zip((width, height), found.shape[::-1], strict=True)
        )
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal")
        # Edges of the areas' own colours close the gaps that viewers of PDF draw between areas.
        return ax.pcolormesh(
            across, down, found, cmap=cmap, vmin=low, vmax=high, edgecolors="face", linewidth=0.35, antialiased=False
        )
    if over:
        show_image(ax, image.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(image.dtype))
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    alpha = OPACITY if over else 1.0
    return ax.imshow(found, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest", alpha=alpha)


def limits_of(values: "Tensor") -> tuple[float, float]:
    """Ends of a colour map: the smallest and the largest value, and not so near to each other that noise fills it."""
    finite = values[values.isfinite()]
    if not finite.numel():
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    least = LEAST_SPAN * max(abs(low), abs(high)) or 1.0
    if high - low < least:
        middle = (low + high) / 2
        low, high = (0.0, least) if not low and not high else (middle - least / 2, middle + least / 2)
    return low, high


def flatness(values: "Tensor") -> str:
    """What must be said of a map in which nothing is to be seen: that it is flat, or has no numbers; else nothing."""
    if not bool(values.isfinite().all()):
        return "not finite"
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    return f"flat: {(low + high) / 2:.3g}" if high - low <= FLAT * largest else ""


def bar(
    figure: "Figure",
    shown: "ScalarMappable",
    axes: "Sequence[Axes]",
    *,
    beside: bool,
    style: Style,
    width: float = math.inf,
) -> None:
    """Draw a colour bar with its numbers, below axes of a width in inches or at their right."""
    low, high = shown.get_clim()
    opaque = colour_maps.ScalarMappable(shown.norm, shown.cmap)  # what is shown may let an image through
    tall = len({ax.get_subplotspec().rowspan.start for ax in axes}) if beside else 1  # type: ignore[union-attr]
    where = {"location": "right", "aspect": 14 * tall} if beside else {"location": "bottom", "aspect": 12}
    drawn = figure.colorbar(opaque, ax=list(axes), pad=0.02, shrink=0.9, **where)  # type: ignore[arg-type]
    ticks = [low, (low + high) / 2, high] if beside else [low, high]
    labels = [number(tick, high - low) for tick in ticks]
    for fewer in (10, 100):  # as few digits as must be to stand beside each other
        if sum(text_width(text, style.small) for text in labels) / 72 > width - GAP:
            labels = [number(tick, fewer * (high - low)) for tick in ticks]
    drawn.set_ticks(ticks, labels=labels)
    drawn.ax.tick_params(labelsize=style.small, labelcolor=INK, length=2)
    if not beside:
        first, last = drawn.ax.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    drawn.outline.set_visible(False)


def number(value: float, span: float) -> str:
    """A number with as many digits as a range of `span` needs."""
    if value and (abs(value) >= 1e4 or span < 1e-3):
        return f"{value:.1e}"
    digits = max(0, 2 - math.floor(math.log10(span))) if span > 0 else 2
    return f"{value:.{digits}f}"
