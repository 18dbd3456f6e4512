"""A run's figures: true, and the same for everybody."""

from __future__ import annotations

import math

import pytest
from fakehost import PLAN, job

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.runs import JobState, MetricPoint, TrainProgress
from dm_isaac_g1.fleet.runs import picture, smoothed
from dm_isaac_g1.fleet.store import RunView, Store

RUN = "20261120T120000-run-0a0a0a"
NOW = 1_000_000.0


def run(seconds: float = 2.0, last: int = 500, **more: object) -> RunView:
    """A run that logged every ten steps until NOW, `seconds` a step."""
    store = Store()
    store.apply(ev.Job(job=job(save=PLAN, **more)))
    points = tuple(
        MetricPoint(name="loss", step=s, value=1 - s / 1000, wall=NOW - (last - s) * seconds)
        for s in range(10, last + 1, 10)
    )
    store.apply(
        ev.Metrics(
            at=NOW,
            host="ws",
            run=RUN,
            points=points,
            progress=TrainProgress(step=last, max_steps=1000, phase="training"),
        )
    )
    return store.runs[RUN]


def test_speed_and_end_come_from_the_clock() -> None:
    at = picture(run(), NOW)
    assert (at.phase, at.step, at.max_steps, at.loss) == ("training", 500, 1000, 0.5)
    assert at.rate == pytest.approx(0.5)
    assert at.eta == pytest.approx(1000.0, rel=0.05)
    assert at.share == 0.5


def test_a_run_that_stands_still_has_no_speed_and_no_end() -> None:
    at = picture(run(), NOW + 3600)
    assert (at.rate, at.eta) == (None, None)


def test_a_run_that_ended_has_no_end_to_come() -> None:
    at = picture(run(state=JobState.SUCCEEDED), NOW)
    assert (at.phase, at.rate, at.eta) == ("succeeded", None, None)


def test_before_the_first_step_little_is_known() -> None:
    at = picture(RunView(job(save=PLAN)), NOW)
    assert (at.phase, at.step, at.max_steps, at.rate, at.loss) == ("starting", None, 1000, None, None)


def test_smoothing_passes_over_nan_and_is_true_at_the_start() -> None:
    assert smoothed([2.0]) == pytest.approx(2.0)
    assert smoothed([2.0, math.nan, 2.0]) == pytest.approx(2.0)
    assert smoothed([]) is None


def test_the_speed_is_from_exact_times_where_there_are_any() -> None:
    """The log's times are by another clock here, seconds off, and whole; they would tear the speed apart."""
    there = run(seconds=0.1)
    store = Store()
    store.runs[RUN] = there
    exact = tuple(
        MetricPoint(name="loss", step=s, value=1.0, wall=NOW - 100 + (s - 480) * 0.077) for s in range(10, 481, 10)
    )
    store.apply(ev.Metrics(at=NOW, host="ws", run=RUN, points=exact))
    assert picture(there, NOW).rate == pytest.approx(10, rel=0.01)  # much older: those of another start
    exact = tuple(
        MetricPoint(name="loss", step=s, value=1.0, wall=NOW - 4 + (s - 480) * 0.077) for s in range(10, 481, 10)
    )
    there = run(seconds=0.077)
    store.runs[RUN] = there
    store.apply(ev.Metrics(at=NOW, host="ws", run=RUN, points=exact))
    assert picture(there, NOW).rate == pytest.approx(13, rel=0.01)
