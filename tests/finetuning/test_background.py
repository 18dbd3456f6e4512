"""How fast others fill a disk: through our own saves, gaps, and clocks that jump."""

from __future__ import annotations

import random

import pytest

from dm_isaac_g1.finetuning.background import LEAST_SAMPLES, LONG, BackgroundRate

GB = 1_000_000_000
FULL = 500 * GB


def fed(seconds: int, rate: float, every: int = 10, start: float = 1000.0) -> BackgroundRate:
    background = BackgroundRate()
    for t in range(0, seconds, every):
        background.add(start + t, int(FULL - rate * t), 0)
    return background


def test_a_steady_writer_has_its_rate() -> None:
    assert fed(1800, 5e6).rate() == pytest.approx(5e6, rel=1e-6)


def test_nobody_writing_is_zero_and_freeing_is_no_gain() -> None:
    assert fed(1800, 0).rate() == 0
    assert fed(1800, -5e6).rate() == 0


def test_too_little_says_nothing() -> None:
    background = fed(10 * (LEAST_SAMPLES - 1), 5e6)
    assert not background.known and background.rate() == 0
    assert fed(100, 5e6).known


def test_our_own_saves_and_rotations_are_not_others() -> None:
    background, own = BackgroundRate(), 0
    for t in range(0, 3600, 10):
        if t % 600 == 300:
            own += 22 * GB
        if t % 600 == 330 and own > 44 * GB:
            own -= 22 * GB
        background.add(float(t), int(FULL - own - 1e6 * t), own)
    assert background.rate() == pytest.approx(1e6, rel=0.01)


def test_a_save_under_way_is_left_out() -> None:
    background = BackgroundRate()
    for t in range(0, 1800, 10):
        saving = t % 300 < 120  # two fifths of the time a half-written checkpoint that is not yet in `own`
        background.add(float(t), FULL - (10 * GB if saving else 0) - 1000 * t, 0, saving=saving)
    assert background.rate() == pytest.approx(1000, rel=0.01)


def test_wild_samples_do_not_turn_it() -> None:
    background, rng = BackgroundRate(), random.Random(1)
    for t in range(0, 1800, 10):
        wild = rng.choice((-1, 1)) * 50 * GB if rng.random() < 0.2 else 0
        background.add(float(t), int(FULL - 2e6 * t + wild), 0)
    assert background.rate() == pytest.approx(2e6, rel=0.1)


def test_the_worse_of_half_an_hour_and_six_hours_counts() -> None:
    stopped = BackgroundRate()
    for t in range(0, 6 * 3600, 10):
        stopped.add(float(t), int(FULL - 4e6 * min(t, 5 * 3600)), 0)
    assert stopped.rate() > 3e6  # nothing in the last half hour, and it may come again
    begun = BackgroundRate()
    for t in range(0, 6 * 3600, 10):
        begun.add(float(t), int(FULL - 4e6 * max(0, t - 5 * 3600)), 0)
    assert begun.rate() == pytest.approx(4e6, rel=0.01)


def test_h14_a_gap_of_the_agent_changes_nothing() -> None:
    background = BackgroundRate()
    for t in [*range(0, 600, 10), *range(1500, 1800, 10)]:
        background.add(float(t), int(FULL - 3e6 * t), 0)
    assert background.rate() == pytest.approx(3e6, rel=0.01)


def test_h14_a_host_that_was_started_again_begins_anew() -> None:
    background = fed(1800, 5e6, start=1e6)
    background.add(12.0, FULL, 0)
    assert not background.known and background.rate() == 0
    for t in range(20, 400, 10):
        background.add(float(t), int(FULL - 1e6 * t), 0)
    assert background.rate() == pytest.approx(1e6, rel=0.01)


def test_h14_a_leap_forward_forgets_what_is_too_old() -> None:
    background = fed(1800, 5e6)
    background.add(1e9, FULL, 0)
    assert not background.known


def test_memory_is_bounded() -> None:
    background = fed(3 * int(LONG), 1.0, every=1)
    assert len(background._short) <= 182 and len(background._long) <= 182
