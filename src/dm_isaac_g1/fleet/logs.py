"""The last lines of a log, bounded."""

from __future__ import annotations

from collections import deque

from dm_isaac_g1.core.events import Log

#: Lines kept per log.
KEPT = 5000


class LogBuffer:
    """Lines in order; a progress bar's line is replaced in place. `total` counts all lines ever seen."""

    def __init__(self, kept: int = KEPT) -> None:
        self.lines: deque[str] = deque(maxlen=kept)
        self.total = 0
        self.dropped = 0

    def extend(self, event: Log) -> None:
        lines = event.lines
        self.dropped += event.dropped
        if event.replaced and self.lines and lines:
            self.lines[-1] = lines[0]
            lines = lines[1:]
        self.lines.extend(lines)
        self.total += len(lines) + event.dropped
