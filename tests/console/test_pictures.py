"""Screens as promises: each scene as it looks, at a moment that stands still. `--snapshot-update` accepts new looks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.profile import Defaults

from . import scenes
from .conftest import settled

WIDE, SMALL = (160, 48), (80, 24)
SHOWN = [name for name in scenes.SCENES if name != "hostile"]


async def _ready(pilot: Any) -> None:
    await settled(pilot)
    pilot.app.overview.action_sync_all()
    await pilot.pause(0.1)


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
@pytest.mark.parametrize("scene", SHOWN)
def test_scene_in_the_dark(console, snap_compare, scene, size) -> None:
    assert snap_compare(console(scene), terminal_size=size, run_before=_ready)


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
@pytest.mark.parametrize("scene", ["idle", "training", "disk_fails", "nan"])
def test_scene_by_daylight(console, snap_compare, scene, size) -> None:
    assert snap_compare(console(scene, theme="dm-light"), terminal_size=size, run_before=_ready)


def test_stop_dialog(console, snap_compare) -> None:
    async def ask(pilot: Any) -> None:
        await _ready(pilot)
        await pilot.press("s")
        await pilot.pause(0.5)

    assert snap_compare(console(), terminal_size=(120, 36), run_before=ask)


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
def test_launch_form_that_the_guard_refuses(console, asked, snap_compare, size) -> None:
    asked.answers["train.start"] = lambda params: [
        ev.Failure(what="the save at step 9000 will fail on /workspace: 14.2 GB missing", fix="keep fewer", code=3)
    ]

    async def ask(pilot: Any) -> None:
        await _ready(pilot)
        await pilot.press("t")
        await pilot.pause(0.8)

    lab = msgspec.structs.replace(scenes.PROFILE, defaults=Defaults(recipe="lab-bc", train_host="workstation"))
    assert snap_compare(console(profile=lab), terminal_size=size, run_before=ask)
