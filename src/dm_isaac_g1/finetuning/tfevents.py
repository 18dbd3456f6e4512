"""TensorBoard event files into columns: incremental, standard library for a trickle, numpy for a flood.

Format: TFRecord framing (tensorflow/core/lib/io/record_writer.h): `uint64 length`, `uint32 masked crc32c(length)`,
`data`, `uint32 masked crc32c(data)`, little endian; `data` is an `Event` protobuf
(tensorboard/compat/proto/event.proto): 1 wall_time double, 2 step int64,
5 summary { 1 value { 1 tag, 2 simple_value float, 8 tensor, 9 metadata } }.

A record torn at the end of the file waits for its rest; a corrupt one is reported and skipped (its length is still
good) or the reader looks for the next believable header.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from dm_isaac_g1.core.columns import Columns
from dm_isaac_g1.core.runs import MetricPoint
from dm_isaac_g1.finetuning.crc32c import crc32c, masked

#: Longest record believed; a header that says more is corrupt (videos are tens of MB).
MAX_RECORD = 1 << 30
#: Data longer than this is checked record by record only up to here: the pure Python crc costs 0.1 ms a KB.
_CHECK_UP_TO = 4096
#: From this many bytes on, runs of equal records are decoded as a matrix.
_FLOOD = 32 * 1024

#: Longer records hold no scalar or settings: passed over without keeping them.
_SKIP_FROM = 1024 * 1024

_HEADER = struct.Struct("<QI")
_ZEROS = re.compile(rb"\0{4,}")
_CRC = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")


@dataclass(frozen=True, slots=True)
class Corrupt:
    """A place in the file that is no record: where, and what is wrong."""

    offset: int
    problem: str


def metric_name(tag: str) -> str:
    """A tag as the log calls it: `train/loss` -> `loss`, `eval/loss` -> `eval_loss` (transformers' `rewrite_logs`)."""
    group, _, rest = tag.partition("/")
    if not rest:
        return tag
    return rest if group == "train" else f"{group}_{rest}" if group in ("eval", "test") else tag


class EventFileReader:
    """Feed it the bytes of one event file in order."""

    def __init__(self) -> None:
        #: Text summaries by tag, the last of each: `args/text_summary` holds the TrainingArguments as JSON.
        self.texts: dict[str, str] = {}
        self.corrupt: list[Corrupt] = []
        #: Bytes of the file taken so far, the waiting ones included.
        self.offset = 0
        self._rest = b""
        self._lost = False
        self._skip = 0

    @property
    def waiting(self) -> int:
        """Bytes of a record whose end is not there yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[MetricPoint]:
        """The points that `data` completes, under the log's names."""
        return [
            MetricPoint(name=name, step=step, value=value, wall=wall)
            for name, c in self.feed_columns(data).items()
            for step, value, wall in zip(c.steps, c.values, c.walls, strict=True)
        ]

    def feed_columns(self, data: bytes) -> dict[str, Columns]:
        """The points that `data` completes, as columns by the log's names: for cold starts with millions of points."""
        base = self.offset - len(self._rest)
        self.offset += len(data)
        data = self._rest + data if self._rest else data
        out: dict[str, Columns] = {}
        end, position = len(data), min(self._skip, len(data))
        self._skip -= position
        retry = 0  # after a matrix that found little, the records one by one for a while
        while position + 12 <= end:
            if self._lost:
                position = self._next_header(data, position)
                if self._lost:
                    break
            length, crc = _HEADER.unpack_from(data, position)
            if length > MAX_RECORD or masked(data[position : position + 8]) != crc:
                self._report(base + position, "no record header here (length and its checksum differ)")
                self._lost = True
                position += 1
                continue
            after = position + 16 + length
            if length >= _SKIP_FROM:
                self._skip = max(0, after - end)
                position = min(after, end)
                continue
            if after > end:
                break
            if end - position >= _FLOOD and position >= retry:
                from dm_isaac_g1.finetuning.tfevents_bulk import decode_run

                taken, rows = decode_run(data, position, out, self._column)
                if rows:
                    position = taken
                    continue
                retry = position + 4096
            body = data[position + 12 : after - 4]
            if length <= _CHECK_UP_TO and crc32c(body, mask=True) != _CRC.unpack_from(data, after - 4)[0]:
                self._report(base + position, "the record's data and its checksum differ")
            else:
                try:
                    self._event(body, out)
                except (IndexError, struct.error, ValueError):
                    self._report(base + position, "the record is no TensorBoard event")
            position = after
        self._rest = data[position:]
        return out

    def _report(self, offset: int, problem: str) -> None:
        if len(self.corrupt) < 100:
            self.corrupt.append(Corrupt(offset, problem))

    def _next_header(self, data: bytes, position: int) -> int:
        """The next place where length and checksum agree; still lost, at the last bytes worth keeping, without one.

        The upper half of a length is four zero bytes, and not all of the lower half is: only the four places before
        each run of zeros are looked at, so a file full of zeros costs nothing.
        """
        for run in _ZEROS.finditer(data, position + 1):
            for candidate in range(max(position, run.start() - 4), run.start()):
                if candidate + 12 > len(data):
                    break
                length, crc = _HEADER.unpack_from(data, candidate)
                if 0 < length <= MAX_RECORD and masked(data[candidate : candidate + 8]) == crc:
                    self._lost = False
                    return candidate
        return max(position, len(data) - 15)

    @staticmethod
    def _column(out: dict[str, Columns], tag: bytes) -> Columns:
        return out.setdefault(metric_name(tag.decode("utf-8", "replace")), Columns())

    def _event(self, body: bytes, out: dict[str, Columns]) -> None:
        """One Event message."""
        wall, step, summary = 0.0, 0, b""
        for number, value in _fields(body):
            if number == 1 and isinstance(value, bytes):
                wall = _DOUBLE.unpack(value)[0]
            elif number == 2 and isinstance(value, int):
                step = value - (1 << 64) if value >= 1 << 63 else value
            elif number == 5 and isinstance(value, bytes):
                summary = value
        for number, value in _fields(summary):
            if number == 1 and isinstance(value, bytes):
                self._value(value, step, wall, out)

    def _value(self, body: bytes, step: int, wall: float, out: dict[str, Columns]) -> None:
        """One Summary.Value: a scalar as `simple_value` or as a tensor of one number, or a text."""
        tag, scalar, tensor = b"", None, None
        for number, value in _fields(body):
            if number == 1 and isinstance(value, bytes):
                tag = value
            elif number == 2 and isinstance(value, bytes):
                scalar = _FLOAT.unpack(value)[0]
            elif number == 8 and isinstance(value, bytes):
                tensor = value
        if scalar is None and tensor is not None:
            scalar = self._tensor(tag, tensor)
        if scalar is not None and tag:
            self._column(out, tag).add(step, scalar, wall)

    def _tensor(self, tag: bytes, body: bytes) -> float | None:
        """A TensorProto of one number (None for anything else); one of DT_STRING goes to `texts`."""
        kind, content, sizes = 0, b"", []
        for number, value in _fields(body):
            if number == 1 and isinstance(value, int):
                kind = value
            elif number == 2 and isinstance(value, bytes):
                for dim_number, dim in _fields(value):
                    if dim_number == 2 and isinstance(dim, bytes):
                        sizes += [v for n, v in _fields(dim) if n == 1 and isinstance(v, int)]
            elif number == 8 and kind == 7 and isinstance(value, bytes):
                if len(self.texts) < 64 or tag.decode("utf-8", "replace") in self.texts:
                    self.texts[tag.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
                return None
            elif number in (4, 5, 6) and isinstance(value, bytes):
                content = value
        unpack = {1: _FLOAT, 2: _DOUBLE}.get(kind)
        if unpack is None or any(size != 1 for size in sizes) or len(content) != unpack.size:
            return None
        return float(unpack.unpack(content)[0])


def _fields(body: bytes) -> list[tuple[int, int | bytes]]:
    """(field number, varint or bytes) of a protobuf message. Raises IndexError or ValueError where it is none."""
    found: list[tuple[int, int | bytes]] = []
    position, end = 0, len(body)
    while position < end:
        key, position = _varint(body, position)
        kind = key & 7
        if kind == 0:
            number, position = _varint(body, position)
            found.append((key >> 3, number))
            continue
        if kind == 1:
            size = 8
        elif kind == 5:
            size = 4
        elif kind == 2:
            size, position = _varint(body, position)
        else:
            raise ValueError(f"wire type {kind}")
        if position + size > end:
            raise IndexError("field past the end")
        found.append((key >> 3, body[position : position + size]))
        position += size
    return found


def _varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")
