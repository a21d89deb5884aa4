"""Reads untrusted YAML as plain data of bounded size, because a short text can grow without limit by references."""

from typing import Any

import yaml

from relattn.errors import InputError

LONGEST = 2**20
"""Maximum number of characters in a configuration; those of the suite have about 10,000."""

MOST = 100_000
"""Maximum number of values in a configuration, counting each as often as it is referred to."""


MOST_BRACKETS = 5_000
"""Maximum number of lists and dictionaries in brackets; reading time grows with the square of their depth."""


class TooLargeError(InputError):
    """A configuration exceeds a size limit."""


def plain_yaml(text: str) -> Any:
    """Read YAML.

    Raises:
        TooLargeError: If it exceeds a size limit.
        InputError: If it is not valid YAML.
    """
    if len(text) > LONGEST or text.count("[") + text.count("{") > MOST_BRACKETS:
        raise TooLargeError(f"it has {len(text):,} characters, and configurations have at most {LONGEST:,}.")
    try:
        content = yaml.safe_load(text)
        left = MOST - count(content, MOST)
    except RecursionError as error:
        raise TooLargeError("it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:  # the latter from invalid dates and keys
        raise InputError(" ".join(str(error).split())) from error
    if left < 0:
        raise TooLargeError(f"it has more than {MOST:,} values.")
    return content


def count(value: Any, most: int) -> int:
    """The number of values in a value, including itself; if it exceeds `most`, any number above `most`."""
    number = 1
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | set) else ()
    for part in parts:
        number += count(part, most - number)
        if number > most:
            break
    return number
