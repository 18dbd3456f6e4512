"""A frame from a stranger costs what it holds, never what it declares, and ends in a ProtocolError at worst."""

from __future__ import annotations

import contextlib
import pickle
import struct
import subprocess
import sys
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.inference.protocol import Limits, ProtocolError, json_numpy, pack, unpack

HUGE = b"\xff\xff\xff\xff"


def array_frame(header: str | bytes, values: bytes = b"", version: bytes = b"\x01\x00", **more: Any) -> bytes:
    """A frame with one array whose header says what it likes."""
    text = header.encode("latin-1") if isinstance(header, str) else header
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    npy = b"\x93NUMPY" + version + length + text + values
    return msgspec.msgpack.encode({"__ndarray_class__": True, "as_npy": npy, **more})


def header(descr: str = "'<f4'", shape: str = "(1,)", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "list that declares 4 billion": b"\xdd" + HUGE,
    "map that declares 4 billion": b"\xdf" + HUGE,
    "text that declares 4 GB": b"\xdb" + HUGE,
    "bytes that declare 4 GB": b"\xc6" + HUGE,
    "lists in lists that each declare 4 billion": (b"\xdd" + HUGE) * 10_000,
    "maps in maps that each declare 4 billion": (b"\xdf" + HUGE + b"\xa1a") * 10_000,
    "lists in lists, 100,000 deep": b"\x91" * 100_000 + b"\xc0",
    "a million empty maps": b"\xdd" + struct.pack(">I", 1_000_000) + b"\x80" * 1_000_000,
    "a text of 2 MB": b"\xdb" + struct.pack(">I", 2_000_000) + b"a" * 2_000_000,
    "extension type": b"\xd6\xff\x00\x00\x00\x00",
    "extension that declares 4 GB": b"\xc9" + HUGE + b"\x01",
    "reserved byte": b"\xc1",
    "a number as key": b"\x81\x01\x02",
    "a list as key": b"\x81\x90\x02",
    "bytes as key": b"\x81\xc4\x01a\x02",
    "a text that is no UTF-8": b"\xa2\xff\xfe",
    "more behind the end": b"\xc0\xc0",
    "cut inside a number": b"\xcd\x01",
    "cut inside a text": b"\xa5ab",
    "cut inside a map": b"\x82\xa1a\x01",
    "a pickled array of objects": array_frame(header("'|O'"), pickle.dumps([print])),
    "records with objects": array_frame(header("[('a', '|O')]"), b"\x00" * 8),
    "raw memory": array_frame(header("'|V1000000'")),
    "dates": array_frame(header("'<M8[ns]'"), b"\x00" * 8),
    "a float of 3 bytes": array_frame(header("'<f3'"), b"\x00" * 3),
    "a shape of petabytes": array_frame(header(shape="(1000000, 1000000, 1000)")),
    "a shape that overflows": array_frame(header(shape="(4294967296, 4294967296)")),
    "no values in impossible dimensions": array_frame(header(shape="(0, 281474976710655, 281474976710655)")),
    "a negative shape": array_frame(header(shape="(-1,)"), b"\x00" * 4),
    "a shape of truth values": array_frame(header(shape="(True,)"), b"\x00" * 4),
    "33 dimensions": array_frame(header(shape="(1,) * 33"), b"\x00" * 4),
    "9 dimensions": array_frame(header(shape="(1, 1, 1, 1, 1, 1, 1, 1, 1)"), b"\x00" * 4),
    "fewer values than its shape": array_frame(header(shape="(4,)"), b"\x00" * 12),
    "more values than its shape": array_frame(header(shape="(2,)"), b"\x00" * 12),
    "a header that is code": array_frame("__import__('os').system('true')\n"),
    "a header of brackets": array_frame("(" * 500),
    "a header of minus signs": array_frame("-" * 500 + "1"),
    "a header of 64 KB": array_frame(header() + " " * 65_000, b"\x00" * 4),
    "a header that is no dict": array_frame("'descr'"),
    "a header with more keys": array_frame(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", b"\x00" * 4
    ),
    "a version to come": array_frame(header(), b"\x00" * 4, version=b"\x09\x00"),
    "no header": msgspec.msgpack.encode({"__ndarray_class__": True, "as_npy": b"\x93NUMPY"}),
    "a header that ends behind the frame": msgspec.msgpack.encode(
        {"__ndarray_class__": True, "as_npy": b"\x93NUMPY\x01\x00\xff\x01" + b" " * 20}
    ),
    "an array without values": msgspec.msgpack.encode({"__ndarray_class__": True}),
    "an array whose values are a text": msgspec.msgpack.encode({"__ndarray_class__": True, "as_npy": "abc"}),
    "a modality that is a number": msgspec.msgpack.encode({"__ModalityConfig_class__": True, "as_json": 7}),
    "a modality without keys": msgspec.msgpack.encode({"__ModalityConfig_class__": True, "as_json": {}}),
    "a modality of brackets": msgspec.msgpack.encode({"__ModalityConfig_class__": True, "as_json": "[" * 100_000}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_refused_and_costs_next_to_nothing(name: str) -> None:
    frame = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            unpack(frame)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 256 << 10, f"{most:,} bytes for a frame of {len(frame):,}"


def test_hostile_frames_are_refused_in_little_memory() -> None:
    """The same in a process that cannot have 300 MB more: what C code allocates is seen, too."""
    program = """
import resource, sys, test_wire_limits as hostile
from dm_isaac_g1.inference.protocol import ProtocolError, unpack
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
for name, frame in hostile.HOSTILE.items():
    try:
        unpack(frame)
    except ProtocolError:
        continue
    sys.exit(name)
print("all refused")
"""
    folder = __file__.rpartition("/")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout == "all refused\n", done.stderr[-2000:]


def test_a_frame_above_the_limit_is_refused_unread() -> None:
    with pytest.raises(ProtocolError, match="at most 1,000"):
        unpack(bytes(1001), Limits(frame=1000))


def test_limits_do_not_touch_what_robots_send() -> None:
    """16 observations of four 480x640 cameras, the largest batch we can think of, and a long instruction."""
    video = np.zeros((16, 1, 480, 640, 3), np.uint8)
    sent = {"video": {f"camera_{i}": video for i in range(4)}, "task": "pick " * 1000}
    back = unpack(pack(sent))
    assert back["task"] == sent["task"] and back["video"]["camera_3"].shape == video.shape


@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_value_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        unpack(data)


@settings(max_examples=200)
@given(st.data())
def test_any_damage_to_a_real_frame_ends_in_a_value_or_a_protocol_error(data: st.DataObject) -> None:
    frame = bytearray(pack({"a": np.arange(6, dtype=np.float32), "b": [1, "x", {"c": None}]}))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        unpack(bytes(frame[: data.draw(st.integers(0, len(frame)))]))


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"\xff",
        b"[" * 10_000,
        b'{"a": {"__numpy__": 7, "dtype": "<f4", "shape": [1]}}',
        b'{"__numpy__": "AAAA", "dtype": "|O", "shape": [1]}',
        b'{"__numpy__": "AAAA", "dtype": "<f4", "shape": [1000000000000]}',
        b'{"__numpy__": "AAAA", "dtype": "<f4", "shape": [-1]}',
        b'{"__numpy__": "AAAA", "dtype": "<f4", "shape": 1}',
        b'{"__numpy__": "!!!!", "dtype": "<f4", "shape": [1]}',
        b'{"__numpy__": "", "dtype": "<f4", "shape": [0, 281474976710655, 281474976710655]}',
    ],
)
def test_hostile_json_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        json_numpy.unpack(text)


def test_arrays_come_back_out_of_json() -> None:
    sent = {
        "action.waist": np.arange(6, dtype=np.float32).reshape(2, 3),
        "told": [1, "x", None],
        "empty": np.zeros((0, 3)),
    }
    back = json_numpy.unpack(json_numpy.pack(sent))
    np.testing.assert_array_equal(back["action.waist"], sent["action.waist"])
    assert back["told"] == sent["told"] and back["empty"].shape == (0, 3)
    with pytest.raises(ProtocolError):
        json_numpy.pack({"a": np.array([{}], object)})
