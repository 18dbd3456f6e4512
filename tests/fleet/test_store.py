"""The picture, and those who look at it."""

from __future__ import annotations

import asyncio
import math

import pytest
from fakehost import job, sample

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.runs import MetricPoint, TrainProgress
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.fleet.logs import KEPT
from dm_isaac_g1.fleet.store import DISK_HISTORY, DISKS, Store

RUN = "20261120T120000-run-0a0a0a"


def log(*lines: str, replaced: bool = False) -> ev.Log:
    return ev.Log(host="ws", source=RUN, lines=lines, replaced=replaced)


async def test_fifty_thousand_lines_are_one_change() -> None:
    store = Store()
    store.apply(ev.Job(job=job()))
    with store.subscribe() as changes:
        for number in range(50_000):
            store.apply(log(f"line {number}"))
        assert await changes.changed() == {f"log:{RUN}"}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await changes.changed()
    kept = store.runs[RUN].log
    assert (len(kept.lines), kept.lines[-1], kept.total) == (KEPT, "line 49999", 50_000)


def test_a_progress_bar_takes_one_line_however_often_it_moves() -> None:
    store = Store()
    store.apply(ev.Job(job=job()))
    store.apply(log("begin", "1/3"))
    store.apply(log("2/3", replaced=True))
    store.apply(log("3/3", "end", replaced=True))
    assert list(store.runs[RUN].log.lines) == ["begin", "3/3", "end"]


def test_what_a_closed_subscription_missed_is_nobodys() -> None:
    store = Store()
    with store.subscribe(events=True) as changes:
        store.apply(ev.Sample(sample=sample()))
    store.apply(ev.Sample(sample=sample(seq=1)))
    assert [event.sample.seq for event in changes.take_events() if isinstance(event, ev.Sample)] == [0]


def test_a_hosts_last_sample_stays_when_it_goes_away() -> None:
    store = Store()
    store.apply(ev.Sample(sample=sample()))
    store.apply(ev.HostStatus(host="ws", state="away", since=1.0))
    assert store.hosts["ws"].sample is not None
    assert store.hosts["ws"].status.state == "away"


def test_events_for_a_run_that_is_not_known_are_no_accident() -> None:
    store = Store()
    store.apply(log("early"))
    store.apply(ev.Metrics(host="ws", run=RUN, points=(MetricPoint(name="loss", step=1, value=1.0),)))
    store.apply(ev.Checkpoints(host="ws", run=RUN, checkpoints=()))
    assert not store.runs


def test_the_bars_moves_are_kept_with_their_times() -> None:
    store = Store()
    store.apply(ev.Job(job=job()))
    for at, step in ((1.0, 1), (2.0, 2), (3.0, 2), (4.0, 3)):
        store.apply(ev.Metrics(at=at, host="ws", run=RUN, points=(), progress=TrainProgress(step=step)))
    assert list(store.runs[RUN].ticks) == [(1.0, 1), (2.0, 2), (4.0, 3)]


def test_nan_crosses_the_wire_and_comes_back() -> None:
    event = ev.Metrics(host="ws", run=RUN, points=(MetricPoint(name="grad_norm", step=1, value=math.nan),))
    line = ev.encode(event)
    assert b"NaN" not in line
    back = ev.decode(line)
    assert isinstance(back, ev.Metrics)
    assert math.isnan(back.points[0].value)


def test_disks_are_remembered_every_ten_seconds_for_an_hour_and_no_more_of_them_than_fit() -> None:
    store = Store()
    for second in range(2 * 3600):
        disk = Disk(dev=1, mount="/", total=1000, avail=1000 - second // 10)
        store.apply(ev.Sample(sample=sample(t_mono=float(second), disks=(disk,))))
    view = store.hosts["ws"]
    past = view.disk_history[1]
    assert len(past) == DISK_HISTORY
    assert (past[-1], past[-2]) == (pytest.approx(71.9), pytest.approx(71.8))
    many = tuple(Disk(dev=dev, mount=f"/{dev}", total=10, avail=5) for dev in range(2, 500))
    store.apply(ev.Sample(sample=sample(t_mono=3.0, disks=many)))  # the host was started anew
    assert len(view.disk_history) == DISKS and 1 not in view.disk_history


def test_what_a_host_does_not_say_leaves_no_trace_in_its_histories() -> None:
    store = Store()
    store.apply(ev.Sample(sample=sample(gpu={"util": None}, memory=None)))
    view = store.hosts["ws"]
    assert not (view.gpu_history or view.vram_history or view.memory_history or view.cpu_history or view.disk_history)
