"""Read untrusted NumPy files (`.npy`, `.npz`) safely: check type and shape first, then use only the bytes present.

`numpy.load` evaluates the header as Python and allocates whatever it requests. Here the header must match the pattern
of a numeric array, and an array is never larger than the bytes that the file holds for it.
"""

import lzma
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 10_000
"""Maximum length of a header in bytes; NumPy has the same limit."""

KEYS = {
    "descr": re.compile(r"""['"]descr['"]\s*:\s*['"]([<>=|][fiub]\d{1,2})['"]\s*,?"""),
    "fortran_order": re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)\s*,?"""),
    "shape": re.compile(r"""['"]shape['"]\s*:\s*\(\s*((?:\d{1,18}L?\s*,\s*){0,8}(?:\d{1,18}L?\s*)?)\)\s*,?"""),
}
"""Patterns of the header entries of numeric arrays: type, memory order and shape."""

LARGEST_PACKED = 2**31
"""Maximum size of a compressed array in bytes. Larger arrays need `.npy` files, whose size shows what they hold."""


def read_npy(path: Path) -> NDArray[Any]:
    """Read an array of numbers from an `.npy` file.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is damaged, or holds anything but numbers.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Expected an array that `numpy.save` has written.")
    try:
        with path.open("rb") as file:
            dtype, shape, order = read_header(file)
            start = file.tell()
            check_size(math.prod(shape) * dtype.itemsize, path.stat().st_size - start, shape, dtype)
            values = np.fromfile(file, dtype, math.prod(shape))
        return native(values, shape, order)
    except InputError as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from error
    except (OSError, MemoryError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an array: {error or type(error).__name__}.") from error


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays of numbers by their names from an `.npz` file.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is damaged, holds anything but numbers, or is too large to be read.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file. Expected arrays that `numpy.savez` has written.")
    found: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.file_size > LARGEST_PACKED or sum(value.nbytes for value in found.values()) > LARGEST_PACKED:
                    raise InputError(f"{member.filename} claims {member.file_size:,} bytes: save it as .npy.")
                with archive.open(member) as file:
                    dtype, shape, order = read_header(file)
                    size = math.prod(shape) * dtype.itemsize
                    check_size(size, member.file_size, shape, dtype)
                    content = file.read(size)
                check_size(size, len(content), shape, dtype)
                found[member.filename.removesuffix(".npy")] = native(np.frombuffer(content, dtype), shape, order)
    except InputError as error:
        raise InputError(f"{path} cannot be read as arrays: {error}") from error
    except (OSError, EOFError, MemoryError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as arrays: {error or type(error).__name__}.") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error) as error:
        raise InputError(f"{path} cannot be read as arrays: it is damaged ({error}).") from error
    return found


def read_header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], str]:
    """Read the type, shape and memory order (`C` or `F`) of the array that follows in a file.

    Raises:
        InputError: If the header is not that of a numeric array.
    """
    magic = file.read(len(MAGIC) + 2)
    if not magic.startswith(MAGIC):
        raise InputError("it does not begin as `numpy.save` writes arrays.")
    version = tuple(magic[len(MAGIC) :])
    if version not in ((1, 0), (2, 0)):
        raise InputError(f"its format is {'.'.join(map(str, version))}, expected 1.0 or 2.0.")
    size = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if size > LONGEST_HEADER:
        raise InputError(f"its header claims {size:,} bytes, and that of numbers has at most {LONGEST_HEADER:,}.")
    header = file.read(size)
    rest = header.decode("latin1")
    found: dict[str, str] = {}
    for name, pattern in KEYS.items():
        if (match := pattern.search(rest)) is None:
            raise InputError(f"its header has no {name} of an array of numbers: {shortened(header)}.")
        found[name] = match[1]
        rest = rest[: match.start()] + rest[match.end() :]
    if len(header) != size or "".join(rest.split()) != "{}":
        raise InputError(f"its header is not that of an array of numbers: {shortened(header)}.")
    try:
        dtype = np.dtype(found["descr"])
    except TypeError as error:
        raise InputError(f"its type is {found['descr']}, expected numbers such as <f4.") from error
    shape = tuple(int(number) for number in re.findall(r"\d+", found["shape"]))
    return dtype, shape, "F" if found["fortran_order"] == "True" else "C"


def check_size(needed: int, present: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an array that needs more bytes than are present."""
    if needed > present:
        raise InputError(f"an array {shape} of {dtype} has {needed:,} bytes, and {present:,} are there.")


def native(values: NDArray[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    """Return the values in their shape and in this machine's byte order."""
    return values.reshape(shape, order=order).astype(values.dtype.newbyteorder("="), copy=False)


def shortened(header: bytes) -> str:
    """The beginning of a header, printable."""
    return repr(header[:80].decode("latin1")) + (" ..." if len(header) > 80 else "")
