"""A row of an older run shows its last step and loss; it costs the end of its log, read once."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from fakehost import FakeHost, job, new_job
from fleets import eventually, fleet

from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.fleet.glimpses import TAIL, last_figures
from dm_isaac_g1.fleet.runs import step_of

LOGS = Path(__file__).parents[1] / "captures" / "logs"


def id_of(number: int) -> str:
    return f"20261120T120000-run-{number:06x}"


def old_jobs(root: Path, host: FakeHost, count: int, log: bytes, state: JobState = JobState.SUCCEEDED) -> list[str]:
    """`count` jobs that ended, the oldest first, and their ids; the newest two are followed by every fleet."""
    for number in range(count):
        host.jobs.put(new_job(root, id_of(number), log=log, state=state, created=float(number), ended=float(number)))
    return [id_of(number) for number in range(count)]


async def test_rows_in_view_get_their_last_figures_and_no_others(tmp_path: Path) -> None:
    log = (LOGS / "REAL_n16trainer_ok.log").read_bytes()
    host = FakeHost(tmp_path)
    old_jobs(tmp_path, host, 8, log)
    async with fleet(host) as there:
        assert await there.settled(5)
        runs = there.store.runs
        assert runs[id_of(3)].curves.last("loss") is None
        there.in_view([id_of(3), id_of(4)])
        await eventually(lambda: runs[id_of(4)].curves.last("loss") is not None)
        for number in (3, 4):
            whole = runs[id_of(7)]
            assert runs[id_of(number)].curves.last("loss") == whole.curves.last("loss")
            assert step_of(runs[id_of(number)]) == step_of(whole)
            assert len(runs[id_of(number)].curves.by_name["loss"]) == 1
        assert runs[id_of(2)].curves.last("loss") is None
        assert len(host.files.reads) == 2


async def test_a_long_log_costs_64_kib_once(tmp_path: Path) -> None:
    log = b"noise\n" * 200_000 + (LOGS / "REAL_n16trainer_ok.log").read_bytes()[-20_000:]
    host = FakeHost(tmp_path)
    old_jobs(tmp_path, host, 4, log)
    async with fleet(host) as there:
        assert await there.settled(10)
        for _ in range(5):
            there.in_view([id_of(0)])
            await asyncio.sleep(0.05)
        assert [size for path, size in host.files.pieces if id_of(0) in path] == [TAIL]
        assert there.store.runs[id_of(0)].curves.last("loss") is not None


async def test_the_whole_curve_comes_when_the_run_is_looked_at(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    old_jobs(tmp_path, host, 4, (LOGS / "REAL_n16trainer_ok.log").read_bytes())
    async with fleet(host) as there:
        assert await there.settled(5)
        there.in_view([id_of(0)])
        run, whole = there.store.runs[id_of(0)], there.store.runs[id_of(3)]
        await eventually(lambda: run.curves.last("loss") is not None)
        there.focus(id_of(0))
        await eventually(lambda: there.caught_up(id_of(0)))
        mine, theirs = run.curves.by_name["loss"], whole.curves.by_name["loss"]
        assert (mine.steps, mine.values) == (theirs.steps, theirs.values)
        assert all(map(math.isfinite, mine.walls))


async def test_an_old_run_that_failed_is_told_with_its_cause(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    old_jobs(tmp_path, host, 4, (LOGS / "REAL_diskfull_safetensors.log").read_bytes(), JobState.FAILED)
    async with fleet(host) as there:
        assert await there.settled(5)
        assert there.store.runs[id_of(0)].job.diagnosis is None
        there.in_view([id_of(0)])
        await eventually(lambda: there.store.runs[id_of(0)].job.diagnosis is not None)


@pytest.mark.parametrize("log", [None, b"", b"\xff\x00\x1b]0;owned\x07" * 999])
async def test_a_log_that_says_nothing_is_asked_once_and_stays_a_dash(tmp_path: Path, log: bytes | None) -> None:
    host = FakeHost(tmp_path)
    old_jobs(tmp_path, host, 4, log or b"")
    if log is None:
        for path in tmp_path.rglob("log"):
            path.unlink()
    async with fleet(host) as there:
        assert await there.settled(5)
        for _ in range(4):
            there.in_view([id_of(0)])
            await asyncio.sleep(0.05)
        assert step_of(there.store.runs[id_of(0)]) is None
        assert len([path for path, _ in host.files.pieces if id_of(0) in path]) <= 1


async def test_a_host_that_is_away_is_asked_when_it_is_back(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    old_jobs(tmp_path, host, 4, (LOGS / "REAL_n16trainer_ok.log").read_bytes())
    async with fleet(host) as there:
        assert await there.settled(5)
        host.say("away")
        await eventually(lambda: there.store.hosts["ws"].status.state == "away")
        there.in_view([id_of(0)])
        await asyncio.sleep(0.1)
        assert not host.files.pieces
        host.say("up")
        await eventually(lambda: there.store.hosts["ws"].status.state == "up")
        there.in_view([id_of(0)])
        await eventually(lambda: there.store.runs[id_of(0)].curves.last("loss") is not None)


def test_a_nan_that_prints_as_zero_is_nan() -> None:
    event = last_figures("ws", job(state=JobState.FAILED), (LOGS / "nan_loss.log").read_bytes())
    assert event is not None and math.isnan(event.points[0].value)
