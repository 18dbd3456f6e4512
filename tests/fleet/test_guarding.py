"""What the guard is asked: it gives a verdict where it can, is never optimistic, and agrees with the run's own end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakehost import PLAN, FakeHost, job, new_job, spec
from fleets import fleet
from test_fleet import line

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.forecasts import Verdict
from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.runs import JobState, MetricPoint, TrainProgress
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.guard import forecast
from dm_isaac_g1.finetuning.rates import ASSUMED, CAUTION
from dm_isaac_g1.finetuning.timeline import Writer, save_time, timeline
from dm_isaac_g1.fleet import guarding
from dm_isaac_g1.fleet.monitors import disk as monitor
from dm_isaac_g1.fleet.runs import picture
from dm_isaac_g1.fleet.store import RunView, Store

RUN = "20261120T120000-run-0a0a0a"
NOW = 1_000_000.0
THRESHOLDS = Thresholds(disk_reserve_gb=0.001, disk_reserve_share=0.0)


def young(seconds: float, rates: tuple[float, ...], save_steps: int = 100) -> RunView:
    """A run that logs every ten steps and started `seconds` ago; its seconds a step change as `rates` say."""
    store = Store()
    plan = msgspec.structs.replace(PLAN, save_steps=save_steps, checkpoint_bytes=120_000_000)
    store.apply(ev.Job(job=job(save=plan)))
    points, wall, step = [], NOW - seconds, 0
    while True:
        wall += 10 * rates[min(step // 10, len(rates) - 1)]
        if wall > NOW:
            break
        step += 10
        points.append(MetricPoint(name="loss", step=step, value=1.0, wall=wall))
    progress = TrainProgress(step=step, max_steps=1000, phase="training")
    store.apply(ev.Metrics(at=points[-1].wall or NOW, host="ws", run=RUN, points=tuple(points), progress=progress))
    return store.runs[RUN]


@pytest.mark.parametrize(("seconds", "rates"), [(25, (0.4, 0.3, 0.1)), (25, (0.1,)), (90, (0.1,)), (300, (1.0, 0.5))])
def test_the_runs_own_end_and_its_last_save_are_told_alike(seconds: float, rates: tuple[float, ...]) -> None:
    run = young(seconds, rates)
    ours = guarding.writer(run, NOW)
    assert ours is not None
    at = picture(run, NOW)
    last = timeline(ours)[-1]
    assert last.kind == "final"
    assert at.eta is not None and last.start is not None
    step = 10 * rates[-1]  # what has passed since the last log point
    assert last.start - step <= at.eta <= last.start + save_time(ours) + step


def test_a_run_that_was_not_timed_yet_is_judged_by_an_earlier_one_and_tells_no_times() -> None:
    fresh = RunView(job(save=PLAN))
    ours = guarding.writer(fresh, NOW, 4.0)
    assert ours is not None
    assert (ours.rate, ours.rate_assumed) == (4.0 * CAUTION, True)
    disk = Disk(dev=1, mount="/", total=10**12, avail=10**9)
    word = forecast(disk, [ours], background=1000.0, reserve=0)
    assert word.verdict is Verdict.FIT
    assert {save.eta for save in word.saves} == {None}
    assert forecast(disk, [ours], background=3e6, reserve=0).verdict is Verdict.FAIL
    never = guarding.writer(fresh, NOW)
    assert never is not None
    assert forecast(disk, [never], background=1000.0, reserve=0).verdict is Verdict.UNKNOWN


def test_a_guessed_speed_never_keeps_two_runs_saves_apart() -> None:
    """One run's saves are known to be far apart from the other's guessed ones; still both may come at once."""
    plan = msgspec.structs.replace(PLAN, limit=1, save_steps=1000, final_save=False)
    sure = Writer(run="a", plan=plan, rate=100.0)
    guess = Writer(run="b", plan=plan, rate=0.1, rate_assumed=True)
    unknown = Writer(run="b", plan=plan)
    disk = Disk(dev=1, mount="/", total=10**9, avail=59_000_000)
    assert forecast(disk, [sure, guess], reserve=0).verdict is forecast(disk, [sure, unknown], reserve=0).verdict
    assert forecast(disk, [sure, guess], reserve=0).verdict is Verdict.FAIL


class Planned(FakeHost):
    """A host with this much room."""

    def __init__(self, root: Path, avail: int) -> None:
        super().__init__(root)
        self.files.disk = Disk(dev=1, mount="/data", total=10**12, avail=avail)


async def planned(host: FakeHost, background: float | None) -> Any:
    wanted = spec("20261120T130000-new-0b0b0b", trainer="bc", output_dir=str(host.root / "new"), save=PLAN)
    there: Any = host
    rates = None if background is None else {1: background}
    return await guarding.forecast_planned(there, wanted, THRESHOLDS, rates)


async def test_a_planned_run_gets_a_verdict_although_others_write(tmp_path: Path) -> None:
    host = Planned(tmp_path, 10**9)
    assert (await planned(host, None)).verdict is Verdict.FIT
    assert (await planned(host, 1e3)).verdict is Verdict.FIT
    word = await planned(host, 3e6)  # at 2 steps a second: 500 s and 1.5 GB
    assert word.verdict is Verdict.FAIL
    assert "taken to be low" in word.reason
    assert word.failing.eta is None
    assert ASSUMED["bc"] == 2.0


async def test_what_is_said_of_a_planned_run_is_without_the_id_that_it_does_not_have_yet(tmp_path: Path) -> None:
    word = await planned(Planned(tmp_path, 8 * 10**7), None)
    assert word.verdict is Verdict.FAIL and word.remedies
    assert word.failing.run.endswith("0b0b0b")
    assert "0b0b0b" not in " ".join([word.reason, *(each.title for each in word.remedies)])
    assert word.remedies[0].title.startswith("keep 1 checkpoint instead of")


async def test_a_planned_run_is_timed_by_the_last_one_that_finished_there(tmp_path: Path) -> None:
    host = Planned(tmp_path, 10**9)
    log = b"".join(
        line(step, total=1000).replace(b"[00:%02d" % (step % 60), b"[%02d:%02d" % divmod(step // 20, 60))
        for step in range(10, 1001, 10)
    )
    old = new_job(tmp_path, log=log, state=JobState.SUCCEEDED, save=PLAN)
    old = msgspec.structs.replace(old, spec=msgspec.structs.replace(old.spec, trainer="bc"))
    host.jobs.put(old)
    assert (await planned(host, 3e6)).verdict is Verdict.FIT  # at 10 steps a second: 100 s and 300 MB


async def test_what_others_write_is_measured_for_the_launch_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Planned(tmp_path, 10**9)
    host.jobs.put(new_job(tmp_path, log=line(10)))
    monkeypatch.setattr(monitor.BackgroundRate, "known", property(lambda self: True))
    monkeypatch.setattr(monitor.BackgroundRate, "rate", lambda self: 12.5)
    async with fleet(host) as there:
        assert await there.settled(5)
        assert there.hosts.background == {"ws": {1: 12.5}}


async def test_the_guard_looks_more_often_while_a_run_is_young(tmp_path: Path) -> None:
    host = Planned(tmp_path, 10**9)
    store = Store()
    watch = monitor.DiskMonitor(host, store, THRESHOLDS, store.apply)  # type: ignore[arg-type]
    now = time.time()
    assert watch._pause(now) == monitor.EVERY
    store.apply(ev.Job(job=new_job(tmp_path, started=now - 25)))
    assert watch._pause(now) == monitor.EVERY_YOUNG
    assert watch._pause(now + 300) == monitor.EVERY
    assert watch._pause(now - 3600) == monitor.EVERY, "a host whose clock is ahead"
