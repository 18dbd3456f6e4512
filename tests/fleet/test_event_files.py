"""Event files of any size are read whole, in their order, and hold nobody up."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest
from fakehost import FakeHost, new_job
from fleets import eventually, fleet

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.finetuning.crc32c import crc32c
from dm_isaac_g1.fleet.monitors import event_files
from dm_isaac_g1.fleet.monitors.event_files import EventFilesMonitor
from dm_isaac_g1.fleet.store import Store

RUN = "20261120T120000-run-0a0a0a"


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def scalar(step: int, value: float, wall: float, tag: bytes = b"train/loss") -> bytes:
    """One record of an event file."""
    one = b"\x0a" + varint(len(tag)) + tag + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + varint(len(one)) + one
    body = b"\x09" + struct.pack("<d", wall) + b"\x10" + varint(step) + b"\x2a" + varint(len(summary)) + summary
    head = struct.pack("<Q", len(body))
    sums = (struct.pack("<I", crc32c(part, mask=True)) for part in (head, body))
    return head + next(sums) + body + next(sums)


def monitor(tmp_path: Path, store: Store, ended: asyncio.Event) -> EventFilesMonitor:
    host = FakeHost(tmp_path)
    job = new_job(tmp_path, events_dir=str(tmp_path / "runs"))
    store.apply(ev.Job(job=job))
    return EventFilesMonitor(host, job, store.apply, ended=ended)  # type: ignore[arg-type]


async def test_a_large_file_is_handed_on_in_columns_and_its_rest_as_it_comes(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "events.out.tfevents.1.ws"
    file.parent.mkdir()
    file.write_bytes(b"".join(scalar(step, step / 8, 1e9 + step) for step in range(1, 5001)))
    store, kinds = Store(), set()
    reading = monitor(tmp_path, store, asyncio.Event())
    apply = reading._batch._apply
    reading._batch._apply = lambda event: (kinds.add(type(event)), apply(event))  # type: ignore[func-returns-value]
    following = asyncio.create_task(reading.follow())
    curves = store.runs[RUN].curves
    await eventually(lambda: reading.caught_up)
    assert list(curves.by_name["loss"].steps) == list(range(1, 5001))
    assert kinds == {ev.MetricColumns}
    with file.open("ab") as more:
        more.write(scalar(5001, 0.5, 1e9 + 5001))
    await eventually(lambda: curves.last("loss") == 0.5)
    assert kinds == {ev.MetricColumns, ev.Metrics}
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_resumed_runs_files_make_one_curve_whichever_is_found_first(tmp_path: Path) -> None:
    for folder, begin, end, value in (("z_first", 1, 3000, 1.0), ("a_second", 2001, 5000, 2.0)):
        path = tmp_path / "runs" / folder / f"events.out.tfevents.{begin}.ws"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(scalar(step, value, 1e9 + begin * 10 + step) for step in range(begin, end + 1)))
    store, ended = Store(), asyncio.Event()
    ended.set()
    await monitor(tmp_path, store, ended).follow()
    curve = store.runs[RUN].curves.by_name["loss"]
    assert list(curve.steps) == list(range(1, 5001))
    assert list(curve.values) == [1.0] * 2000 + [2.0] * 3000


async def test_an_empty_file_does_not_hold_up_the_next(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "events.out.tfevents.1.ws").touch()
    (tmp_path / "runs" / "events.out.tfevents.2.ws").write_bytes(scalar(1, 0.5, 1e9))
    store = Store()
    reading = monitor(tmp_path, store, asyncio.Event())
    following = asyncio.create_task(reading.follow())
    await eventually(lambda: store.runs[RUN].curves.last("loss") == 0.5, within=2)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_reader_that_is_cut_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_files, "GATHER", 64 * 1024)
    file = tmp_path / "runs" / "events.out.tfevents.1.ws"
    file.parent.mkdir()
    file.write_bytes(b"".join(scalar(step, 1.0, 1e9 + step) for step in range(1, 20_001)))
    store, ended = Store(), asyncio.Event()
    reading = monitor(tmp_path, store, ended)
    for pause in (0.0, 0.005, 0.01, 0.02, 0.04):
        following = asyncio.create_task(reading.follow())
        await asyncio.sleep(pause)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    ended.set()
    await reading.follow()
    assert list(store.runs[RUN].curves.by_name["loss"].steps) == list(range(1, 20_001))
    ((_, done),) = reading._files.items()
    assert done.reader.corrupt == []


async def test_an_ended_run_is_caught_up_only_with_its_event_files(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    file = tmp_path / "runs" / "events.out.tfevents.1.ws"
    file.parent.mkdir()
    file.write_bytes(b"".join(scalar(step, 1.0, 1e9 + step) for step in range(1, 3001)))
    host.jobs.put(new_job(tmp_path, events_dir=str(file.parent), state=JobState.SUCCEEDED))
    async with fleet(host) as there:
        assert await there.settled(10)
        assert len(there.store.runs[RUN].curves.by_name["loss"]) == 3000
