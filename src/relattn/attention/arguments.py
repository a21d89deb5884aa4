"""Checks of the arguments of attention modules. Every error names the module, the argument, its value and the fix."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

from relattn.errors import InputError


def check_whole(module: str, name: str, value: Any) -> None:
    """Raise an InputError unless `value` is a whole number of at least 1."""
    if not is_whole(value) or value < 1:
        raise InputError(f"{module}: {name} is {value!r}, expected a whole number of at least 1.")


def check_odd(module: str, name: str, value: Any, least: int = 1) -> None:
    """Raise an InputError unless `value` is an odd number of at least `least`: the side of a centred window."""
    if not is_whole(value) or value < least or value % 2 == 0:
        examples = ", ".join(str(odd) for odd in (1, 3, 5, 7) if odd >= least)
        raise InputError(f"{module}: {name} is {value!r}, expected an odd number of at least {least}: {examples}, ...")


def check_flag(module: str, name: str, value: Any) -> None:
    """Raise an InputError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{module}: {name} is {value!r}, expected True or False.")


def check_choice(module: str, name: str, value: Any, known: Sequence[str]) -> None:
    """Raise an InputError unless `value` is one of the known names."""
    if value not in known:
        raise InputError(f"{module}: {name} is {value!r}, expected one of {', '.join(known)}.")


def check_idle(module: str, name: str, value: Any, default: Any, why: str) -> None:
    """Raise an InputError if an argument that has no effect here is set to anything but its default.

    Args:
        module: Name of the module.
        name: Name of the argument.
        value: Its value.
        default: The value it has if it is left out.
        why: Why it has no effect, as the end of a sentence.
    """
    if value != default:
        raise InputError(f"{module}: {name} is {value!r}, but has no effect {why}: leave it out.")


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number; True and False are not."""
    return isinstance(value, SupportsIndex) and not isinstance(value, bool)
