"""How fast it goes, over the last seconds."""

from __future__ import annotations

from collections import deque

from dm_isaac_g1.core import units

#: Seconds that the rate is taken over.
_WINDOW = 5.0


class Rate:
    """`total`: bytes in all. Pure: the caller brings the time."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, done: int, now: float) -> str:
        """`, 12.3 MB/s, 40 s left`; empty until it is known."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[0][0] < now - _WINDOW:
            self._seen.popleft()
        start, before = self._seen[0]
        span = now - start
        if span < 0.5 or done <= before:
            return ""
        rate = (done - before) / span
        return f", {units.rate(rate)}, {units.duration((self._total - done) / rate)} left"
