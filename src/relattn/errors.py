"""Errors whose message is meant for the person at the keyboard; the command line prints them without a traceback."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong; the message names the thing, the value and the fix."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that the user named, or a data set needs, is not there."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Name the closest of the `known` names, or some of them where none is close."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=4, cutoff=0.5)
    if close:
        return f"Closest: {', '.join(close)}."
    return f"Known: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."


def some_of(items: Iterable[object], named: int = 5, *, between: str = ", ") -> str:
    """Name the first items and say how many more there are, as in `a, b and 1,200 more`; `nothing` if there are none.

    Args:
        items: The items.
        named: Number of items to name.
        between: Separator of the items, for example a line end; without its comma it also precedes the number.
    """
    listed = list(map(str, items))
    more = f"{between.lstrip(',')}and {len(listed) - named:,} more" if len(listed) > named else ""
    return between.join(listed[:named]) + more or "nothing"
