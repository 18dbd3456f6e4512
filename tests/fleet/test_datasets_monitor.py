"""Datasets in the picture: looked at while somebody looks, at once when something was made, and cheaply otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakehost import FakeHost
from fleets import eventually, fleet

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.fleet.monitors.datasets import DatasetMonitor
from dm_isaac_g1.fleet.snapshot import snapshot

INFO: dict[str, Any] = {
    "codebase_version": "v2.1",
    "fps": 30,
    "total_episodes": 2,
    "total_frames": 60,
    "features": {"action": {"dtype": "float32", "shape": [2], "names": ["kLeftElbow", "kRightElbow"]}},
}


def dataset(root: Path, name: str, **more: Any) -> Path:
    folder = root / "datasets" / name
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(INFO | more))
    (folder / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "Fold it."}) + "\n")
    stats = {"action": {"min": [-0.5, 0.0], "max": [0.5, 1.0]}}
    (folder / "meta/stats.json").write_text(json.dumps(stats))
    return folder


@contextmanager
def watched(host: FakeHost, **pauses: float) -> Iterator[tuple[DatasetMonitor, list[ev.Event]]]:
    """A monitor of the host, and what it tells."""
    told: list[ev.Event] = []
    monitor = DatasetMonitor(host, told.append, **pauses)  # type: ignore[arg-type]
    tasks = [asyncio.ensure_future(monitor.watch()), asyncio.ensure_future(monitor.watch_near())]
    try:
        yield monitor, told
    finally:
        for task in tasks:
            task.cancel()


async def test_nobody_looks_so_nobody_is_asked(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    dataset(tmp_path, "a")
    with watched(host) as (_, told):
        await asyncio.sleep(0.2)
        assert (host.files.looks, told) == (0, [])


async def test_what_lies_there_is_told_once_and_again_when_it_changes(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    dataset(tmp_path, "a")
    with watched(host, open_=0.02) as (monitor, told):
        monitor.open(True)
        await eventually(lambda: host.files.looks > 5)
        (event,) = told
        assert isinstance(event, ev.Datasets)
        assert [(each.name, each.episodes) for each in event.datasets] == [("a", 2)]
        assert host.files.texts == 1  # the texts came over the wire once
        dataset(tmp_path, "b", total_episodes=7)
        await eventually(lambda: len(told) > 1)
        assert isinstance(told[-1], ev.Datasets)
        assert [(each.name, each.episodes) for each in told[-1].datasets] == [("a", 2), ("b", 7)]


async def test_it_is_looked_at_at_once_when_something_was_made_and_when_the_room_opens(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    dataset(tmp_path, "a")
    with watched(host) as (monitor, told):
        monitor.look()
        await eventually(lambda: len(told) == 1)
        monitor.open(True)
        await eventually(lambda: host.files.looks == 2)
        monitor.look()
        await eventually(lambda: host.files.looks == 3)
        monitor.open(False)
        await asyncio.sleep(0.1)
        assert host.files.looks == 3


async def test_what_is_being_written_is_looked_at_more_often(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    folder = tmp_path / "datasets/new.partial"
    folder.mkdir(parents=True)
    done = folder / ".dm-g1-done.jsonl"
    done.write_text("")
    with watched(host, open_=30.0, writing=0.02) as (monitor, told):
        monitor.open(True)
        for number in range(3):
            with done.open("a") as file:
                file.write("{}\n")
            await eventually(lambda number=number: told and told[-1].datasets[0].done == number + 1)  # type: ignore[misc, attr-defined]


async def test_the_one_that_somebody_looks_at_is_read_once_until_it_changes(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    folder = dataset(tmp_path, "a")
    with watched(host, open_=0.02) as (monitor, told):
        monitor.want(str(folder))
        monitor.open(True)

        def details() -> list[ev.Dataset]:
            return [each for each in told if isinstance(each, ev.Dataset)]

        await eventually(lambda: len(details()) == 1)
        detail = details()[0].detail
        assert (detail.tasks, detail.host, detail.path) == (("Fold it.",), "ws", str(folder))
        assert [(each.name, each.low, each.high) for each in detail.ranges] == [
            ("kLeftElbow", -0.5, 0.5),
            ("kRightElbow", 0.0, 1.0),
        ]
        read = len(host.files.pieces)
        monitor.want(None)
        monitor.want(str(folder))
        await asyncio.sleep(0.1)
        assert (len(details()), len(host.files.pieces)) == (1, read)
        (folder / "meta/stats.json").write_text(json.dumps({"action": {"min": [0, 0], "max": [2, 2]}}))
        await eventually(lambda: len(details()) == 2)
        assert details()[-1].detail.ranges[0].high == 2


async def test_the_fleet_keeps_what_a_host_that_went_away_had(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    dataset(tmp_path, "a")
    async with fleet(host) as there:
        there.open_datasets(True)
        await eventually(lambda: there.store.hosts["ws"].datasets)
        (found,) = there.store.hosts["ws"].datasets or ()
        there.near_dataset("ws", found.path)
        await eventually(lambda: ("ws", found.path) in there.store.details)
        host.files.fail = HostUnreachable("gone", where="ws")
        host.say("away")
        there.look_at_datasets("ws")
        await eventually(lambda: there.store.hosts["ws"].status.state == "away")
        assert there.store.hosts["ws"].datasets == (found,)
        assert next(each for each in snapshot(there.store) if isinstance(each, ev.Datasets)).datasets == (found,)
        host.files.fail = None
        dataset(tmp_path, "b")
        there.look_at_datasets()
        await eventually(lambda: len(there.store.hosts["ws"].datasets or ()) == 2, within=8)


async def test_a_dataset_that_went_is_forgotten_from_near_too(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    folder = dataset(tmp_path, "a")
    async with fleet(host) as there:
        there.open_datasets(True)
        there.near_dataset("ws", str(folder))
        await eventually(lambda: ("ws", str(folder)) in there.store.details)
        folder.rename(tmp_path / "elsewhere")
        there.look_at_datasets("ws")
        await eventually(lambda: there.store.hosts["ws"].datasets == ())
        assert there.store.details == {}


@pytest.mark.parametrize("event", ["datasets", "dataset"])
def test_the_schema_knows_what_is_told_of_datasets(event: str) -> None:
    from dm_isaac_g1.actions.schema import document

    tags = {
        part["properties"]["event"]["enum"][0]
        for part in document()["$defs"].values()
        if "event" in part.get("properties", {})
    }
    assert event in tags
