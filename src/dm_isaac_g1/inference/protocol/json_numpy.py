"""Arrays in JSON, as GR00T N1.5's HTTP server takes and gives them: {"__numpy__": base64, "dtype", "shape"}.

Source: json_numpy 2.x (github.com/Crimson-Crow/json-numpy), used by gr00t/eval/http_server.py of N1.5.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import msgspec
import numpy as np

from dm_isaac_g1.inference.protocol.errors import ProtocolError
from dm_isaac_g1.inference.protocol.npy import DTYPE, KINDS, Array

_VALUES = "__numpy__"
_DEPTH_MAX = 12


def pack(value: Any) -> bytes:
    """As JSON. Raises ProtocolError for what it has no form for."""
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"cannot be sent: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in KINDS:
        raise TypeError(f"a {type(value).__name__}, expected numbers, texts, lists, maps or arrays of numbers")
    return {
        _VALUES: base64.b64encode(value.tobytes()).decode("ascii"),
        "dtype": np.lib.format.dtype_to_descr(value.dtype),
        "shape": value.shape,
    }


def unpack(text: bytes) -> Any:
    """Of JSON whose size its reader has bounded. Raises ProtocolError, whatever the bytes."""
    try:
        return _with_arrays(msgspec.json.decode(text), 0)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no JSON: {error}") from None


def _with_arrays(value: Any, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        raise ProtocolError(f"values inside values more than {_DEPTH_MAX} deep")
    if isinstance(value, list):
        return [_with_arrays(each, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    if _VALUES in value:
        return _array(value)
    return {key: _with_arrays(each, depth + 1) for key, each in value.items()}


def _array(value: dict[str, Any]) -> Array:
    text, descr, shape = value[_VALUES], value.get("dtype"), value.get("shape")
    try:
        if not isinstance(text, str) or not isinstance(descr, str) or not DTYPE.fullmatch(descr):
            raise ValueError("its values or its dtype")
        if not isinstance(shape, list) or not all(type(each) is int and 0 <= each < 1 << 48 for each in shape):
            raise ValueError("its shape")
        data, dtype = base64.b64decode(text, validate=True), np.dtype(descr)
        if len(shape) > 8 or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"shape {shape} with {len(data):,} bytes")
        return np.frombuffer(bytearray(data), dtype).reshape(shape) if data else np.empty(shape, dtype)
    except (ValueError, TypeError, binascii.Error, MemoryError) as error:
        raise ProtocolError(f"an array that makes no sense: {error}") from None
