"""Long work in a thread: nobody is blocked, nothing important is lost, and leaving it ends it."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

import pytest

from dm_isaac_g1.actions import working
from dm_isaac_g1.actions.working import Working, need
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Event, Progress
from dm_isaac_g1.data.problems import DataError, Finding
from dm_isaac_g1.data.work import Work


async def events(work: Working[object]) -> list[Event]:
    async with aclosing(work.events()) as said:  # type: ignore[type-var]
        return [event async for event in said]


async def test_a_flood_of_progress_is_ten_a_second_and_ends_where_it_ended() -> None:
    def flood(work: Work) -> str:
        begun, count = time.monotonic(), 0
        while time.monotonic() - begun < 0.5:
            count += 1
            work.progress("Reading", count, None, "episodes")
        work.progress("Reading", count + 1, None, "episodes")
        return f"read {count + 1}"

    task = Working(flood)
    said = [event for event in await events(task) if isinstance(event, Progress)]  # type: ignore[arg-type]
    assert 2 <= len(said) <= 10
    assert task.result == f"read {said[-1].done:.0f}"


async def test_notes_are_never_overtaken_and_a_flood_of_them_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "WAITING", 50)

    def notes(work: Work) -> None:
        for number in range(80):
            work.note(Finding(code="odd", what=f"note {number}", severity="note"))

    said = [event.text for event in await events(Working(notes)) if isinstance(event, Progress)]
    assert said[0] == "note: note 0"
    assert said[49:] == ["note: note 49", "… 30 messages left out"]


async def test_the_event_loop_is_free_meanwhile() -> None:
    def long(work: Work) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < 0.4:
            sum(range(2000))
            work.progress("Counting", 1)

    slowest, running = 0.0, True

    async def tick() -> None:
        nonlocal slowest
        while running:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            slowest = max(slowest, time.monotonic() - begun - 0.01)

    ticking = asyncio.create_task(tick())
    await events(Working(long))
    running = False
    await ticking
    assert slowest < 0.2  # two cores that others use, too


async def test_who_leaves_ends_the_work() -> None:
    stopped = threading.Event()

    def endless(work: Work) -> None:
        try:
            while True:
                work.progress("On and on", 1)
                time.sleep(0.01)
        finally:
            stopped.set()

    async with aclosing(Working(endless).events()) as said:  # type: ignore[type-var]
        async for _ in said:
            break
    assert stopped.is_set()


async def test_an_error_is_the_workers_own() -> None:
    def wrong(work: Work) -> None:
        work.progress("Reading", 1)
        raise DataError("nan", "not a number", episode=3, frame=4, joint="left_elbow")

    def full(work: Work) -> None:
        raise OSError(28, "No space left on device", "/data/x")

    with pytest.raises(DataError, match="episode 3, frame 4, left_elbow"):
        await events(Working(wrong))
    with pytest.raises(DmG1Error, match="/data/x: No space left on device"):
        await events(Working(full))


def test_a_missing_library_is_told_with_what_installs_it() -> None:
    need("json")
    with pytest.raises(DmG1Error, match=r"no_such and none_such are not installed; pip install 'dm-isaac-g1\[data\]'"):
        need("json", "no_such", "none_such")
