"""What a run comes to: phase, step, speed, end, loss. Pure; the same figures for the console and for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from dm_isaac_g1.core.runs import JobState, SavePlan
from dm_isaac_g1.finetuning.rates import MOST, POINTS, SPAN, Pace, remaining
from dm_isaac_g1.finetuning.timeline import Writer, save_time
from dm_isaac_g1.fleet.store import RunView

#: The weight of TensorBoard's smoothing that the figures use.
SMOOTHING = 0.9
#: Points with an exact time that the pace needs to do without those from the log.
EXACT = 6
#: No step for so many times a usual one (and a minute) means that there is no speed to speak of.
STALE = 20.0
#: The plan of what saves nothing.
NO_SAVES = SavePlan(save_steps=0, max_steps=0, final_save=False)


@dataclass(frozen=True, slots=True)
class RunPicture:
    """A run at a moment. None: not known. `rate` in steps a second, `eta` in seconds from then."""

    phase: str
    step: int | None
    max_steps: int | None
    rate: float | None
    eta: float | None
    loss: float | None
    smoothed: float | None

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1."""
        return min(1.0, self.step / self.max_steps) if self.step is not None and self.max_steps else None


def picture(run: RunView, now: float) -> RunPicture:
    """The run as it is at `now`, seconds since the epoch by this machine's clock."""
    step, total = step_of(run), max_steps_of(run)
    pace = pace_of(run)
    rate = rate_of(run, now, pace)
    loss = run.curves.by_name.get("loss")
    return RunPicture(
        phase=phase_of(run),
        step=step,
        max_steps=total,
        rate=rate,
        eta=eta_of(run, pace, step, total, now) if rate else None,
        loss=run.curves.last("loss"),
        smoothed=smoothed(loss.values) if loss else None,
    )


def eta_of(run: RunView, pace: Pace, step: int | None, total: int | None, now: float) -> float | None:
    """Seconds until the run ends, its saves included; from the bar's step where that is ahead of the log."""
    if step is None or not total or not pace.speed:
        return None
    plan = msgspec.structs.replace(run.job.spec.save or NO_SAVES, max_steps=total)
    # The disk guard's own figure, so that its last save is not after the run's end.
    each = save_time(Writer(run=run.id, plan=plan, checkpoints=run.checkpoints, save_seconds=pace.save_seconds))
    left = remaining(step, plan, pace.speed, each) + (each if plan.final_save else 0.0)
    return max(0.0, left - max(0.0, now - (last_seen(run) or now)))


def phase_of(run: RunView) -> str:
    """The job's state where that says all, the trainer's phase while it runs."""
    state = run.job.state
    if state is not JobState.RUNNING:
        return state.value
    if run.job.stop is not None:
        return f"stopping ({run.job.rung or run.job.stop.mode})"
    return run.progress.phase


def step_of(run: RunView) -> int | None:
    """The bar's step, or that of the last point where there is no bar."""
    steps = [curve.steps[-1] for curve in run.curves.by_name.values() if curve]
    if run.progress.step is not None:
        steps.append(run.progress.step)
    return max(steps, default=None)


def max_steps_of(run: RunView) -> int | None:
    """What the bar counts to; before there is one, what was asked for."""
    if run.progress.max_steps:
        return run.progress.max_steps
    return run.job.spec.save.max_steps if run.job.spec.save else None


def smoothed(values: Iterable[float], weight: float = SMOOTHING) -> float | None:
    """The last smoothed value: an exponential average corrected for its start, as TensorBoard draws it."""
    average, share = 0.0, 1.0
    for value in values:
        if math.isfinite(value):
            average = average * weight + (1 - weight) * value
            share *= weight
    return average / (1 - share) if share < 1 else None


def pace_of(run: RunView) -> Pace:
    """The run's pace, from its last log points; from the bar's moves where it has logged too little yet."""
    pace = Pace(run.job.spec.save.save_steps if run.job.spec.save else 0)
    points = _timed(run, exact=True)
    if len(points) < EXACT:
        points = _timed(run)
    if len(points) < 2:
        points = [(step, wall) for wall, step in run.ticks]
    pace.extend(points)
    return pace


def rate_of(run: RunView, now: float, pace: Pace | None = None) -> float | None:
    """Steps a second; None where the run does not run, or no step was seen for so long that it has no speed."""
    if run.job.state is not JobState.RUNNING:
        return None
    speed = (pace or pace_of(run)).speed
    seen = last_seen(run)
    if not speed or seen is None or now - seen > max(60.0, STALE / speed):
        return None
    return speed


def last_seen(run: RunView) -> float | None:
    """When a step was last seen: the newest log point or the bar's last move."""
    times = [wall for _, wall in _timed(run)[-1:]] + [wall for wall, _ in list(run.ticks)[-1:]]
    return max(times, default=None)


def step_time(run: RunView) -> float | None:
    """The usual seconds a step takes."""
    speed = pace_of(run).speed
    return 1 / speed if speed else None


def _timed(run: RunView, *, exact: bool = False) -> list[tuple[int, float]]:
    """(step, wall) of the loss's last points that have a time; of the longest curve where there is no loss.

    `exact`: only those that an event file tells to the microsecond. The log's are whole seconds, by another clock.
    """
    curves = run.curves.by_name
    curve = curves.get("loss") or max(curves.values(), key=len, default=None)
    if curve is None:
        return []
    points: list[tuple[int, float]] = []
    for index in range(len(curve) - 1, max(-1, len(curve) - 2 - MOST), -1):
        wall = curve.walls[index]
        if not math.isfinite(wall) or (exact and curve.rough[index]):
            continue
        points.append((curve.steps[index], wall))
        if len(points) > POINTS and points[0][1] - wall >= SPAN:
            break
    return points[::-1]
