"""numpy's file format as it stands inside messages: headers, made and read once for each shape.

Source: numpy.lib.format (NEP 1): magic, version, length of the header, a Python dict as text, padded to 64 bytes.
"""

from __future__ import annotations

import ast
import io
import math
import re
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dm_isaac_g1.inference.protocol.errors import ProtocolError
from dm_isaac_g1.inference.protocol.limits import Limits

_MAGIC = b"\x93NUMPY"
#: Major version -> bytes of the field that holds the header's length.
_LENGTHS = {1: 2, 2: 4, 3: 4}
#: Of 8 dimensions with 20 digits each at most; numpy itself takes 10,000 bytes.
_HEADER_MAX = 512
#: Where the values of nearly all arrays begin, and how those arrays do: version 1.0 with a header of 118 bytes.
_USUAL = 128
_USUAL_START = _MAGIC + b"\x01\x00\x76\x00"
#: Plain numbers and texts; never objects, records, dates or raw memory.
KINDS = "biufcSU"
DTYPE = re.compile(r"[<>|=]?(?:[biufc][0-9]{1,2}|[SU][0-9]{1,5})")
#: Smaller arrays are copied out of the frame: aligned, writable, and the frame can go.
_VIEW_FROM = 16 << 10

Array = np.ndarray[Any, Any]


class Header(NamedTuple):
    """What a header says. `at`: where the values begin."""

    at: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    size: int


def header_of(array: Array) -> tuple[bytes, Array]:
    """The header that np.save writes for an array, and the array to write after it in C order.

    Raises ProtocolError for arrays of objects, records or dates.
    """
    if array.dtype.kind not in KINDS:
        raise ProtocolError(f"an array of {array.dtype} cannot be sent, expected numbers or texts")
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return _written(array.dtype, array.shape, fortran), array.T if fortran else array


@lru_cache(maxsize=512)
def _written(dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> bytes:
    file = io.BytesIO()
    told = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)
    return file.getvalue()


def read(data: memoryview, limits: Limits) -> Array:
    """An array: a view on `data` where it is large and lies well, else a copy. Raises ProtocolError."""
    header = _header(bytes(data[:_USUAL]), data)
    if len(header.shape) > limits.dimensions:
        raise ProtocolError(f"an array of {len(header.shape)} dimensions, at most {limits.dimensions} are taken")
    there, needed = len(data) - header.at, header.size * header.dtype.itemsize
    if there != needed:
        raise ProtocolError(f"an array of shape {header.shape} needs {needed:,} bytes, the frame has {there:,}")
    return _array(data, header)


def _array(data: memoryview, header: Header) -> Array:
    try:
        if not header.size:
            return np.empty(header.shape, header.dtype)
        array = np.ndarray(header.shape, header.dtype, data, header.at, order="F" if header.fortran else "C")
        return array.copy("K") if array.nbytes < _VIEW_FROM or not array.flags.aligned else array
    except (ValueError, MemoryError) as error:
        raise ProtocolError(f"an array that makes no sense: {error}") from None


def _header(head: bytes, data: memoryview) -> Header:
    """`head`: the first bytes of `data`."""
    if head.startswith(_USUAL_START):
        return _parsed(head[10:], _USUAL)
    width = _LENGTHS.get(head[6]) if len(head) >= 12 and head.startswith(_MAGIC) else None
    if width is None:
        raise ProtocolError("an array that is none in numpy's format, version 1 to 3")
    at = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if at > min(len(data), _HEADER_MAX):
        raise ProtocolError("an array whose header is longer than any of numpy's")
    return _parsed(bytes(data[8 + width : at]), at)


@lru_cache(maxsize=512)
def _parsed(text: bytes, at: int) -> Header:
    try:
        told = ast.literal_eval(text.decode("latin-1").strip())
        descr, fortran, shape = told["descr"], told["fortran_order"], told["shape"]
        known = len(told) == 3 and isinstance(fortran, bool) and isinstance(shape, tuple)
        if not known or not all(type(each) is int and 0 <= each < 1 << 48 for each in shape):
            raise ValueError("its header's values")
        if not isinstance(descr, str) or not DTYPE.fullmatch(descr):
            raise ProtocolError(f"an array of {str(descr)[:40]!r} is not taken, expected numbers or texts")
        dtype = np.dtype(descr)
    except (ValueError, TypeError, KeyError, SyntaxError, RecursionError, MemoryError):
        raise ProtocolError("an array with a header that makes no sense") from None
    return Header(at, dtype, shape, fortran, math.prod(shape))
