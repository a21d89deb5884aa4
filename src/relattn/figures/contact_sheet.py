"""Contact sheets: each row has a query on the left and its nearest gallery images, with what is known about them.

A sheet contains a hundred images, for which matplotlib's layout would take many seconds. So positions are computed
here, and everything is drawn on a single axes that covers the figure and counts pixels from the upper left corner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from PIL import Image

from relattn.extras import Lazy
from relattn.figures.lettering import FONT, legible, shortened, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

mpl_figure = Lazy("matplotlib.figure", "suite")
mpl_lines = Lazy("matplotlib.lines", "suite")
patches = Lazy("matplotlib.patches", "suite")

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels; right and bottom are exclusive."""

SAME, OTHER, UNKNOWN, QUERY = "#1f9d57", "#b8201d", "#969ba3", "#30353e"
"""Colours of the frames; SAME and OTHER also differ in lightness, and by a check mark or a cross."""
PAPER, INK, FAINT, RULE, EMPTY = "#ffffff", "#1c1f24", "#646a73", "#dee1e5", "#f0f1f3"

DPI = 128
"""Pixels per inch; sizes in inches are exact because it is a power of two."""
HEIGHT = 240
"""Height of an image, in pixels."""
FRAME, MAT = 5, 2
"""Width of a frame, and of the white space between it and the image, in pixels."""
MARGIN, GAP, ASIDE = 36, 18, 42
"""Space around the sheet, between columns, and between the query and its results, in pixels."""
LEADING, TEXT, NOTE, TITLE = 19, 12, 13, 22
"""Line height and font sizes, in pixels."""
BADGE = 14
"""Diameter of a mark, in pixels."""
CAPTION = 2 * LEADING + 8
LEAST = 168
"""Minimum width of a column in pixels, so that a caption fits: `0002_c1s1_000451_03.jpg`."""
WIDEST = 1000
"""Maximum width in pixels of a title or note, unless the rows are wider; a longer one is shortened."""

STROKES = {
    True: [[(0.26, 0.53), (0.43, 0.7), (0.75, 0.33)]],
    False: [[(0.33, 0.33), (0.67, 0.67)], [(0.33, 0.67), (0.67, 0.33)]],
    None: [[(0.28, 0.5), (0.72, 0.5)]],
}
"""Lines of a mark, as fractions of its diameter: a check mark (same identity), a cross (another), a dash (unknown)."""


@dataclass(frozen=True)
class Tile:
    """An image with its caption."""

    image: Image.Image | None
    """The image; None shows a grey area instead."""
    name: str
    """Caption, shortened in the middle if it is too long."""
    note: str = ""
    """A second line."""
    same: bool | None = None
    """Whether it shows the query's identity; None if unknown, and for queries."""


@dataclass(frozen=True)
class Row:
    """A query and its results, nearest first."""

    query: Tile
    results: Sequence[Tile] = field(default_factory=tuple)


@dataclass(frozen=True)
class Layout:
    """Positions of everything on a sheet.

    Results that do not fit next to their query continue below the first ones.
    """

    lines: Sequence[int]
    """Number of lines of results in each row, at least 1."""
    columns: int
    """Number of results in a line."""
    size: tuple[int, int]
    """Height and width of an image, in pixels."""
    top: int
    """Top of the first row, below the header."""

    @property
    def column(self) -> int:
        """Width of a column."""
        return max(self.size[1] + 2 * (FRAME + MAT), LEAST)

    @property
    def line(self) -> int:
        """Height of a line: the frame and its caption."""
        return self.size[0] + 2 * (FRAME + MAT) + CAPTION

    @property
    def width(self) -> int:
        """Width of the rows, including the margins."""
        return 2 * MARGIN + self.column + ASIDE + self.columns * (self.column + GAP) - GAP

    @property
    def height(self) -> int:
        """Height of the sheet."""
        return self.row_top(len(self.lines)) + MARGIN - 2 * GAP

    def row_top(self, row: int) -> int:
        """Top of a row; for an index equal to the number of rows, the end of the last row."""
        return self.top + sum(count * (self.line + GAP) + GAP for count in self.lines[:row])

    def query(self, row: int) -> Box:
        """The frame of a row's query, including the frame's width."""
        return self.frame(MARGIN, self.row_top(row))

    def result(self, row: int, index: int) -> Box:
        """The frame of a row's result, by index from 0."""
        line, column = divmod(index, self.columns)
        left = MARGIN + self.column + ASIDE + column * (self.column + GAP)
        return self.frame(left, self.row_top(row) + line * (self.line + GAP))

    def frame(self, left: int, top: int) -> Box:
        """The frame at the left of a column."""
        height, width = (side + 2 * (FRAME + MAT) for side in self.size)
        return left, top, left + width, top + height


