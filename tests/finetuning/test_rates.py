"""Speed and end of a run from our own clock; stalls."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.runs import SavePlan
from dm_isaac_g1.finetuning.rates import POINTS, Pace, remaining, stall
from dm_isaac_g1.finetuning.trainlog import TrainLogReader

LOGS = Path(__file__).parent.parent / "captures" / "logs"

PLAN = SavePlan(save_steps=100, max_steps=1000)


def paced(last: int, step_s: float = 0.5, save_s: float = 30.0, every: int = 10) -> tuple[Pace, float]:
    """A run that logs every tenth step and saves every hundredth; (its pace, the time of its last point)."""
    pace, now = Pace(save_steps=100), 1000.0
    for step in range(every, last + 1, every):
        now += every * step_s
        pace.add(step, now)
        if step < last and step % 100 == 0:
            now += save_s
    return pace, now


def test_speed_is_the_median_and_saves_do_not_slow_it() -> None:
    pace, _ = paced(900)
    assert pace.speed == pytest.approx(2.0)
    assert pace.save_seconds == pytest.approx(30.0)


def test_the_end_counts_the_saves_to_come() -> None:
    pace, now = paced(500)
    # 500 steps of half a second; saves at 500 (just begun), 600 ... 1000 take 30 s each.
    assert pace.eta(PLAN, now) == pytest.approx(250 + 5 * 30)
    assert pace.eta(PLAN, now + 10) == pytest.approx(240 + 5 * 30)
    assert remaining(0, SavePlan(save_steps=300, max_steps=1000), 1.0, 10.0) == 1000 + 4 * 10


def test_an_eta_comes_true() -> None:
    for last in (210, 450, 790):
        pace, now = paced(last)
        _, end = paced(1000)
        eta = pace.eta(PLAN, now)
        assert eta is not None and now + eta == pytest.approx(end + 30, abs=31)


def test_nothing_known_is_none() -> None:
    pace = Pace(100)
    assert pace.speed is None and pace.eta(PLAN, 0.0) is None and pace.save_seconds is None
    pace.add(10, None)
    pace.add(20, float("nan"))
    assert pace.speed is None
    pace.add(30, 5.0)
    assert pace.speed is None


def test_a_resume_or_a_clock_set_back_begins_anew() -> None:
    pace, now = paced(500)
    pace.add(210, now + 100)  # resumed from 200
    assert pace.speed is None
    pace.add(220, now + 101)
    assert pace.speed == pytest.approx(10.0)
    pace.add(230, now - 5000)
    assert pace.speed is None


def test_the_same_step_twice_is_one() -> None:
    pace, now = paced(500)
    pace.add(500, now + 3)
    assert pace.speed == pytest.approx(2.0)


def test_old_points_are_forgotten() -> None:
    pace = Pace()
    for step in range(1000):
        pace.add(step, float(step))
    for step in range(1000, 1000 + POINTS + 1):
        pace.add(step, 1000.0 + (step - 1000) * 4)
    assert pace.speed == pytest.approx(0.25)


def test_points_that_come_in_bursts_have_a_speed() -> None:
    pace = Pace()
    for burst in range(5):
        for step in range(10):
            pace.add(burst * 10 + step, burst * 10.0)
    assert pace.speed == pytest.approx(49 / 40)


@pytest.mark.parametrize("phase", [0.0, 0.37, 0.81])
@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("speed", [0.7, 3.1, 13.0, 31.0])
@pytest.mark.parametrize("known", [True, False])
def test_the_speed_is_right_within_a_tenth_although_times_are_whole_seconds(
    phase: float, every: int, speed: float, known: bool
) -> None:
    """As a bar tells them; a save of five seconds every hundred steps, known to be one or not."""
    pace, now = Pace(save_steps=100 if known else 0), 1000.0 + phase
    for step in range(1, 1001):
        now += 1 / speed
        if step % every == 0:
            pace.add(step, float(math.floor(now)))
        if step > 700 and step % every == 0:
            assert pace.speed == pytest.approx(speed, rel=0.1)
        if step % 100 == 0:
            now += 5.0


def test_intervals_that_are_often_long_count() -> None:
    """A loader that makes every fourth interval ten times as long is how the run goes."""
    pace, now = Pace(), 0.0
    for point in range(1, 61):
        now += 20.0 if point % 4 == 0 else 2.0
        pace.add(point * 10, now)
    assert pace.speed == pytest.approx(40 / 26, rel=0.1)


def test_a_time_that_is_a_little_late_does_not_begin_the_measuring_anew() -> None:
    pace = Pace()
    for step in range(10, 1001, 10):
        late = 1.5 if step % 70 == 0 else 0.0
        pace.add(step, 1000.0 + step / 13 + late)
    assert pace.speed == pytest.approx(13.0, rel=0.05)


@pytest.mark.parametrize("name", ["REAL_n16trainer_ok", "REAL_resumed", "REAL_interrupted_torchrun_sigint"])
def test_the_speed_of_a_log_read_whole_is_the_trainers_own(name: str) -> None:
    """Its own: what it says at its end of the steps it made, else its bar, which is right where nothing was resumed."""
    data = (LOGS / f"{name}.log").read_bytes()
    points = [each for each in TrainLogReader().feed(data, 1e6) if each.name == "loss"]
    pace = Pace(100)
    pace.extend((each.step, each.wall) for each in points)
    runtime = re.search(rb"'train_runtime': ([\d.]+)", data)
    if runtime:
        steps = points[-1].step - points[0].step + 10
        truth = steps / float(runtime[1])
    else:
        truth = float(re.findall(rb" ([\d.]+)it/s\]", data)[-2])
    assert pace.speed == pytest.approx(truth, rel=0.1)


def test_a_stall_is_many_times_a_steps_time_and_two_minutes_at_least() -> None:
    limits = Thresholds(stall_factor=20, stall_min_s=120)
    assert stall(1100, 1000, 2.0, logging_steps=10, thresholds=limits) is None
    found = stall(1121, 1000, 2.0, logging_steps=10, thresholds=limits)
    assert found is not None and found.quiet == 121 and found.allowed == 120
    assert stall(1121, 1000, 0.1, logging_steps=10, thresholds=limits) is None  # a point takes 100 s
    assert stall(3001, 1000, 0.1, logging_steps=10, thresholds=limits) is not None
    assert stall(1121, 1000, 2.0, logging_steps=10, save_seconds=60, thresholds=limits) is None


def test_caching_and_starting_are_no_stalls() -> None:
    assert stall(1e9, 0.0, 1.0, caching=True) is None
    assert stall(1e9, None, None) is None
