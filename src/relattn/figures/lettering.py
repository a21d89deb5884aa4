"""Text of figures with limited space: measured, shortened in the middle, in characters that the font has."""

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from relattn.extras import required

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

FONT = "DejaVu Sans"
"""The font that comes with matplotlib and is always available: Latin, Greek, Cyrillic, Arabic, symbols, no Chinese."""


def text_width(text: str, size: float) -> float:
    """Width of a line of text in a font of `size`, in the unit of `size`."""
    font = loaded()
    font.set_size(size, 72)
    font.set_text(text)
    return font.get_width_height()[0] / 64


def legible(text: str) -> str:
    """The text in characters that the font has: letters without their accents, or else `?`."""
    plain = []
    for character in unicodedata.normalize("NFC", text):
        base = character if has_glyph(character) else unicodedata.normalize("NFKD", character)[0]
        plain.append(base if has_glyph(base) else "?")
    return "".join(plain)


def shortened(text: str, width: float, size: float) -> str:
    """The text, with its middle replaced by an ellipsis if it is wider than `width`, given in the unit of `size`."""
    text = legible(text)
    if text_width(text, size) <= width:
        return text
    fits, too_many = 0, len(text)  # numbers of characters besides the ellipsis
    while too_many - fits > 1:
        kept = (fits + too_many) // 2
        if text_width(without_middle(text, kept), size) <= width:
            fits = kept
        else:
            too_many = kept
    return without_middle(text, fits)


def without_middle(text: str, kept: int) -> str:
    """The first and last characters of a text, `kept` in all, around an ellipsis."""
    return f"{text[: kept // 2]}…{text[len(text) - (kept + 1) // 2 :]}"


@cache
def has_glyph(character: str) -> bool:
    """Whether the font can draw a character."""
    return character.isprintable() and loaded().get_char_index(ord(character)) != 0


def loaded() -> "FT2Font":
    """The font; matplotlib needs one per thread."""
    manager = required("matplotlib.font_manager", "suite")
    font: FT2Font = manager.get_font(manager.findfont(FONT))
    return font
