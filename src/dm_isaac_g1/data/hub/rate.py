"""How fast it goes, over the last seconds."""

from __future__ import annotations

from collections import deque

from dm_isaac_g1.core import units

#: Seconds that the rate is taken over.
_WINDOW = 5.0


class Rate:
    """Pure: the caller brings the time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, done: int, now: float) -> str:
        """`, 12.3 MB/s`; empty until it is known. `done`: bytes so far."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[0][0] < now - _WINDOW:
            self._seen.popleft()
        start, before = self._seen[0]
        span = now - start
        if span < 0.5 or done <= before:
            return ""
        return f", {units.rate((done - before) / span)}"
