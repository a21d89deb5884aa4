"""The packages that ONNX needs, which not everybody has: the extra `export`."""

import importlib
from typing import Any

from relattn.errors import InputError


def required(name: str) -> Any:
    """Import a package of the extra.

    Raises:
        InputError: If it is not installed, with how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"ONNX needs the package {name}, which cannot be imported ({error}). Install what belongs to it with\n"
            '    pip install "relattn[export]"\n'
            "in a checkout with pip install -e .[export], or export with --format torch, which needs nothing more."
        ) from error
