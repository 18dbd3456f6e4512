"""The Datasets room as promises: each scene as it looks, at a moment that stands still."""

from __future__ import annotations

from typing import Any

import pytest

from dm_isaac_g1.core import events as ev

from . import scenes_datasets as sd
from .test_datasets import entered, until

WIDE, SMALL = (160, 48), (80, 24)
SIZES = pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])


async def _ready(pilot: Any) -> None:
    room = await entered(pilot)
    room.action_sync_all()
    await pilot.pause(0.2)


@SIZES
@pytest.mark.parametrize("scene", list(sd.SCENES))
def test_room_in_the_dark(console, snap_compare, scene, size) -> None:
    assert snap_compare(console(sd.SCENES[scene]()), terminal_size=size, run_before=_ready)


@SIZES
def test_room_by_daylight(console, snap_compare, size) -> None:
    assert snap_compare(console(sd.full(), theme="dm-light"), terminal_size=size, run_before=_ready)


@SIZES
def test_hostile_names(console, snap_compare, size) -> None:
    assert snap_compare(console(sd.hostile()), terminal_size=size, run_before=_ready)


@SIZES
def test_work_going_on(console, snap_compare, size) -> None:
    async def at_work(pilot: Any) -> None:
        await _ready(pilot)
        pilot.app.runner.tasks = sd.tasks()
        pilot.app.room.show_work()
        await pilot.press("down")
        await pilot.pause(0.3)

    assert snap_compare(console(sd.full()), terminal_size=size, run_before=at_work)


@SIZES
def test_form_that_says_what_will_happen(console, snap_compare, size) -> None:
    async def ask(pilot: Any) -> None:
        await _ready(pilot)
        await pilot.press("g")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "DataForm")
        await pilot.press(*"unitreerobotics/G1_Clean_Table")
        await pilot.pause(0.3)

    assert snap_compare(console(sd.full()), terminal_size=size, run_before=ask)


@SIZES
def test_episode(console, asked, snap_compare, size) -> None:
    asked.answers["data.show"] = lambda params: [ev.Result(text="", data=sd.episode(params.episode))]

    async def show(pilot: Any) -> None:
        await _ready(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: getattr(pilot.app.screen, "episode", None) is not None)
        await pilot.pause(0.6)

    assert snap_compare(console(sd.full()), terminal_size=size, run_before=show)
