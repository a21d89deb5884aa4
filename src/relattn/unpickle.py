"""Reads pickled data sets without running code from them.

CIFAR's batches and the verification sets of faces are pickles, and a pickle may name any function to be called while it
is read, with any arguments. This reader supports only the instructions for data, and maps the few names that data need
to functions in this file, which check their arguments: an array is built from a checked type, a checked shape and bytes
that are in the file. No class or function of Python or NumPy is exposed.

It is based on Python's own reader in Python (`pickle._Unpickler`), not on the one in C, which a pickle can make
allocate unlimited memory (`LONG_BINPUT`).
"""

import io
import math
import pickle
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from relattn.errors import InputError, MissingFileError

OPCODES = (
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT"),
    *("BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
)
"""Pickle instructions that data need; persistent objects, extensions and instances of classes are not included."""

NUMBERS = re.compile(r"[fiu][1248]|b1|S\d{1,9}")
"""Types of arrays: numbers, and byte strings of a fixed length; no objects, no records."""

MOST_AXES, LONGEST = 8, 2**48
"""Maximum number of axes of an array, and maximum length of one."""


class Name:
    """The object that a pickle gets for a name: it can only be called."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        """Store the function."""
        self.function = function


class NumberType:
    """`numpy.dtype`: the type of an array, as far as the pickle has specified it."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        """Take a type by its code, such as `f4`; flags for alignment and copying do not matter for numbers."""
        code = text_of(code)
        if not NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"it has an array of type {code!r:.40}, which holds no numbers")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order, the only relevant part of a number type's state."""
        size = (self.dtype.itemsize, 1) if self.dtype.kind == "S" else (-1, -1)
        if not isinstance(state, tuple) or state[0:1] + state[2:] != (3, None, None, None, *size, 0):
            raise pickle.UnpicklingError("it has an array of a type with parts, which holds no numbers")
        order = text_of(state[1])
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it has an array of the byte order {order!r:.40}")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class Array(np.ndarray[Any, Any]):
    """An array that a pickle creates empty and then fills once."""

    def __setstate__(self, state: Any) -> None:
        """Take shape, type, order and bytes, whose number must match shape and type."""
        if self.size or not isinstance(state, tuple) or len(state) != 5 or state[0] not in (0, 1):
            raise pickle.UnpicklingError("it fills an array in a way that cannot be understood")
        _, shape, kind, fortran, content = state
        made = array(content, kind, shape, "F" if fortran else "C")
        state = (1, made.shape, made.dtype, int(made.flags.fnc), made.tobytes("A"))
        super().__setstate__(state)


def text_of(value: Any) -> str:
    """A short text, which Python 2 may have written as bytes."""
    text = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise pickle.UnpicklingError(f"it has {type(value).__name__} in place of text")
    return text


def array(content: Any, kind: Any, shape: Any, order: Any = "C", axes: Any = None) -> np.ndarray[Any, Any]:
    """An array from bytes, as from `numpy._core.numeric._frombuffer`, if their number matches type and shape.

    Args:
        content: Bytes, or Python 2 text that represents them.
        kind: A `NumberType`.
        shape: A tuple of lengths.
        order: `C`, `F`, or `K` for an array whose axes are permuted afterwards.
        axes: The permutation, for `K`.
    """
    content = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(kind, NumberType) or not isinstance(content, bytes | bytearray):
        raise pickle.UnpicklingError("it has an array that is not made of bytes, a type and a shape")
    whole = isinstance(shape, tuple) and len(shape) <= MOST_AXES
    if not whole or not all(type(length) is int and 0 <= length <= LONGEST for length in shape):
        raise pickle.UnpicklingError(f"it has an array of shape {shape!r:.60}")
    if (size := math.prod(shape) * kind.dtype.itemsize) != len(content):
        raise pickle.UnpicklingError(
            f"it has an array {shape} of {kind.dtype}, which has {size:,} bytes, and gives {len(content):,}"
        )
    made = np.frombuffer(content, kind.dtype) if size else np.empty(0, kind.dtype)
    if order == "K" and isinstance(axes, tuple) and sorted(axes) == list(range(len(shape))):
        return made.reshape(shape).transpose(axes)
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"it has an array of the order {order!r:.40}")
    return made.reshape(shape, order=order)


