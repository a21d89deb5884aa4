"""Shared parts of the figures: a grid of pictures, maps over or beside an image, and colour bars.

Colour maps are perceptually uniform and distinguishable for colour-blind readers: one for masks and weights, and one
that is white at 0 for signed values. Maps with few positions are drawn as rectangles, which stay sharp in a PDF at any
size.
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
"""Font size of notes, in points."""
SIDE = 1.65
"""Side of a square picture, in inches; other pictures have the same area."""
LEAST = 1.15
"""Minimum width of a picture, in inches, so that a title fits; not used if the width of the figure is chosen."""
NARROWEST = 0.3
"""Minimum width of a picture, in inches, if the width of the figure is chosen."""
AROUND, GAP = 0.9, 0.08
"""Inches next to all pictures of a line, for labels and bars, and between two pictures."""
GLYPH = 0.075
"""Width of a character, in inches, at the default font size."""
DPI = 160
"""Pixels per inch."""
MOST = 8
"""Maximum number of images in a figure."""
RECTANGLES = 1024
"""Maximum number of positions in a map that is drawn as rectangles; larger maps are drawn as pictures."""
OPACITY = 0.6
"""Opacity of a map over its image."""
LEAST_SPAN, FLAT = 0.05, 0.01
"""Minimum span of a colour map, and variation below which a map counts as flat, both relative to the largest value."""


def check_count(images: int) -> None:
    """Raise an InputError unless there are 1 to 8 images."""
    if not 1 <= images <= MOST:
        raise InputError(f"A figure shows 1 to {MOST} images, and {images} are given.")


class Grid:
    """A figure of rows and columns of pictures, whose rows may be split into blocks side by side.

    Attributes:
        figure: The figure.
        axes: `(rows, columns)` axes, without ticks and frames.
        style: Style of the figure.
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
        """Create the figure.

        Args:
            rows: Number of rows.
            columns: Number of columns.
            aspect: Width over height of a picture.
            title: The line above.
            style: Style of the figure.
            note: A paragraph below.
            lines: Lines of text next to the pictures of each row.
            side: Side of a square picture, in inches; other pictures have the same area.
            group: Number of rows of one image, which stay together.

        Raises:
            InputError: If pictures would be too narrow at the chosen width.
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
                    f"--width {full:g} is too narrow for the {across} pictures of a row: give at least {needed:g}, or "
                    "fewer networks, modules or --columns."
                )
            height = self.width / aspect
        characters = int(full / (GLYPH * style.scale))
        note = "" if style.bare else textwrap.fill(note, characters)
        title = "" if style.bare else textwrap.fill(title, int(characters * 0.78))
        text = (bool(note) + note.count("\n")) + (bool(title) + title.count("\n")) + below // group * group * lines
        high = below * (height + GAP) + 0.75 + 0.17 * style.scale * text
        self.filled = below * height / high  # the share of the figure's height that pictures have
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
        """Write a column's title above every block, wrapped if it is wider than its pictures."""
        wrapped = self.wrapped(text)
        for block in self.blocks:
            self.axes[block[0], column].set_title(wrapped, fontsize=self.style.size, color=INK, parse_math=False)

    def wrapped(self, text: str) -> str:
        """Wrap a text if it is wider than a picture."""
        return textwrap.fill(text, max(int(self.width / (GLYPH * self.style.scale)), 6))

    def label(self, row: int, text: str, column: int = 0) -> None:
        """Write a row's name to the left of one of its pictures."""
        self.axes[row, column].set_ylabel(text, fontsize=self.style.size, color=INK, parse_math=False)

    def below(self, row: int, column: int, *texts: str) -> None:
        """Write the non-empty texts below a picture, one per line."""
        text = "\n".join(self.wrapped(text) for text in texts if text)
        self.axes[row, column].set_xlabel(text, fontsize=self.style.small, color=FAINT, parse_math=False)

    def bar_below(self, column: int, shown: "ScalarMappable") -> None:
        """Draw the colour bar of a column below every block."""
        for block in self.blocks:
            axes = self.axes[block, column].tolist()
            bar(self.figure, shown, axes, beside=False, style=self.style, width=self.width)

    def bar_beside(self, axes: "Sequence[Axes]", shown: "ScalarMappable") -> None:
        """Draw a colour bar to the right of some pictures."""
        bar(self.figure, shown, axes, beside=True, style=self.style, shrink=min(self.filled, 0.9))


def bare(ax: "Axes") -> None:
    """Remove ticks and frame."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_image(ax: "Axes", pixels: Pixels) -> None:
    """Show an image `(H, W, 3)`."""
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
    """Show a map at the size of its image, each position as an area of one colour.

    Args:
        ax: Axes to draw on.
        values: `(h, w)`.
        limits: Values at the ends of the colour map.
        image: `(H, W, 3)`.
        cmap: Name of the colour map.
        over: Whether the image is visible behind the map, in grey.
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
        # Edges in the colours of the areas close the gaps that PDF viewers draw between areas.
        return ax.pcolormesh(
            across, down, found, cmap=cmap, vmin=low, vmax=high, edgecolors="face", linewidth=0.35, antialiased=False
        )
    if over:
        show_image(ax, image.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(image.dtype))
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    alpha = OPACITY if over else 1.0
    return ax.imshow(found, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest", alpha=alpha)


def limits_of(values: "Tensor") -> tuple[float, float]:
    """Ends of a colour map: the smallest and the largest value, kept far enough apart that noise does not fill it."""
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
    """Remark on a map that shows nothing: that it is flat, or contains NaN; empty for other maps."""
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
    shrink: float = 0.9,
) -> None:
    """Draw a colour bar with its numbers, below axes of a total width in inches or to their right.

    `shrink` is the share that the bar has of the width or height of the axes' places.
    """
    low, high = shown.get_clim()
    opaque = colour_maps.ScalarMappable(shown.norm, shown.cmap)  # the shown map may be partly transparent
    tall = len({ax.get_subplotspec().rowspan.start for ax in axes}) if beside else 1  # type: ignore[union-attr]
    where = {"location": "right", "aspect": 14 * tall} if beside else {"location": "bottom", "aspect": 12}
    drawn = figure.colorbar(opaque, ax=list(axes), pad=0.02, shrink=shrink, panchor=False, **where)  # type: ignore[arg-type]
    ticks = [low, (low + high) / 2, high] if beside else [low, high]
    labels = [number(tick, high - low) for tick in ticks]
    for fewer in (10, 100):  # as few digits as needed to fit next to each other
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
    """A number with as many digits as a range of `span` requires."""
    if value and (abs(value) >= 1e4 or span < 1e-3):
        return f"{value:.1e}"
    digits = max(0, 2 - math.floor(math.log10(span))) if span > 0 else 2
    return f"{value:.{digits}f}"
