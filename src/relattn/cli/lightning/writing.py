"""A parsed configuration in a form that a file can hold, including values that jsonargparse reads but cannot write."""

import inspect
from enum import Enum
from typing import Any

from jsonargparse import Namespace

from relattn.cli.lightning.recipes import imported
from relattn.errors import InputError

OBJECT = "Unable to serialize instance"
"""Placeholder that jsonargparse writes in place of an object."""

PLAIN = (str, int, float, bool)


def with_plain_texts(config: Any) -> Any:
    """A copy of a configuration with plain texts in place of enumeration members, which YAML does not support."""
    if isinstance(config, Namespace):
        copy = Namespace()
        for name, value in vars(config).items():
            setattr(copy, name, with_plain_texts(value))
        return copy
    if isinstance(config, list):
        return [with_plain_texts(one) for one in config]
    return str(config.value) if isinstance(config, Enum) and isinstance(config, str) else config


def written(content: Any, config: Any, option: str = "", kind: type | None = None) -> Any:
    """The configuration as written by jsonargparse, without its placeholders for objects.

    A text that jsonargparse takes for an object is written as it is. An object that is the default of its argument is
    left out, because it is the default wherever the file is read.

    Args:
        content: The output of jsonargparse.
        config: The configuration.
        option: Name of the option, for messages.
        kind: The class whose arguments these are.

    Raises:
        InputError: If an object is not a default.
    """
    if isinstance(content, list) and isinstance(config, list):
        return [written(*pair, option) for pair in zip(content, config, strict=True)]
    if not isinstance(content, dict) or not isinstance(config, Namespace):
        return content
    inner = imported(str(content.get("class_path")))
    kept = {}
    for name, text in content.items():
        value = config.get(name)
        below = option if name == "init_args" else f"{option}.{name}".lstrip(".")
        if not (isinstance(text, str) and text.startswith(OBJECT)):
            kept[name] = written(text, value, below, inner if name == "init_args" else None)
        elif isinstance(value, PLAIN):
            kept[name] = value
        elif not is_default(kind, name, value):
            raise InputError(
                f"--{below} is {value!r}, which no configuration can hold: give it as text or a class path."
            )
    return kept


def is_default(kind: type | None, name: str, value: Any) -> bool:
    """Whether a value is the default of an argument, as if it were not given."""
    for base in kind.__mro__ if kind is not None else ():
        parameter = inspect.signature(base).parameters.get(name) if "__init__" in vars(base) else None
        if parameter is not None:
            return bool(parameter.default == value)
    return False
