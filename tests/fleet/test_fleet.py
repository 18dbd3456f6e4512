"""The fleet's picture is true, whatever happens to one host or one monitor."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec
import pytest
from fakehost import PLAN, FakeHost, checkpoint, new_job, sample
from fleets import eventually, fleet

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import HostUnreachable, UsageError
from dm_isaac_g1.core.forecasts import Verdict
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.core.samples import Disk

LOGS = Path(__file__).parents[1] / "captures" / "logs"
RUN = "20261120T120000-run-0a0a0a"


def line(step: int, total: int = 1000, loss: float = 0.5) -> bytes:
    """A log line and the bar after it, as transformers 5 writes them."""
    said = f"\r{{'loss': '{loss}', 'grad_norm': '1.0', 'learning_rate': '0.001', 'epoch': '0.1'}}\n"
    return (said + f"\r {step * 100 // total:2d}%|#  | {step}/{total} [00:{step % 60:02d}<01:00, 10.00it/s]").encode()


async def test_a_real_log_is_in_the_picture_as_the_trainer_recorded_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    log = (LOGS / "REAL_n16trainer_ok.log").read_bytes()
    host.jobs.put(new_job(tmp_path, log=log, state=JobState.SUCCEEDED))
    async with fleet(host) as there:
        assert await there.settled(5)
        recorded = msgspec.json.decode((LOGS / "trainer_state_ok.json").read_bytes())["log_history"]
        want = [(each["step"], each["loss"]) for each in recorded if "loss" in each]
        curve = there.store.runs[RUN].curves.by_name["loss"]
        assert list(zip(curve.steps, curve.values, strict=True)) == want
        assert there.store.runs[RUN].log.lines


async def test_a_line_written_now_is_seen_at_once_and_no_byte_twice(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    job = new_job(tmp_path, log=line(10))
    host.jobs.put(job)
    path = Path(job.folder) / "log"
    async with fleet(host) as there:
        assert await there.settled(5)
        for step in range(20, 200, 10):
            with path.open("ab") as file:
                file.write(line(step, loss=step / 1000))
        await eventually(lambda: there.store.runs[RUN].curves.last("loss") == 0.19)
        assert there.store.runs[RUN].progress.step == 190
        assert host.files.reads[str(path)] == path.stat().st_size


async def test_a_monitor_that_fails_is_begun_again_where_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = FakeHost(tmp_path)
    job = new_job(tmp_path, log=line(10))
    host.jobs.put(job)
    path = Path(job.folder) / "log"
    async with fleet(host) as there:
        assert await there.settled(5)
        host.files.fail = ZeroDivisionError("a bug of ours")
        with caplog.at_level(logging.ERROR), path.open("ab") as file:
            file.write(line(20, loss=0.25))
            await eventually(lambda: "a bug of ours" in caplog.text)
        host.give(sample(seq=7))
        await eventually(lambda: there.store.hosts["ws"].sample.seq == 7)  # type: ignore[union-attr]
        host.files.fail = None
        await eventually(lambda: there.store.runs[RUN].curves.last("loss") == 0.25)
        assert host.files.reads[str(path)] == path.stat().st_size


async def test_a_host_that_is_away_is_no_accident_and_its_picture_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = FakeHost(tmp_path)
    job = new_job(tmp_path, log=line(10))
    host.jobs.put(job)
    async with fleet(host) as there:
        assert await there.settled(5)
        host.files.fail = HostUnreachable("the connection was lost", where="ws")
        host.say("away")
        await eventually(lambda: there.store.hosts["ws"].status.state == "away")
        assert there.store.hosts["ws"].sample is not None
        with (Path(job.folder) / "log").open("ab") as file:
            file.write(line(20, loss=0.25))
        host.files.fail = None
        host.say("up")
        await eventually(lambda: there.store.runs[RUN].curves.last("loss") == 0.25)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_one_host_that_is_away_does_not_hold_up_the_others(tmp_path: Path) -> None:
    here, gone = FakeHost(tmp_path, "ws"), FakeHost(tmp_path, "spark", state="away")
    async with fleet(here, gone) as there:
        begun = time.monotonic()
        assert await there.settled(5)
        assert time.monotonic() - begun < 2
        assert {name: view.status.state for name, view in there.store.hosts.items()} == {"ws": "up", "spark": "away"}


async def test_five_hundred_old_jobs_cost_nothing_until_one_is_looked_at(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    for number in range(500):
        id = f"20261120T120000-run-{number:06x}"
        host.jobs.put(new_job(tmp_path, id, log=line(10), state=JobState.SUCCEEDED, created=float(number)))
    async with fleet(host) as there:
        assert await there.settled(5)
        assert len(there.store.runs) == 500
        assert len(host.files.reads) == 2
        old = "20261120T120000-run-000003"
        there.focus(old)
        await eventually(lambda: there.caught_up(old))
        assert there.store.runs[old].curves.last("loss") == 0.5
        assert len(host.files.reads) == 3


async def test_a_run_that_fails_is_told_with_its_cause(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    log = (LOGS / "REAL_diskfull_safetensors.log").read_bytes()
    running = new_job(tmp_path, log=log)
    host.jobs.put(running)
    async with fleet(host) as there:
        assert await there.settled(5)
        host.jobs.put(new_job(tmp_path, log=log, state=JobState.FAILED))
        await eventually(lambda: there.store.runs[RUN].job.diagnosis is not None)
        key = f"job-failed:{RUN}"
        await eventually(lambda: key in there.store.alerts and "disk" in there.store.alerts[key].title.lower())


async def test_a_failure_from_before_is_told_once_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although its log takes a while to read, and the alerts are judged many times meanwhile."""
    host = FakeHost(tmp_path)
    log = (LOGS / "REAL_diskfull_safetensors.log").read_bytes()
    host.jobs.put(new_job(tmp_path, log=log, state=JobState.FAILED, ended=time.time() - 3600))
    monkeypatch.setattr("dm_isaac_g1.fleet.fleet.ALERTS_EVERY", 0.01)
    async with fleet(host) as there:
        with there.store.subscribe(events=True) as seen:
            await eventually(lambda: f"job-failed:{RUN}" in there.store.alerts)
            told = [each.title for each in seen.take_events() if isinstance(each, ev.Alert)]
    assert len(told) == 1 and "disk" in told[0].lower()


