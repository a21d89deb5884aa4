"""Text of somebody else's, as it may be shown: no control characters, which steer terminals, and no lone surrogates."""

import re

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tabs and line ends, marks that turn the direction of text, and halves of characters, which
stand for bytes of a file's name that are not UTF-8."""


def printable(text: object) -> str:
    """A text in which such characters are written as Python writes them, that of ESC as `x1b` with a backslash."""
    return UNPRINTABLE.sub(lambda found: f"{found[0]!a}"[1:-1], str(text))


def in_one_line(text: object) -> str:
    """A printable text without line ends and tabs."""
    return " ".join(printable(text).split())
