"""Read pickled data sets without running code from them.

CIFAR's batches and the packs of face verification are pickles, and a pickle may name any function to be called while it
is read, with arguments of its choice. Here the instructions for data alone are understood, and the few names that data
need stand for functions of this file, which check what they get: an array is made from a checked type, a checked shape
and bytes that are there. No class or function of Python's or NumPy's is handed out.

It is Python's own reader in Python (`pickle._Unpickler`), not the one in C, which a pickle can make allocate memory
without measure (`LONG_BINPUT`).
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
"""Instructions of a pickle that data need; persistent objects, extensions and instances of classes are not among
them."""

NUMBERS = re.compile(r"[fiu][1248]|b1|S\d{1,9}")
"""Types of arrays: numbers, and bytes of a fixed length; no objects, no records."""

MOST_AXES, LONGEST = 8, 2**48
"""Axes of an array, and the length of one, at most."""


class Name:
    """What a pickle gets for a name: something to be called, with nothing to be set or read."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        """Keep the function."""
        self.function = function


class NumberType:
    """`numpy.dtype`: the type of an array, as far as the pickle has said it."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        """Take a type by its code, such as `f4`; whether it is aligned and copied says nothing of a number."""
        code = text_of(code)
        if not NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"it has an array of type {code!r:.40}, which holds no numbers")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the order of the bytes, which is all that the state of a number says."""
        size = (self.dtype.itemsize, 1) if self.dtype.kind == "S" else (-1, -1)
        if not isinstance(state, tuple) or state[0:1] + state[2:] != (3, None, None, None, *size, 0):
            raise pickle.UnpicklingError("it has an array of a type with parts, which holds no numbers")
        order = text_of(state[1])
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it has an array of the byte order {order!r:.40}")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class Array(np.ndarray[Any, Any]):
    """An array that a pickle makes empty and then fills, once."""

    def __setstate__(self, state: Any) -> None:
        """Take shape, type, order and bytes, which must be as many as the first two say."""
        if self.size or not isinstance(state, tuple) or len(state) != 5 or state[0] not in (0, 1):
            raise pickle.UnpicklingError("it fills an array in a way that cannot be understood")
        _, shape, kind, fortran, content = state
        made = array(content, kind, shape, "F" if fortran else "C")
        state = (1, made.shape, made.dtype, int(made.flags.fnc), made.tobytes("A"))
        super().__setstate__(state)


def text_of(value: Any) -> str:
    """A short text, which Python 2 has written as bytes."""
    text = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise pickle.UnpicklingError(f"it has {type(value).__name__} in place of text")
    return text


def array(content: Any, kind: Any, shape: Any, order: Any = "C", axes: Any = None) -> np.ndarray[Any, Any]:
    """An array from bytes, as `numpy._core.numeric._frombuffer` makes it, if there are as many as type and shape say.

    Args:
        content: Bytes, or text of Python 2 that stands for them.
        kind: A `NumberType`.
        shape: A tuple of lengths.
        order: `C`, `F`, or `K` for one whose axes are permuted afterwards.
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
    """`numpy.core.multiarray._reconstruct`, which makes an array that is filled later."""
    if not isinstance(kind, Name) or kind.function is not refused or shape != (0,) or text_of(code) != "b":
        raise pickle.UnpicklingError("it makes an array in a way that cannot be understood")
    return Array((0,), np.int8)


def scalar(kind: Any, content: Any) -> Any:
    """`numpy.core.multiarray.scalar`: one number."""
    return array(content, kind, ())[()]


def bytes_of(text: Any, code: Any = "latin1") -> bytes:
    """`codecs.encode`, by which Python 3 writes bytes in the protocols of Python 2."""
    if not isinstance(text, str) or code not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it encodes what is no text, or by another code than latin1")
    return text.encode("latin1")


def bytes_to_change(content: Any = b"", code: Any = "latin1") -> bytearray:
    """`bytearray`, of bytes that are there; a number would ask for memory."""
    return bytearray(content if isinstance(content, bytes) else bytes_of(content, code))


def no_bytes() -> bytes:
    """`bytes`, by which Python 3 writes empty ones in the protocols of Python 2; a number would ask for memory."""
    return b""


def refused(*_: Any) -> NoReturn:
    """`numpy.ndarray`, which is named in pickles and not called."""
    raise pickle.UnpicklingError("it makes an array in a way that cannot be understood")


NAMES: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": refused,
    "numpy.dtype": NumberType,
    "numpy.core.multiarray._reconstruct": empty_array,
    "numpy._core.multiarray._reconstruct": empty_array,
    "numpy.core.multiarray.scalar": scalar,
    "numpy._core.multiarray.scalar": scalar,
    "numpy.core.numeric._frombuffer": array,  # arrays from protocol 5 on, which Python 3.14 writes
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
        """Return what stands for a name, if it is one that data need.

        Raises:
            pickle.UnpicklingError: If it is anything else.
        """
        if (function := NAMES.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return Name(function)

    def load_reduce(self) -> None:
        """Call what stands for a name."""
        arguments = self.stack.pop()
        if not isinstance(self.stack[-1], Name) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("it calls what is no function")
        self.stack[-1] = self.stack[-1].function(*arguments)

    def load_build(self) -> None:
        """Give an array or a type its state."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Array | NumberType):
            raise pickle.UnpicklingError("it sets the state of what has none")
        self.stack[-1].__setstate__(state)

    def load_bytes_to_change(self) -> None:
        """A bytearray: Python's own reader makes one as long as the pickle says before it looks what is there."""
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
        encoding: How strings of Python 2 are read; `"bytes"` keeps them as they are.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If the file is damaged, or holds anything but data.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file.")
    try:
        # Of what is in memory nothing can be read that is not there, whatever length a pickle says.
        return DataUnpickler(io.BytesIO(path.read_bytes()), encoding=encoding).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read as pickled data: {reason:.300}.") from error
