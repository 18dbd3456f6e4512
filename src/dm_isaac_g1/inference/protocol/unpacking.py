"""Frames as values. Whoever sent them may mean harm: nothing is allocated for what a frame merely declares.

Formats: github.com/msgpack/msgpack/blob/master/spec.md; arrays and configurations as in `packing`. Extension types,
objects and keys other than texts are none of this protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NoReturn

from dm_isaac_g1.inference.protocol import modality, npy
from dm_isaac_g1.inference.protocol.errors import ProtocolError
from dm_isaac_g1.inference.protocol.limits import LIMITS, Limits

_ARRAY, _NPY = "__ndarray_class__", "as_npy"
#: How both of an array's keys and the first one's value are always written: read at one glance.
_ARRAY_HEAD = b"\xb1__ndarray_class__\xc3\xa6as_npy"
_CUT = "a frame that was cut off"


def unpack(frame: bytes | bytearray | memoryview, limits: Limits = LIMITS) -> Any:
    """The value of a whole frame; large arrays are views on it. Raises ProtocolError, whatever the bytes."""
    data = memoryview(frame).cast("B")
    if len(data) > limits.frame:
        raise ProtocolError(f"a frame of {len(data):,} bytes, at most {limits.frame:,} are taken")
    reader = _Reader(data, limits)
    try:
        value = reader.value(0)
    except (IndexError, struct.error):
        raise ProtocolError(_CUT) from None
    except UnicodeDecodeError:
        raise ProtocolError("a text that is no UTF-8") from None
    if reader.at != len(data):
        raise ProtocolError(f"{len(data) - reader.at:,} bytes behind the end of the message")
    return bytes(value) if type(value) is memoryview else value


class _Reader:
    """Where in a frame we are, and how many values it may still have. Binary values come as views."""

    __slots__ = ("at", "data", "end", "items", "limits")

    def __init__(self, data: memoryview, limits: Limits) -> None:
        self.data = data
        self.end = len(data)
        self.at = 0
        self.items = limits.items
        self.limits = limits

    def value(self, depth: int) -> Any:
        at = self.at
        first = self.data[at]
        self.at = at + 1
        if 0xA0 <= first < 0xC0:
            return self._text(first & 0x1F)
        if first < 0x80:
            return first
        if first < 0x90:
            return self._map(first & 0x0F, depth)
        if first < 0xA0:
            return self._list(first & 0x0F, depth)
        if first >= 0xE0:
            return first - 0x100
        return _FORMS[first - 0xC0](self, depth)

    def _take(self, count: int) -> memoryview:
        at = self.at
        self.at = end = at + count
        if end > self.end:
            raise ProtocolError(_CUT)
        return self.data[at:end]

    def number(self, form: struct.Struct) -> Any:
        at = self.at
        self.at = at + form.size
        return form.unpack_from(self.data, at)[0]

    def _text(self, count: int) -> str:
        if count > self.limits.text:
            raise ProtocolError(f"a text of {count:,} bytes, at most {self.limits.text:,} are taken")
        at = self.at
        self.at = end = at + count
        if end > self.end:
            raise ProtocolError(_CUT)
        return str(self.data[at:end], "utf-8")

    def _enter(self, count: int, depth: int) -> None:
        self.items -= count
        if self.items < 0:
            raise ProtocolError(f"a frame of more than {self.limits.items:,} values")
        # Each value has a byte at least.
        if count > self.end - self.at:
            raise ProtocolError(_CUT)
        if depth >= self.limits.depth:
            raise ProtocolError(f"values inside values more than {self.limits.depth} deep")

    def _list(self, count: int, depth: int) -> list[Any]:
        self._enter(count, depth)
        values = []
        for _ in range(count):
            value = self.value(depth + 1)
            values.append(bytes(value) if type(value) is memoryview else value)
        return values

    def _map(self, count: int, depth: int) -> Any:
        self._enter(2 * count, depth)
        if count == 2 and self.data[self.at : self.at + len(_ARRAY_HEAD)] == _ARRAY_HEAD:
            self.at += len(_ARRAY_HEAD)
            return self._array(self.value(depth + 1))
        found: dict[str, Any] = {}
        binary = False
        for _ in range(count):
            key = self.value(depth + 1)
            if type(key) is not str:
                raise ProtocolError("a map with a key that is no text")
            found[key] = value = self.value(depth + 1)
            if type(value) is memoryview:
                binary = True
        if _ARRAY in found:
            return self._array(found.get(_NPY))
        if modality.MARK in found:
            return modality.from_wire(found)
        return {key: bytes(v) if type(v) is memoryview else v for key, v in found.items()} if binary else found

    def _array(self, data: Any) -> npy.Array:
        if type(data) is not memoryview:
            raise ProtocolError("an array without its values")
        return npy.read(data, self.limits)


def _sized(form: str, what: Callable[[_Reader, int, int], Any]) -> Callable[[_Reader, int], Any]:
    length = struct.Struct(form)
    return lambda reader, depth: what(reader, reader.number(length), depth)


def _number(form: str) -> Callable[[_Reader, int], Any]:
    width = struct.Struct(form)
    return lambda reader, depth: reader.number(width)


def _constant(value: bool | None) -> Callable[[_Reader, int], Any]:
    return lambda reader, depth: value


def _unknown(reader: _Reader, depth: int) -> NoReturn:
    raise ProtocolError("a value of a kind that the protocol does not have")


def _bin(reader: _Reader, count: int, depth: int) -> memoryview:
    return reader._take(count)


def _str(reader: _Reader, count: int, depth: int) -> str:
    return reader._text(count)


#: First bytes 0xc0 to 0xdf.
_FORMS: tuple[Callable[[_Reader, int], Any], ...] = (
    _constant(None),
    _unknown,
    _constant(False),
    _constant(True),
    *(_sized(form, _bin) for form in (">B", ">H", ">I")),
    *(_unknown for _ in ("ext 8", "ext 16", "ext 32")),
    *(_number(form) for form in (">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q")),
    *(_unknown for _ in ("fixext 1", "fixext 2", "fixext 4", "fixext 8", "fixext 16")),
    *(_sized(form, _str) for form in (">B", ">H", ">I")),
    *(_sized(form, _Reader._list) for form in (">H", ">I")),
    *(_sized(form, _Reader._map) for form in (">H", ">I")),
)
