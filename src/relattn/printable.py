"""Makes text from elsewhere safe to show: without control characters, which steer terminals, and lone surrogates."""

import re

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters other than tabs and line ends, marks that change the direction of text, and lone surrogates, which
stand for bytes of a file name that are not UTF-8."""


def printable(text: object) -> str:
    """Write unprintable characters of a text as Python escapes them, ESC for example as `x1b` after a backslash."""
    return UNPRINTABLE.sub(lambda found: f"{found[0]!a}"[1:-1], str(text))


def in_one_line(text: object) -> str:
    """A printable text without line ends and tabs."""
    return " ".join(printable(text).split())
