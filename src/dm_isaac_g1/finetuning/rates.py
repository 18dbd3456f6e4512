"""How fast a run goes and when it ends, from its own log points and our clock; and when it has stalled.

Never from tqdm's figures: after a resume its rate counts the steps of the run before (`1987.30it/s`), for good.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.runs import SavePlan

#: Intervals between log points that the speed is taken from: so many, and more while they span fewer seconds than
#: `SPAN` (times from a bar are whole seconds, so a few seconds of them tell little), `MOST` at most.
POINTS, SPAN, MOST = 50, 60.0, 1000
#: Seconds that a time may be wrong by: one read from a bar, or from when its line was seen.
COARSE = 2.0
#: Seconds of coarse times that are enough for a speed: saves among fewer are no longer than the times are wrong.
ENOUGH = 10.0
#: An interval so many times as long as the usual one, and longer than what a coarse time explains, holds a pause.
#: Where more than this share of them are, they are no pauses but the run's way to go.
PAUSE, SELDOM = 1.5, 0.2
#: Steps a second that a run is taken to go at where none was ever timed: slower than trainers go on what they are meant
#: for, because a slow run leaves others more time to fill its disk. By trainer; "" for the rest.
ASSUMED = {"bc": 2.0, "": 0.1}
#: Of the speed of an earlier run of the same trainer: the batch, the model or the GPU may be others now.
CAUTION = 0.5
#: Saves that the duration of a save is the median of.
SAVES = 3


class Pace:
    """Feed it (step, wall) of each log point in order; it knows the speed, the time a save takes, and the end."""

    def __init__(self, save_steps: int = 0) -> None:
        self.save_steps = save_steps
        self._points: deque[tuple[int, float]] = deque(maxlen=MOST + 1)
        self._long: deque[tuple[int, float]] = deque(maxlen=SAVES)
        self._arrived: float | None = None

    def add(self, step: int, wall: float | None) -> None:
        """A log point at `step`, written at `wall` (seconds since the epoch; None: unknown, left out).

        A step or a clock that goes back (a resume, a clock that was set) starts the measuring again. A time that goes
        back by no more than a coarse one may be wrong is left out.
        """
        if wall is None or not math.isfinite(wall):
            return
        if self._points and step > self._points[-1][0] and 0 < self._points[-1][1] - wall <= COARSE:
            return
        if self._points and (step <= self._points[-1][0] or wall < self._points[-1][1]):
            if step == self._points[-1][0]:
                return
            self._points.clear()
        if self._points and self._saved_between(self._points[-1][0], step):
            self._long.append((step - self._points[-1][0], wall - self._points[-1][1]))
        self._points.append((step, wall))
        while len(self._points) > POINTS + 1 and wall - self._points[1][1] >= SPAN:
            self._points.popleft()
        self._arrived = wall

    def extend(self, points: Iterable[tuple[int, float | None]]) -> None:
        for step, wall in points:
            self.add(step, wall)

    @property
    def speed(self) -> float | None:
        """Steps a second: steps over time of the last points, without the intervals that hold a save or a pause.

        Never of single intervals: where times are whole seconds, each of them says nearly nothing.
        """
        every = [(step - before, wall - then, step) for (before, then), (step, wall) in pairwise(self._points)]
        plain = [(steps, took) for steps, took, step in every if not self._saved_between(step - steps, step)]
        usual = median(took / steps for steps, took in plain) if plain else 0.0

        def without_pauses(intervals: list[tuple[int, float]]) -> list[tuple[int, float]]:
            steady = [(steps, took) for steps, took in intervals if took <= PAUSE * usual * steps + COARSE]
            return steady if len(steady) >= (1 - SELDOM) * len(intervals) else intervals

        both = [(steps, took) for steps, took, _ in every]
        whole = sum(abs(took - round(took)) < 1e-3 for _, took in both)
        enough = ENOUGH if 2 * whole > len(both) else 0.0
        # Points that came in bursts have no time between them: then all of them over all of their time.
        for intervals, least in ((without_pauses(plain), enough), (without_pauses(both), 0.0), (both, 0.0)):
            time = sum(took for _, took in intervals)
            if time > 0 and time >= least:
                return sum(steps for steps, _ in intervals) / time
        return None

    @property
    def save_seconds(self) -> float | None:
        """What a save takes: how much longer the interval with a save in it was. None: none seen yet."""
        speed = self.speed
        if not speed or not self._long:
            return None
        return max(0.0, median(took - steps / speed for steps, took in self._long))

    def eta(self, plan: SavePlan, now: float) -> float | None:
        """Seconds until the run ends, its saves included; None where the speed or the end is not known."""
        speed = self.speed
        if not speed or not self._points or plan.max_steps <= 0 or self._arrived is None:
            return None
        step, wall = self._points[-1]
        left = remaining(step, plan, speed, self.save_seconds or 0.0)
        return max(0.0, left - max(0.0, now - wall))

    def _saved_between(self, before: int, step: int) -> bool:
        """Whether a save lies in the interval. One at `before` does: it is written after that step's log point."""
        return self.save_steps > 0 and (step - 1) // self.save_steps > (before - 1) // self.save_steps


def assumed(trainer: str | None, earlier: float | None) -> float:
    """Steps a second, on the slow side, of a run that was not timed yet. `earlier`: a run of the same trainer's."""
    if earlier:
        return CAUTION * earlier
    return ASSUMED.get(trainer or "", ASSUMED[""])


def remaining(step: int, plan: SavePlan, speed: float, save_seconds: float) -> float:
    """Seconds of a run from `step` to its end: the steps, each save, the last one and the final model."""
    left = max(0, plan.max_steps - step)
    saves = 0
    if plan.save_steps > 0:
        saves = plan.max_steps // plan.save_steps - step // plan.save_steps + (plan.max_steps % plan.save_steps > 0)
    return left / speed + max(0, saves) * save_seconds


@dataclass(frozen=True, slots=True)
class Stall:
    """No new step for `quiet` seconds, where `allowed` would be long."""

    quiet: float
    allowed: float


def stall(
    now: float,
    last_step: float | None,
    speed: float | None,
    *,
    logging_steps: int = 1,
    save_seconds: float | None = None,
    caching: bool = False,
    thresholds: Thresholds | None = None,
) -> Stall | None:
    """Whether a running job has stalled: no new step since `last_step` (seconds since the epoch, as `now`).

    Allowed are `stall_factor` median steps (points that come every `logging_steps` steps take that much longer) and a
    save, at least `stall_min_s`. A trainer that says it is `caching` shards is not stalled, nor one that has not begun.
    """
    limits = thresholds or Thresholds()
    if caching or last_step is None:
        return None
    quiet = now - last_step
    per_point = max(1, logging_steps) / speed if speed else 0.0
    allowed = max(limits.stall_min_s, limits.stall_factor * per_point) + 2 * (save_seconds or 0.0)
    return Stall(quiet, allowed) if quiet > allowed else None
