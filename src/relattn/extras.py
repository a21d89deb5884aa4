"""Packages that belong to an extra of the distribution, imported when they are needed."""

import importlib
from typing import Any

from relattn.errors import InputError


def required(module: str, extra: str) -> Any:
    """Import a module of an extra.

    Raises:
        InputError: If it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"This needs the package {package}, which cannot be imported ({error}). It belongs to the extra {extra!r}: "
            f"pip install 'relattn[{extra}]', or in a checkout pip install -e '.[{extra}]'."
        ) from error
