"""The last lines of a log, bounded in number and in memory."""

from __future__ import annotations

from collections import deque
from sys import getsizeof

from dm_isaac_g1.core.events import Log

#: Lines kept per log, and the bytes of memory that they may take.
KEPT, KEPT_BYTES = 5000, 8_000_000


class LogBuffer:
    """Lines in order; a progress bar's line is replaced in place. `total` counts all lines ever seen."""

    def __init__(self, kept: int = KEPT, kept_bytes: int = KEPT_BYTES) -> None:
        self.lines: deque[str] = deque()
        self.total = 0
        self.dropped = 0
        self._kept, self._kept_bytes = kept, kept_bytes
        self._bytes = 0

    def extend(self, event: Log) -> None:
        lines = event.lines
        self.dropped += event.dropped
        if event.replaced and self.lines and lines:
            self._bytes += getsizeof(lines[0]) - getsizeof(self.lines[-1])
            self.lines[-1] = lines[0]
            lines = lines[1:]
        self.total += len(lines) + event.dropped
        lines = lines[-self._kept :]
        self.lines.extend(lines)
        self._bytes += sum(map(getsizeof, lines))
        while len(self.lines) > self._kept or (self._bytes > self._kept_bytes and len(self.lines) > 1):
            self._bytes -= getsizeof(self.lines.popleft())