def empty_array(kind: Any, shape: Any, code: Any) -> Array:
    """`numpy.core.multiarray._reconstruct`, which creates an array that is filled later."""
    if not isinstance(kind, Name) or kind.function is not refused or shape != (0,) or text_of(code) != "b":
        raise pickle.UnpicklingError("it makes an array in a way that cannot be understood")
    return Array((0,), np.int8)


def scalar(kind: Any, content: Any) -> Any:
    """`numpy.core.multiarray.scalar`: a single number."""
    return array(content, kind, ())[()]


def bytes_of(text: Any, code: Any = "latin1") -> bytes:
    """`codecs.encode`, with which Python 3 writes bytes in the protocols of Python 2."""
    if not isinstance(text, str) or code not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it encodes something other than text, or with an encoding other than latin1")
    return text.encode("latin1")


def bytes_to_change(content: Any = b"", code: Any = "latin1") -> bytearray:
    """`bytearray` of existing bytes; a number as argument would allocate memory and is refused."""
    return bytearray(content if isinstance(content, bytes) else bytes_of(content, code))


def no_bytes() -> bytes:
    """`bytes`, with which Python 3 writes empty ones in the protocols of Python 2; it takes no length to allocate."""
    return b""


def refused(*_: Any) -> NoReturn:
    """`numpy.ndarray`, which pickles name but must not call."""
    raise pickle.UnpicklingError("it makes an array in a way that cannot be understood")


NAMES: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": refused,
    "numpy.dtype": NumberType,
    "numpy.core.multiarray._reconstruct": empty_array,
    "numpy._core.multiarray._reconstruct": empty_array,
    "numpy.core.multiarray.scalar": scalar,
    "numpy._core.multiarray.scalar": scalar,
    "numpy.core.numeric._frombuffer": array,  # arrays from protocol 5 on, as written by Python 3.14
    "numpy._core.numeric._frombuffer": array,
    "builtins.bytearray": bytes_to_change,  # in protocols below 5
    "__builtin__.bytearray": bytes_to_change,
    "builtins.bytes": no_bytes,
    "__builtin__.bytes": no_bytes,
    "_codecs.encode": bytes_of,
}


class DataUnpickler(pickle._Unpickler):
    """An unpickler for data: arrays, lists, dicts, strings and numbers."""

    stack: list[Any]
    read: Callable[[int], bytes]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in OPCODES)
    }

    def find_class(self, module: str, name: str) -> Name:
        """Return the object for a name, if data need it.

        Raises:
            pickle.UnpicklingError: If the name is anything else.
        """
        if (function := NAMES.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return Name(function)

    def load_reduce(self) -> None:
        """Call the object for a name."""
        arguments = self.stack.pop()
        if not isinstance(self.stack[-1], Name) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls something that is not a function")
        self.stack[-1] = self.stack[-1].function(*arguments)

    def load_build(self) -> None:
        """Set the state of an array or a type."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Array | NumberType):
            raise pickle.UnpicklingError("it sets the state of an object that has none")
        self.stack[-1].__setstate__(state)

    def load_bytes_to_change(self) -> None:
        """Read a bytearray: Python's own reader allocates the length in the pickle before checking what is there."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.stack.append(bytearray(self.read(min(length, sys.maxsize))))

    dispatch |= {
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytes_to_change,
    }


def unpickle(path: Path, encoding: str = "latin1") -> Any:
    """Read a pickle of data.

    Args:
        path: The file.
        encoding: How to read strings of Python 2; `"bytes"` keeps them as bytes.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If the file is damaged, or contains anything but data.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    try:
        # With the file in memory, no more can be read than is there, whatever length a pickle claims.
        return DataUnpickler(io.BytesIO(path.read_bytes()), encoding=encoding).load()
    except Exception as error:  # a damaged pickle may raise nearly anything
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read as pickled data: {reason:.300}.") from error