def contact_sheet(
    rows: Sequence[Row],
    *,
    title: str,
    note: str = "",
    columns: int = 10,
    aspect: float | None = None,
) -> "Figure":
    """Draw queries with their results.

    Args:
        rows: Queries from top to bottom.
        title: The first line of the sheet.
        note: A line below it.
        columns: Number of results in a line.
        aspect: Width over height of the area that each image is fitted into; by default the median of the images.

    Returns:
        A figure with 128 pixels per inch, on white.
    """
    positions = layout(rows, columns, aspect)
    known = all(tile.same is not None for row in rows for tile in row.results)
    key = [("query", QUERY, None), ("same identity", SAME, True), ("another identity", OTHER, False)]
    key += [] if known else [("identity not known", UNKNOWN, None)]
    steps = [24 + math.ceil(text_width(text, TEXT)) + 20 for text, *_ in key]
    header = max(
        sum(steps), *(math.ceil(text_width(legible(text), size)) for text, size in ((title, TITLE), (note, NOTE)))
    )
    width = max(positions.width, 2 * MARGIN + min(header, WIDEST))
    ax = blank(width, positions.height)
    across = width - 2 * MARGIN
    write(ax, MARGIN, MARGIN + 20, shortened(title, across, TITLE), size=TITLE)
    write(ax, MARGIN, MARGIN + 46, shortened(note, across, NOTE), size=NOTE, colour=FAINT)
    left, middle = MARGIN, MARGIN + 68
    for (text, colour, same), step in zip(key, steps, strict=True):
        if colour == QUERY:
            fill(ax, (left, middle - 8, left + 16, middle + 8), colour)
            fill(ax, (left + 3, middle - 5, left + 13, middle + 5), PAPER)
        else:
            mark(ax, left + 1, middle - BADGE // 2, same)
        write(ax, left + 24, middle + 4, text)
        left += step
    for number, row in enumerate(rows):
        if number:
            edge = positions.row_top(number) - GAP
            fill(ax, (MARGIN, edge, width - MARGIN, edge + 1), RULE)
        draw_tile(ax, positions.query(number), positions.column, row.query, QUERY)
        for index, tile in enumerate(row.results):
            colour = UNKNOWN if tile.same is None else SAME if tile.same else OTHER
            draw_tile(ax, positions.result(number, index), positions.column, tile, colour, marked=True)
        if not row.results:
            left, top, _, bottom = positions.result(number, 0)
            write(ax, left, (top + bottom) // 2, "no gallery image is left", colour=FAINT)
    return ax.get_figure()  # type: ignore[return-value]


def layout(rows: Sequence[Row], columns: int = 10, aspect: float | None = None) -> Layout:
    """Positions of what `contact_sheet` draws with the same arguments."""
    images = [tile.image for row in rows for tile in (row.query, *row.results) if tile.image is not None]
    if aspect is None:
        aspect = median(image.width / image.height for image in images) if images else 0.5
    aspect = min(max(aspect, 0.3), 2.0)
    longest = max((len(row.results) for row in rows), default=0)
    lines = [max(1, -(-len(row.results) // columns)) for row in rows]
    return Layout(lines, max(1, min(columns, longest)), (HEIGHT, round(HEIGHT * aspect)), MARGIN + 100)


def blank(width: int, height: int) -> "Axes":
    """Axes that cover a figure of this size and count pixels from the upper left corner."""
    figure = mpl_figure.Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return ax


def draw_tile(ax: "Axes", box: Box, column: int, tile: Tile, colour: str, *, marked: bool = False) -> None:
    """Draw an image in its frame, with its caption below it.

    Args:
        ax: Axes from `blank`.
        box: The frame, including its width.
        column: Width of the column.
        tile: The image and caption to draw.
        colour: Colour of the frame.
        marked: Whether a mark next to the note repeats the meaning of the frame's colour.
    """
    left, top, right, bottom = box
    inset = FRAME + MAT
    inside = (left + inset, top + inset, right - inset, bottom - inset)
    fill(ax, box, colour)
    fill(ax, (left + FRAME, top + FRAME, right - FRAME, bottom - FRAME), PAPER)
    fill(ax, inside, EMPTY)
    if tile.image is None:
        write(ax, (left + right) // 2, (top + bottom) // 2, "no image", colour=FAINT, align="center")
    else:
        paste(ax, inside, tile.image)
    first = bottom + 8 + LEADING * 3 // 4
    write(ax, left, first, shortened(tile.name, column, TEXT))
    indent = BADGE + 6 if marked else 0
    if marked:
        mark(ax, left, first + LEADING - 11, tile.same)
    write(ax, left + indent, first + LEADING, shortened(tile.note, column - indent, TEXT), colour=FAINT)


def paste(ax: "Axes", box: Box, image: Image.Image) -> None:
    """Show an image in the middle of a box, as large as it fits."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    left, top = box[0] + (width - size[0]) // 2, box[1] + (height - size[1]) // 2
    shown = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    extent = (left, left + size[0], top + size[1], top)
    # It already has its final size, so matplotlib neither resamples it nor merges it with others in a PDF.
    ax.imshow(shown, extent=extent, origin="upper", aspect="auto", interpolation="none", zorder=1.5)  # above areas


def fill(ax: "Axes", box: Box, colour: str) -> None:
    """Draw an area."""
    left, top, right, bottom = box
    ax.add_artist(patches.Rectangle((left, top), right - left, bottom - top, facecolor=colour, linewidth=0))


def mark(ax: "Axes", left: int, top: int, same: bool | None) -> None:
    """Draw a disc with a check mark (same), a cross (not the same) or a dash (unknown)."""
    colour = UNKNOWN if same is None else SAME if same else OTHER
    ax.add_artist(patches.Circle((left + BADGE / 2, top + BADGE / 2), BADGE / 2, facecolor=colour, linewidth=0))
    for stroke in STROKES[same]:
        xs, ys = [left + x * BADGE for x, _ in stroke], [top + y * BADGE for _, y in stroke]
        ax.add_artist(mpl_lines.Line2D(xs, ys, color=PAPER, linewidth=0.13 * BADGE * 72 / DPI))


def write(
    ax: "Axes", x: int, baseline: int, text: str, *, size: int = TEXT, colour: str = INK, align: str = "left"
) -> None:
    """Write a line of text literally: a `$` in a file name does not start a formula."""
    ax.text(
        x, baseline, text, fontsize=size * 72 / DPI, color=colour, ha=align, va="baseline", family=FONT,
        parse_math=False,
    )  # fmt: skip
