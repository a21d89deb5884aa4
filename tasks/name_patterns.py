"""Who is on an image by its path: the patterns that `relattn embed --pattern` and `--data PeopleFolders` take."""

import posixpath
import re
from collections.abc import Callable, Mapping

from relattn.errors import InputError, suggest


def label_reader(
    pattern: str, patterns: Mapping[str, str], option: str = "--pattern"
) -> Callable[[str], tuple[str, str]]:
    """A function that reads identity and camera from an image's relative path; empty texts where it has none.

    Args:
        pattern: One of `patterns` by its name, which the file's whole name must fit, and where numbers are identities
            and cameras, the latter counted from 1; `none` for no labels; or a regular expression, sought in the
            relative path, with the group `identity` and, if there is one, `camera`.
        patterns: Regular expressions by their names.
        option: How messages call the pattern.

    Raises:
        InputError: If the expression cannot be read, or lacks the group.
    """
    if pattern == "none":
        return lambda path: ("", "")
    if pattern in patterns:
        named = re.compile(patterns[pattern])

        def numbered(path: str) -> tuple[str, str]:
            match = named.fullmatch(posixpath.basename(path))
            return (str(int(match["identity"])), str(int(match["camera"]) - 1)) if match else ("", "")

        return numbered
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:  # of numbers and nesting without measure
        raise InputError(f"{option} {pattern!r} is no regular expression: {error}.") from error
    if "identity" not in expression.groupindex:
        names = [*patterns, "none"]
        raise InputError(
            f"{option} {pattern!r} is none of {', '.join(names)}, and as a regular expression it has no group "
            f"identity: write for example '(?P<identity>[^/]+)/[^/]*$'. {suggest(pattern, names)}"
        )

    def searched(path: str) -> tuple[str, str]:
        groups = match.groupdict() if (match := expression.search(path)) else {}
        return groups.get("identity") or "", groups.get("camera") or ""

    return searched
