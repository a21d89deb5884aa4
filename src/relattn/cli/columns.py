"""Names and descriptions in two columns that fit the terminal."""

import shutil
import textwrap
from collections.abc import Iterable

WIDEST = 100
"""Maximum width of text in columns; wider lines are hard to read."""


def width() -> int:
    """Width of text on this terminal in columns; without a terminal, `COLUMNS` or 80."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def table(entries: Iterable[tuple[str, str]], column: int = 27) -> str:
    """Format names and texts in two columns; a name that is too long for its column gets its own line.

    Args:
        entries: Pairs of a name and a text.
        column: Column in which the texts begin.
    """
    lines = []
    for name, text in entries:
        first = f"  {name}"
        said = textwrap.wrap(text, width() - column, break_on_hyphens=False) or [""]
        lines.append(first if len(first) >= column else f"{first:<{column}}{said.pop(0)}")
        lines += [f"{'':<{column}}{line}" for line in said]
    return "\n".join(line.rstrip() for line in lines)
