"""Values as frames, byte for byte as NVIDIA's client and server write them.

msgpack with the shortest form of everything; an array is {"__ndarray_class__": true, "as_npy": what np.save writes}.
Source: MsgSerializer in gr00t/policy/server_client.py of Isaac-GR00T N1.6, whose frames are in tests/captures/wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from dm_isaac_g1.inference.protocol import modality, npy
from dm_isaac_g1.inference.protocol.errors import ProtocolError
from dm_isaac_g1.inference.protocol.modality import ModalityConfig

_scalar = msgspec.msgpack.encode
#: {"__ndarray_class__": true, "as_npy": ...
_ARRAY = b"\x82" + _scalar("__ndarray_class__") + b"\xc3" + _scalar("as_npy")
_DEPTH_MAX = 32
_LISTS = (list, tuple)
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, bytearray, memoryview})
#: Bytes from which on an array is copied straight from where it lies into the frame.
_LARGE = 16 << 10
#: Bin and container heads: (values below, first byte, bytes of the length).
_BIN = ((1 << 8, 0xC4, 1), (1 << 16, 0xC5, 2), (1 << 32, 0xC6, 4))
_LIST = ((1 << 16, 0xDC, 2), (1 << 32, 0xDD, 4))
_MAP = ((1 << 16, 0xDE, 2), (1 << 32, 0xDF, 4))

_Piece = bytes | npy.Array


def pack(message: Any) -> bytes:
    """A message as a frame of its own. Raises ProtocolError for what the protocol has no form for."""
    return bytes(Packer().pack(message))


class Packer:
    """Packs into one buffer that is used again: a frame is valid until the next `pack`.

    Fresh megabytes are what packing costs: the kernel has to zero each of their pages.
    """

    def __init__(self, capacity: int = 1 << 12) -> None:
        self._buffer = bytearray(capacity)

    def pack(self, message: Any) -> memoryview:
        """A message as a frame. Arrays are copied once, from where they are, however they lie there.

        Raises ProtocolError for what the protocol has no form for.
        """
        pieces: list[_Piece] = []
        size = _add(pieces, message, 0)
        if size > len(self._buffer):
            # Never resized: whoever still sends the last frame has its memory.
            self._buffer = bytearray(size + size // 8)
        self._write(pieces)
        return memoryview(self._buffer)[:size]

    def _write(self, pieces: list[_Piece]) -> None:
        buffer, at = memoryview(self._buffer), 0
        for piece in pieces:
            if isinstance(piece, bytes):
                end = at + len(piece)
                buffer[at:end] = piece
            else:
                end = at + piece.nbytes
                np.ndarray(piece.shape, piece.dtype, buffer, at)[...] = piece
            at = end


def _add(pieces: list[_Piece], value: Any, depth: int) -> int:
    """Appends what a value is written as; how many bytes that is."""
    if depth > _DEPTH_MAX:
        raise ProtocolError(f"values inside values more than {_DEPTH_MAX} deep cannot be sent")
    if isinstance(value, np.ndarray):
        return _add_array(pieces, value)
    if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101  the first is quick, the second is not
        head = _head(len(value), 0x80, _MAP)
        pieces.append(head)
        size = len(head)
        for key, each in value.items():
            piece = _key(key)
            pieces.append(piece)
            size += len(piece) + _add(pieces, each, depth + 1)
        return size
    if isinstance(value, _LISTS):
        head = _head(len(value), 0x90, _LIST)
        pieces.append(head)
        return len(head) + sum([_add(pieces, each, depth + 1) for each in value])
    if isinstance(value, ModalityConfig):
        return _add(pieces, modality.to_wire(value), depth + 1)
    piece = _plain(value.item() if isinstance(value, np.generic) else value)
    pieces.append(piece)
    return len(piece)


def _add_array(pieces: list[_Piece], value: npy.Array) -> int:
    header, array = npy.header_of(value)
    size = array.nbytes
    head = _ARRAY + _length(len(header) + size, _BIN) + header
    if size < _LARGE:
        pieces.append(head + array.tobytes())
    else:
        pieces += (head, array)
    return len(head) + size


def _plain(value: Any) -> bytes:
    if type(value) not in _PLAIN:
        value = _as_plain(value)
    try:
        return _scalar(value)
    except (OverflowError, UnicodeEncodeError, TypeError) as error:
        raise ProtocolError(f"cannot be sent: {error}") from None


def _as_plain(value: Any) -> Any:
    """Of kinds derived from plain ones, as enums are: their values, which is what msgpack writes of them."""
    if isinstance(value, str):
        return str.__str__(value)
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    raise ProtocolError(f"a {type(value).__name__} cannot be sent, expected numbers, texts, lists, maps or arrays")


@lru_cache(maxsize=1024)
def _key(key: Any) -> bytes:
    if not isinstance(key, str):
        raise ProtocolError(f"a map with the key {key!r} cannot be sent, expected texts")
    return _plain(key)


@lru_cache(maxsize=1024)
def _head(count: int, short: int, forms: tuple[tuple[int, int, int], ...]) -> bytes:
    """The head of a list or map: of up to 15 it is one byte."""
    return bytes([short | count]) if count < 16 else _length(count, forms)


@lru_cache(maxsize=1024)
def _length(count: int, forms: tuple[tuple[int, int, int], ...]) -> bytes:
    for below, first, width in forms:
        if count < below:
            return bytes([first]) + count.to_bytes(width, "big")
    raise ProtocolError(f"{count:,} bytes or values at once cannot be sent, at most {forms[-1][0]:,}")
