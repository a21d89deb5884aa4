"""Read pickled data sets without running code from them.

CIFAR's batches and the packs of face verification are pickles, and a pickle may name any function to be called while it
is read. This unpickler admits containers, strings, numbers and NumPy arrays, and refuses everything else.
"""

import pickle
from pathlib import Path
from typing import Any

from relattn.errors import InputError, MissingFileError

ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),  # arrays from protocol 5 on, which Python 3.14 writes; refuses objects
    ("numpy._core.numeric", "_frombuffer"),
    ("builtins", "bytearray"),  # in protocols below 5
    ("__builtin__", "bytearray"),
    ("_codecs", "encode"),  # how Python 3 writes bytes in the protocol that Python 2 can read
}


class DataUnpickler(pickle.Unpickler):
    """An unpickler for data: arrays, lists, dicts, strings and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle asks for if it is data.

        Raises:
            pickle.UnpicklingError: If it is anything else.
        """
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return super().find_class(module, name)


def unpickle(path: Path, encoding: str = "latin1") -> Any:
    """Read a pickle of data.

    Args:
        path: The file.
        encoding: How strings of Python 2 are read; `"bytes"` keeps them as they are.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If the file is damaged, or holds anything but data.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    try:
        with path.open("rb") as file:
            return DataUnpickler(file, encoding=encoding).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(f"{path} cannot be read as pickled data: {error or type(error).__name__}.") from error
