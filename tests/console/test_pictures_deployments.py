"""The Deployments room as promises: each scene as it looks, at a moment that stands still."""

from __future__ import annotations

from typing import Any

import pytest

from . import scenes_deployments as sd
from .conftest import settled
from .test_deployments import entered, text_of, until

WIDE, SMALL = (160, 48), (80, 24)
SIZES = pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])


async def _ready(pilot: Any) -> None:
    room = await entered(pilot)
    room.action_sync_all()
    await pilot.pause(0.2)


@SIZES
@pytest.mark.parametrize("scene", list(sd.SCENES))
def test_deployments_in_the_dark(console, snap_compare, scene, size) -> None:
    assert snap_compare(console(sd.SCENES[scene]()), terminal_size=size, run_before=_ready)


@SIZES
def test_deployments_by_daylight(console, snap_compare, size) -> None:
    app = console(sd.two(), theme="dm-light", profile=sd.PROFILE)
    assert snap_compare(app, terminal_size=size, run_before=_ready)


@SIZES
def test_deployments_with_hostile_names(console, snap_compare, size) -> None:
    assert snap_compare(console(sd.hostile()), terminal_size=size, run_before=_ready)


@pytest.mark.parametrize("pane", ["releases", "history"])
def test_a_pane_on_the_whole_screen(console, snap_compare, pane) -> None:
    async def zoom(pilot: Any) -> None:
        await _ready(pilot)
        room = pilot.app.room
        while room.focused_pane() != pane:
            await pilot.press("tab")
        await pilot.press("enter")
        await pilot.pause(0.2)

    assert snap_compare(console(sd.serving()), terminal_size=SMALL, run_before=zoom)


TASKS = {
    "copying": lambda: sd.task(),
    "done": lambda: sd.task("done", upto="confirm", ended=sd.NOW - 1, said="g1-pick-n16 serves on spark, port 5555"),
    "failed": lambda: sd.task(
        "failed",
        upto="gate",
        ended=sd.NOW - 1,
        said="spark: the model answers NaN in action.left_arm",
        fix="g1-fold-n16 serves on; deploy another checkpoint",
    ),
}


@SIZES
@pytest.mark.parametrize("task", TASKS)
def test_a_deploy_from_here(console, snap_compare, task, size) -> None:
    async def at_work(pilot: Any) -> None:
        await _ready(pilot)
        pilot.app.runner.tasks = [TASKS[task]()]
        pilot.app.room.show_work()
        await pilot.pause(0.3)

    assert snap_compare(console(sd.serving()), terminal_size=size, run_before=at_work)


@pytest.mark.parametrize(
    ("plan", "size"),
    [("PLAN", WIDE), ("PLAN", SMALL), ("TIGHT", SMALL), ("REFUSED", SMALL)],
    ids=["fits-wide", "fits-small", "tight-small", "refused-small"],
)
def test_a_plan(console, asked, snap_compare, plan, size) -> None:
    asked.answers["deploy.start"] = lambda params: sd.planned(getattr(sd, plan))

    async def ask(pilot: Any) -> None:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "otherwise" in text_of(pilot.app))
        await pilot.pause(0.3)

    assert snap_compare(console("training"), terminal_size=size, run_before=ask)


def test_the_choice_of_a_checkpoint(console, snap_compare) -> None:
    async def ask(pilot: Any) -> None:
        await _ready(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "Which checkpoint" in text_of(pilot.app) and "looking" not in text_of(pilot.app))
        await pilot.press("down")
        await pilot.pause(0.3)

    assert snap_compare(console(sd.serving()), terminal_size=SMALL, run_before=ask)
