"""Contact sheets: a query at the left of its row, and the nearest gallery images with what is known of them."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels; right and bottom are outside."""

SAME, OTHER, UNKNOWN, QUERY = (24, 138, 72), (200, 45, 42), (150, 155, 163), (48, 53, 62)
"""Colours of the frames; SAME and OTHER differ in lightness too, and a check mark or a cross says it again."""
PAPER, INK, FAINT, RULE, EMPTY = (255, 255, 255), (28, 31, 36), (100, 106, 115), (222, 225, 229), (240, 241, 243)

HEIGHT = 240
"""Height of an image, in pixels."""
FRAME, MAT = 5, 2
"""Widths of a frame, and of the white between it and the image."""
MARGIN, GAP, ASIDE = 36, 18, 42
"""Around the sheet, between columns, and between the query and its results."""
LEADING, TEXT, TITLE = 18, 12, 23
"""Height of a line, and sizes of fonts."""
CAPTION = 2 * LEADING + 8
LEAST = 152
"""Least width of a column, which a caption needs: `0002_c1s1_000451_03.jpg`."""
WIDEST = 1000
"""A note that is longer is shortened, unless the rows are as wide."""
SAMPLES = 4
"""Marks are drawn so many times as large, and made smaller: lines alone have ragged edges."""


@dataclass(frozen=True)
class Tile:
    """An image with what is written below it."""

    image: Image.Image | None
    """None where there is none to show; a grey area stands for it."""
    name: str
    """Shortened in the middle if it is too long."""
    note: str = ""
    """A second line."""
    same: bool | None = None
    """Whether it shows the query's identity; None where that is not known, and for queries."""


@dataclass(frozen=True)
class Row:
    """A query and its results, nearest first."""

    query: Tile
    results: Sequence[Tile] = field(default_factory=tuple)


