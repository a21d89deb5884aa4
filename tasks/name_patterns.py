"""Identity and camera of an image by its path: patterns of `relattn embed --pattern` and `--data PeopleFolders`."""

import posixpath
import re
from collections.abc import Callable, Mapping

from relattn.errors import InputError, suggest


def label_reader(
    pattern: str, patterns: Mapping[str, str], option: str = "--pattern"
) -> Callable[[str], tuple[str, str]]:
    """Build a function that reads identity and camera from an image's relative path; empty strings for none.

    Args:
        pattern: The name of one of `patterns`, which the whole file name must match and whose groups are numbers;
            `none` for no labels; or a regular expression searched for in the relative path,
            with the group `identity` and optionally `camera`.
        patterns: Regular expressions by name.
        option: Name of the option in messages.

    Raises:
        InputError: If the expression cannot be read, or lacks the group.
    """
    if pattern == "none":
        return lambda path: ("", "")
    if pattern in patterns:
        named = re.compile(patterns[pattern])

        def numbered(path: str) -> tuple[str, str]:
            match = named.fullmatch(posixpath.basename(path))
            return (str(int(match["identity"])), str(int(match["camera"]))) if match else ("", "")

        return numbered
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:  # excessive numbers or nesting
        raise InputError(f"{option} {pattern!r} is not a regular expression: {error}.") from error
    if "identity" not in expression.groupindex:
        names = [*patterns, "none"]
        raise InputError(
            f"{option} {pattern!r} is none of {', '.join(names)}, and as a regular expression it has no group "
            f"identity: write for example '(?P<identity>[^/]+)/[^/]*$'. {suggest(pattern, names)}"
        )

    def searched(path: str) -> tuple[str, str]:
        match = expression.search(path)
        groups = match.groupdict() if match else {}
        if match and (groups["identity"] or "").isdigit() and path[: match.start("identity")].endswith("-"):
            raise InputError(
                f"{option} {pattern!r} reads identity {groups['identity']} from {path}, and the - before it may mean "
                "no one: begin the group with -?, as in (?P<identity>-?[0-9]+), or write the - before the group."
            )
        return groups.get("identity") or "", groups.get("camera") or ""

    return searched
