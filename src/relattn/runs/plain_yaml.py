"""YAML of somebody else's as plain data of bounded size: by references to itself a short text can grow without end."""

from typing import Any

import yaml

from relattn.errors import InputError

LONGEST = 2**20
"""Characters of a configuration, at most; those of the suite have some 10,000."""

MOST = 100_000
"""Values of a configuration, each counted as often as it is referred to."""


MOST_BRACKETS = 5_000
"""Lists and dictionaries in brackets; reading takes time as their depth squared."""


class TooLargeError(InputError):
    """A configuration is larger than configurations are."""


def plain_yaml(text: str) -> Any:
    """Read YAML.

    Raises:
        TooLargeError: If it is larger than configurations are.
        InputError: If it is no YAML.
    """
    if len(text) > LONGEST or text.count("[") + text.count("{") > MOST_BRACKETS:
        raise TooLargeError(f"it has {len(text):,} characters, and configurations have at most {LONGEST:,}.")
    try:
        content = yaml.safe_load(text)
        left = MOST - count(content, MOST)
    except RecursionError as error:
        raise TooLargeError("it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:  # of dates and keys that are none
        raise InputError(" ".join(str(error).split())) from error
    if left < 0:
        raise TooLargeError(f"it has more than {MOST:,} values.")
    return content


def count(value: Any, most: int) -> int:
    """The number of values in a value, itself among them; where it is above `most`, any number above that."""
    number = 1
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | set) else ()
    for part in parts:
        number += count(part, most - number)
        if number > most:
            break
    return number
