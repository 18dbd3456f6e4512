"""How fast others fill a file system: datasets, caches, logs; everything but the checkpoints that we know of.

Theil-Sen slope (the median over all pairs: a third of the samples may be wild) of the free space with our own
checkpoints added back, over half an hour and over six hours; the worse of the two counts. Times are the host's
monotonic clock, so a wall clock that jumps changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

#: Windows in seconds, and the least time between two kept samples: 180 in each, 16,000 pairs.
SHORT, SHORT_EVERY = 30 * 60.0, 10.0
LONG, LONG_EVERY = 6 * 3600.0, 120.0
#: Fewer samples, or a shorter span, say nothing.
LEAST_SAMPLES, LEAST_SPAN = 6, 60.0


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    free: int


class BackgroundRate:
    """Feed it the free space of one file system as it is sampled; it says how fast others fill it."""

    def __init__(self) -> None:
        self._short: deque[_Sample] = deque()
        self._long: deque[_Sample] = deque()

    def add(self, t_mono: float, avail: int, own: int, *, saving: bool = False) -> None:
        """A sample: `avail` bytes free at `t_mono` (the host's monotonic seconds), `own` bytes in known checkpoints.

        While one is being written (`saving`) what is ours is not known: such a sample is left out. A monotonic clock
        that goes back is another boot: what was seen before no longer counts.
        """
        if self._short and t_mono < self._short[-1].at:
            self._short.clear()
            self._long.clear()
        if saving:
            return
        sample = _Sample(t_mono, avail + own)
        for kept, window, every in ((self._short, SHORT, SHORT_EVERY), (self._long, LONG, LONG_EVERY)):
            if not kept or t_mono - kept[-1].at >= every:
                kept.append(sample)
            while kept and t_mono - kept[0].at > window:
                kept.popleft()

    @property
    def known(self) -> bool:
        """Whether enough was seen to say anything."""
        return _enough(self._short) or _enough(self._long)

    def rate(self) -> float:
        """Bytes a second, 0 where others free space or not enough was seen."""
        return max(0.0, *(-_slope(kept) for kept in (self._short, self._long) if _enough(kept)), 0.0)


def _enough(samples: Sequence[_Sample]) -> bool:
    return len(samples) >= LEAST_SAMPLES and samples[-1].at - samples[0].at >= LEAST_SPAN


def _slope(samples: Sequence[_Sample]) -> float:
    """Theil-Sen: the median slope over all pairs, bytes a second."""
    import numpy as np

    at = np.array([s.at for s in samples])
    free = np.array([s.free for s in samples], dtype=np.float64)
    first, second = np.triu_indices(len(samples), 1)
    return float(np.median((free[second] - free[first]) / (at[second] - at[first])))
