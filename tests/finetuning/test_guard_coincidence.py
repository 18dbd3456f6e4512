"""Where runs only run out of space if they save at the same time, the guard says so, and still says FAIL."""

from __future__ import annotations

import pytest

from dm_isaac_g1.core.forecasts import Forecast, Verdict
from dm_isaac_g1.core.runs import SavePlan
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.guard import forecast
from dm_isaac_g1.finetuning.timeline import Writer
from dm_isaac_g1.fleet.alerts import disk_title

GB = 10**9
#: Keeps one checkpoint of 10 GB: 10 GB stay, 20 GB are taken while it saves.
PLAN = SavePlan(save_steps=100, max_steps=1000, limit=1, final_save=False, checkpoint_bytes=10 * GB)


def two(avail: int, rate: float | None = None) -> Forecast:
    disk = Disk(dev=1, mount="/data", total=1000 * GB, avail=avail)
    writers = [Writer(run=name, plan=PLAN, rate=rate, growth=0.0) for name in ("a", "b")]
    return forecast(disk, writers, reserve=0)


@pytest.mark.parametrize("rate", [None, 1.0])
def test_saves_that_fit_unless_they_coincide_may_fail(rate: float | None) -> None:
    word = two(35 * GB, rate)
    assert (word.verdict, word.coincidence, word.missing) == (Verdict.FAIL, True, 5 * GB)
    assert "lacks 5.0 GB if runs save at the same time" in word.reason
    assert "may not fit" in disk_title(word) and "will" not in disk_title(word)


@pytest.mark.parametrize("rate", [None, 1.0])
def test_saves_that_never_fit_will_fail(rate: float | None) -> None:
    """10 GB of the other and 20 GB of its own are more than there is, whenever they save."""
    word = two(25 * GB, rate)
    assert (word.verdict, word.coincidence) == (Verdict.FAIL, False)
    assert "same time" not in word.reason and "will not fit" in disk_title(word)


def test_enough_for_all_at_once_is_enough() -> None:
    assert (two(40 * GB).verdict, two(40 * GB).coincidence) == (Verdict.FIT, False)


def test_one_run_alone_fails_for_certain() -> None:
    disk = Disk(dev=1, mount="/data", total=1000 * GB, avail=15 * GB)
    word = forecast(disk, [Writer(run="a", plan=PLAN)], reserve=0)
    assert (word.verdict, word.coincidence) == (Verdict.FAIL, False)
