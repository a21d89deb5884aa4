"""Names and what they are, in two columns that fit the terminal."""

import shutil
import textwrap
from collections.abc import Iterable

WIDEST = 100
"""Columns of the widest text; a wider terminal has more room than eyes like."""


def width() -> int:
    """Columns of text on this terminal; where there is none `COLUMNS`, or 80."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def table(entries: Iterable[tuple[str, str]], column: int = 27) -> str:
    """Names and texts in two columns; a name that is too long for its column has a line of its own.

    Args:
        entries: Both.
        column: Where the texts begin.
    """
    lines = []
    for name, text in entries:
        first = f"  {name}"
        said = textwrap.wrap(text, width() - column, break_on_hyphens=False) or [""]
        lines.append(first if len(first) >= column else f"{first:<{column}}{said.pop(0)}")
        lines += [f"{'':<{column}}{line}" for line in said]
    return "\n".join(line.rstrip() for line in lines)
