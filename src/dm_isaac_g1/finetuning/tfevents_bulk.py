"""Floods of scalar records as a matrix: a trainer logs the same tags in the same order, so records repeat.

The layout of a few records (a period) is taken from one of them decoded by hand; as many repetitions as follow, byte
for byte the same but for wall time, step, value and checksums, are decoded at once, checksums included. What does not
fit is left to the reader, record by record.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.finetuning.crc32c import TABLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dm_isaac_g1.core.columns import Columns

_HEADER = struct.Struct("<QI")
#: Records looked at to find how they repeat: metrics of one step.
_PERIOD = 24
#: Repetitions decoded at a time, which bounds memory; fewer than the least are not worth it.
_ROWS, _LEAST = 4096, 8


@dataclass(frozen=True, slots=True)
class _Layout:
    """A scalar record: where its parts stand, relative to its start."""

    size: int
    wall: int
    step: int
    step_size: int
    value: int
    tag: bytes


def decode_run(
    data: bytes,
    position: int,
    out: dict[str, Columns],
    column: Callable[[dict[str, Columns], bytes], Columns],
) -> tuple[int, int]:
    """Decode repetitions from `position`: (where they end, how many records); (position, 0) where there is no run."""
    import numpy as np

    layouts = _period(data, position)
    if not layouts:
        return position, 0
    period = sum(layout.size for layout in layouts)
    rows = min(_ROWS, (len(data) - position) // period)
    if rows < _LEAST:
        return position, 0
    matrix = np.frombuffer(data, np.uint8, rows * period, position).reshape(rows, period)
    good = _same(matrix, layouts)
    if good < _LEAST:
        return position, 0
    matrix = np.ascontiguousarray(matrix[:good])
    sound = np.ones(good, np.bool_)
    start = 0
    for layout in layouts:
        sound &= _checked(matrix[:, start : start + layout.size])
        start += layout.size
    if not sound.all():
        good = int(np.argmin(sound))
        if good < _LEAST:
            return position, 0
        matrix = matrix[:good]
    start = 0
    for layout in layouts:
        target = column(out, layout.tag)
        _append(target.walls, _cut(matrix, start + layout.wall, 8, "<f8").astype(np.float64))
        _append(target.values, _cut(matrix, start + layout.value, 4, "<f4").astype(np.float64))
        _append(target.steps, _steps(matrix[:, start + layout.step : start + layout.step + layout.step_size]))
        start += layout.size
    return position + good * period, good * len(layouts)


def _period(data: bytes, position: int) -> list[_Layout]:
    """The shortest repeating sequence of scalar layouts from `position`, empty where there is none."""
    layouts: list[_Layout] = []
    at = position
    for _ in range(2 * _PERIOD):
        layout = _layout(data, at)
        if layout is None:
            break
        layouts.append(layout)
        at += layout.size
    for size in range(1, len(layouts) // 2 + 1):
        if layouts[:size] == layouts[size : 2 * size]:
            return layouts[:size]
    return []


def _layout(data: bytes, at: int) -> _Layout | None:
    """The layout of a record `wall, step, summary{value{[metadata,] tag, simple_value}}`; None for any other."""
    if at + 12 > len(data):
        return None
    length = _HEADER.unpack_from(data, at)[0]
    end = at + 12 + length
    if length > 1024 or end + 4 > len(data):
        return None
    p = at + 12
    if data[p] != 0x09 or data[p + 9] != 0x10:
        return None
    step = p + 10
    p = step
    while p < end and data[p] & 0x80:
        p += 1
    p += 1
    step_size = p - step
    # Short messages only: their lengths are one byte (below 128).
    if step_size > 5 or p + 6 > end or data[p] != 0x2A or data[p + 1] != end - p - 2 or data[p + 2] != 0x0A:
        return None
    if data[p + 3] != end - p - 4 or data[p + 4] != 0x0A:
        return None
    tag = data[p + 6 : p + 6 + data[p + 5]]
    p += 6 + len(tag)
    if not tag or p + 5 != end or data[p] != 0x15:
        return None
    return _Layout(end + 4 - at, 13, step - at, step_size, p + 1 - at, tag)


def _same(matrix: NDArray[np.uint8], layouts: list[_Layout]) -> int:
    """How many rows from the top are like the first one, but for what may differ."""
    import numpy as np

    fixed = np.ones(matrix.shape[1], np.bool_)
    limits = np.zeros(matrix.shape[1], np.uint8)
    start = 0
    for layout in layouts:
        fixed[start + layout.wall : start + layout.wall + 8] = False
        fixed[start + layout.step : start + layout.step + layout.step_size] = False
        fixed[start + layout.value : start + layout.value + 4] = False
        fixed[start + layout.size - 4 : start + layout.size] = False
        # A varint keeps its length where the continuation bits stay.
        limits[start + layout.step : start + layout.step + layout.step_size] = 0x80
        start += layout.size
    mask = np.where(fixed, np.uint8(0xFF), limits)
    # Eight bytes at a time where the period allows is not worth the code: this is a quarter of the whole.
    same = ((matrix ^ matrix[0]) & mask).any(axis=1)
    return int(np.argmax(same)) if same.any() else len(matrix)


@cache
def _tables() -> tuple[Any, Any]:
    """Checksum tables for one byte and for two at a time."""
    import numpy as np

    one = np.array(TABLE, np.uint32)
    low = np.arange(65536, dtype=np.uint32)
    half = one[low & 0xFF] ^ (low >> np.uint32(8))
    two = one[half & 0xFF] ^ (half >> np.uint32(8))
    return one, two


def _checked(records: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the records (one a row) have the checksum of their data at their end."""
    import numpy as np

    one, two = _tables()
    body = records[:, 12:-4]
    columns = np.ascontiguousarray(body.T)
    crc = np.full(len(records), 0xFFFFFFFF, np.uint32)
    pairs = len(columns) // 2
    for index in range(pairs):
        pair = columns[2 * index].astype(np.uint32) | (columns[2 * index + 1].astype(np.uint32) << np.uint32(8))
        crc = two[(crc ^ pair) & np.uint32(0xFFFF)] ^ (crc >> np.uint32(16))
    if len(columns) % 2:
        crc = one[(crc ^ columns[-1]) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    crc = ~crc
    crc = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    said = _cut(records, records.shape[1] - 4, 4, "<u4")
    return np.asarray(crc == said, np.bool_)


def _cut(matrix: NDArray[np.uint8], start: int, size: int, dtype: str) -> NDArray[Any]:
    import numpy as np

    return np.ascontiguousarray(matrix[:, start : start + size]).view(dtype).reshape(-1)


def _steps(columns: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Varints of one length, seven bits a byte."""
    import numpy as np

    steps = np.zeros(len(columns), np.int64)
    for index in range(columns.shape[1]):
        steps |= (columns[:, index] & np.uint8(0x7F)).astype(np.int64) << np.int64(7 * index)
    return steps


def _append(column: array[Any], values: NDArray[Any]) -> None:
    column.frombytes(values.tobytes())
