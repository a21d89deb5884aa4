"""Packages that belong to an extra of the distribution, imported when they are needed."""

import importlib
from typing import Any

from relattn.errors import InputError


def required(module: str, extra: str) -> Any:
    """Import a module of an extra.

    Args:
        module: Its name, for example `scipy.sparse`.
        extra: The extra that it belongs to.

    Raises:
        InputError: If it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"This needs the package {package}, which cannot be imported ({error}). It belongs to the extra {extra!r}: "
            f"in the clone of the repository, pip install '.[{extra}]'."
        ) from error


class Lazy:
    """A module of an extra that is imported on the first access to an attribute, so that importing it needs no extra.

    Example:
        >>> cv2 = Lazy("cv2", "suite")
        >>> cv2.resize  # imported here, or an InputError that names the extra
    """

    def __init__(self, module: str, extra: str) -> None:
        """Keep the names; as in `required`."""
        self._module, self._extra = module, extra

    def __getattr__(self, name: str) -> Any:
        """Something in the module, which is looked up once."""
        if name.startswith("__"):  # what tools ask of any object
            raise AttributeError(name)
        value = getattr(required(self._module, self._extra), name)
        setattr(self, name, value)
        return value
