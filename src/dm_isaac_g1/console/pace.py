"""How fast a run goes and when it will be done, from its curves and the clock: pure.

The rate is taken over a stretch of wall time that is long enough to hold the pauses for checkpoints, because an ETA
that forgets them is always too early. A run whose last point is old has no rate: better "–" than a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dm_isaac_g1.core.runs import JobInfo, JobState
from dm_isaac_g1.fleet.curves import Curve, Curves

#: Seconds of wall time that a rate is taken over, where the run is that old.
STRETCH = 600.0
#: A last point older than this many times the usual gap between points (and at least a minute) means no rate.
STALE_GAPS = 20.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a run is. `steps` of `total`; `rate` in steps a second, `eta` in seconds; None: not known."""

    steps: int | None
    total: int | None
    rate: float | None
    eta: float | None

    @property
    def share(self) -> float | None:
        return None if self.steps is None or not self.total else min(1.0, self.steps / self.total)


def pace(job: JobInfo, curves: Curves, now: float) -> Pace:
    """The pace of a run at `now` (seconds since the epoch)."""
    longest = max(curves.by_name.values(), key=lambda curve: curve.steps[-1] if curve else -1, default=None)
    steps = longest.steps[-1] if longest else None
    total = job.spec.save.max_steps if job.spec.save else None
    rate = _rate(longest, job, now) if longest and job.state is JobState.RUNNING else None
    if steps is not None and total and rate:
        return Pace(steps, total, rate, max(0.0, (total - steps) / rate))
    return Pace(steps, total, rate, None)


def _rate(curve: Curve, job: JobInfo, now: float) -> float | None:
    last, wall = curve.steps[-1], curve.walls[-1]
    if math.isnan(wall):
        # A log without times: from the start of the job, a little too slow (it loads first), so the ETA is late.
        elapsed = now - job.started if job.started else 0.0
        return last / elapsed if elapsed > 0 and last > 0 else None
    first = len(curve) - 1
    while first > 0 and wall - curve.walls[first - 1] <= STRETCH:
        first -= 1
    span, gained = wall - curve.walls[first], last - curve.steps[first]
    if not (span > 0 and gained > 0):
        return None
    gap = span / (len(curve) - 1 - first)
    if now - wall > max(60.0, STALE_GAPS * gap):
        return None
    return gained / span