@dataclass(frozen=True)
class Layout:
    """Where everything is on a sheet.

    Results that do not fit beside their query go on below the first ones.
    """

    lines: Sequence[int]
    """Lines of results of each row, at least 1."""
    columns: int
    """Results in a line."""
    size: tuple[int, int]
    """Height and width of an image, in pixels."""
    top: int
    """Where the rows begin, below the header."""

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
        """Width of the rows, with the margins."""
        return 2 * MARGIN + self.column + ASIDE + self.columns * (self.column + GAP) - GAP

    def row_top(self, row: int) -> int:
        """Upper edge of a row; for the number of rows, the lower edge of the sheet."""
        return self.top + sum(count * (self.line + GAP) + GAP for count in self.lines[:row])

    def query(self, row: int) -> Box:
        """The frame of a row's query, its width included."""
        return self.frame(MARGIN, self.row_top(row))

    def result(self, row: int, place: int) -> Box:
        """The frame of a row's result, counted from 0."""
        line, column = divmod(place, self.columns)
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
) -> Image.Image:
    """Draw queries with their results.

    Args:
        rows: Queries from top to bottom.
        title: The first line of the sheet.
        note: A line below it.
        columns: Results in a line.
        aspect: Width over height of the area that each image is fitted into; by default the images' median.

    Returns:
        An RGB image, on white.
    """
    place = layout(rows, columns, aspect)
    key = [("query", QUERY, None), ("same identity", SAME, True), ("another identity", OTHER, False)]
    if any(tile.same is None for row in rows for tile in row.results):
        key.append(("identity not known", UNKNOWN, None))
    key_width = sum(30 + round(font(TEXT).getlength(text)) + 20 for text, *_ in key)
    header = max(key_width, *(round(font(size).getlength(text)) for text, size in ((title, TITLE), (note, TEXT + 1))))
    width = max(place.width, 2 * MARGIN + min(header, WIDEST))
    sheet = Image.new("RGB", (width, place.row_top(len(rows)) + MARGIN - 2 * GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN + 20), legible(title), INK, font(TITLE), anchor="ls")
    draw.text((MARGIN, MARGIN + 46), shortened(note, width - 2 * MARGIN, TEXT + 1), FAINT, font(TEXT + 1), anchor="ls")
    left, middle = MARGIN, MARGIN + 68
    for text, colour, same in key:
        if text == "query":
            draw.rectangle((left, middle - 8, left + 15, middle + 7), outline=colour, width=3)
        else:
            sheet.paste(mark(same, 16), (left, middle - 8))
        draw.text((left + 24, middle), text, INK, font(TEXT), anchor="lm")
        left += 44 + round(font(TEXT).getlength(text))
    for number, row in enumerate(rows):
        if number:
            edge = place.row_top(number) - GAP
            draw.line((MARGIN, edge, width - MARGIN - 1, edge), RULE)
        draw_tile(sheet, place.query(number), place.column, row.query, QUERY)
        for index, tile in enumerate(row.results):
            colour = UNKNOWN if tile.same is None else SAME if tile.same else OTHER
            draw_tile(sheet, place.result(number, index), place.column, tile, colour, marked=True)
        if not row.results:
            box = place.result(number, 0)
            draw.text((box[0], (box[1] + box[3]) // 2), "no gallery image is left", FAINT, font(TEXT), anchor="lm")
    return sheet


def layout(rows: Sequence[Row], columns: int = 10, aspect: float | None = None) -> Layout:
    """Where `contact_sheet` puts everything, for the same arguments."""
    images = [tile.image for row in rows for tile in (row.query, *row.results) if tile.image is not None]
    if aspect is None:
        aspect = median(image.width / image.height for image in images) if images else 0.5
    aspect = min(max(aspect, 0.3), 2.0)
    longest = max((len(row.results) for row in rows), default=0)
    lines = [max(1, -(-len(row.results) // columns)) for row in rows]
    return Layout(lines, max(1, min(columns, longest)), (HEIGHT, round(HEIGHT * aspect)), MARGIN + 100)


def draw_tile(sheet: Image.Image, box: Box, column: int, tile: Tile, colour: Colour, *, marked: bool = False) -> None:
    """Draw an image in its frame, with its caption below it.

    Args:
        sheet: Where to draw.
        box: The frame, its width included.
        column: Width of the column.
        tile: What to draw.
        colour: Of the frame.
        marked: Whether a mark beside the note says what the frame's colour does.
    """
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = box
    draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=FRAME)
    inset = FRAME + MAT
    area = (right - left - 2 * inset, bottom - top - 2 * inset)
    draw.rectangle((left + inset, top + inset, right - inset - 1, bottom - inset - 1), fill=EMPTY)
    if tile.image is None:
        draw.text(((left + right) // 2, (top + bottom) // 2), "no image", FAINT, font(TEXT), anchor="mm")
    else:
        scale = min(area[0] / tile.image.width, area[1] / tile.image.height)
        size = (max(1, round(tile.image.width * scale)), max(1, round(tile.image.height * scale)))
        shown = tile.image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        sheet.paste(shown, (left + inset + (area[0] - size[0]) // 2, top + inset + (area[1] - size[1]) // 2))
    first = bottom + 8 + LEADING // 2
    draw.text((left, first), shortened(tile.name, column, TEXT), INK, font(TEXT), anchor="lm")
    badge = 20 if marked else 0
    if marked:
        sheet.paste(mark(tile.same, 14), (left, first + LEADING - 7))
    draw.text(
        (left + badge, first + LEADING), shortened(tile.note, column - badge, TEXT), FAINT, font(TEXT), anchor="lm"
    )


@lru_cache
def mark(same: bool | None, size: int) -> Image.Image:
    """A disc with a check mark (same), a cross (not the same) or a dash (not known), `size` pixels wide, on white."""
    colour = UNKNOWN if same is None else SAME if same else OTHER
    side = size * SAMPLES
    large = Image.new("RGB", (side, side), PAPER)
    draw = ImageDraw.Draw(large)
    draw.ellipse((0, 0, side - 1, side - 1), fill=colour)
    strokes = [[(0.28, 0.5), (0.72, 0.5)]]
    if same is not None:
        strokes = [[(0.33, 0.33), (0.67, 0.67)], [(0.33, 0.67), (0.67, 0.33)]]
    if same:
        strokes = [[(0.26, 0.53), (0.43, 0.7), (0.75, 0.33)]]
    for stroke in strokes:
        draw.line([(x * side, y * side) for x, y in stroke], PAPER, width=round(side * 0.13), joint="curve")
    return large.resize((size, size), Image.Resampling.LANCZOS)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which is on every machine."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def has_glyph(character: str) -> bool:
    """Whether the font can draw a character."""
    missing, drawn = (font(TEXT).getmask(text) for text in ("\uffff", character))
    return missing.size != drawn.size or bytes(missing) != bytes(drawn)


def legible(text: str) -> str:
    """The text in characters that the font has: letters without their accents, and `?` where that does not help."""
    plain = []
    for character in text:
        base = character if has_glyph(character) else unicodedata.normalize("NFKD", character)[0]
        plain.append(base if has_glyph(base) else "?")
    return "".join(plain)


def shortened(text: str, width: int, size: int) -> str:
    """The text, its middle replaced by an ellipsis if it is wider than `width` pixels in the font of `size`."""
    text = legible(text)
    if font(size).getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        candidate = f"{text[: kept // 2]}…{text[len(text) - (kept + 1) // 2 :]}"
        if font(size).getlength(candidate) <= width:
            return candidate
    return "…"