async def test_the_guard_sees_the_runs_checkpoints_and_names_the_save_that_fails(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.files.disk = Disk(dev=1, mount="/data", total=10**9, avail=70_000_000)
    out = tmp_path / "checkpoints" / "run"
    checkpoint(out, 100, 15_000_000)
    host.jobs.put(new_job(tmp_path, log=line(110), output_dir=str(out), save=PLAN))
    async with fleet(host) as there:
        assert await there.settled(5)
        (word,) = there.store.hosts["ws"].forecasts
        assert [each.step for each in there.store.runs[RUN].checkpoints] == [100]
        # 70 MB: the saves at 200 and 300 (30 MB each) fit, with two kept; the one at 300 leaves 10 MB.
        assert word.verdict in (Verdict.TIGHT, Verdict.FAIL)
        host.files.disk = Disk(dev=1, mount="/data", total=10**9, avail=29_000_000)
        await there.judge()
        (word,) = there.store.hosts["ws"].forecasts
        assert (word.verdict, word.failing and word.failing.step) == (Verdict.FAIL, 200)
        await eventually(lambda: "disk:ws:1" in there.store.alerts)


async def test_a_checkpoint_is_seen_when_the_log_says_that_it_is_saved(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    out = tmp_path / "checkpoints" / "run"
    job = new_job(tmp_path, log=line(99), output_dir=str(out), save=PLAN)
    host.jobs.put(job)
    async with fleet(host) as there:
        assert await there.settled(5)
        checkpoint(out, 100)
        with (Path(job.folder) / "log").open("ab") as file:
            file.write(b"\rWriting model shards:   0%|          | 0/1 [00:00<?, ?it/s]")
        await eventually(lambda: there.store.runs[RUN].checkpoints, within=2)


async def test_nothing_is_left_when_it_closes(tmp_path: Path) -> None:
    import asyncio

    host = FakeHost(tmp_path)
    host.jobs.put(new_job(tmp_path, log=line(10)))
    before = asyncio.all_tasks()
    async with fleet(host) as there:
        await there.settled(5)
    assert asyncio.all_tasks() == before


def test_an_unknown_host_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean workstation"):
        fleet(FakeHost(tmp_path, "workstation"), only=["workstaton"])


async def test_event_files_are_found_and_read_on_and_agree_with_the_log(tmp_path: Path) -> None:
    writer_module = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    def scalar(step: int, value: float) -> Event:
        summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=value)])
        return Event(wall_time=time.time(), step=step, summary=summary)

    host = FakeHost(tmp_path)
    folder = tmp_path / "runs"
    host.jobs.put(new_job(tmp_path, log=line(10, loss=0.5), events_dir=str(folder)))
    async with fleet(host) as there:
        assert await there.settled(5)
        first = writer_module.EventFileWriter(str(folder / "Nov20_ws"))
        for step in (10, 20):
            first.add_event(scalar(step, step / 100))
        first.flush()
        curves = there.store.runs[RUN].curves
        await eventually(lambda: curves.last("loss") == pytest.approx(0.2))
        first.add_event(scalar(30, 0.3))
        first.flush()
        await eventually(lambda: curves.last("loss") == pytest.approx(0.3))
        assert list(curves.by_name["loss"].steps) == [10, 20, 30]
        first.close()


async def test_a_truncated_log_is_read_anew(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    job = new_job(tmp_path, log=line(10) + line(20) + line(30))
    host.jobs.put(job)
    async with fleet(host) as there:
        assert await there.settled(5)
        (Path(job.folder) / "log").write_bytes(line(40, loss=0.125))
        await eventually(lambda: there.store.runs[RUN].curves.last("loss") == 0.125)
        assert there.store.runs[RUN].progress.step == 40


async def test_a_hostile_log_harms_nobody(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    hostile = b"\x1b]52;c;eA==\x07" + b"\xff\xfe" + b"x" * 3_000_000 + b"\n\x1b[2Jend\r" + line(10)
    host.jobs.put(new_job(tmp_path, log=hostile))
    async with fleet(host) as there:
        assert await there.settled(10)
        run = there.store.runs[RUN]
        assert run.curves.last("loss") == 0.5
        assert not any("\x1b" in text or "\x07" in text for text in run.log.lines)
        assert max(map(len, run.log.lines)) < 70_000
