"""The Deployments room: what serves, from key to action, and never anything that the screen did not say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Size

from dm_isaac_g1.actions.context import Plan
from dm_isaac_g1.console import bars, traffic
from dm_isaac_g1.console.app import DmG1App
from dm_isaac_g1.console.deployments import DeploymentsRoom, Wishes, arrange
from dm_isaac_g1.console.forms.deploy_plan import plan_lines
from dm_isaac_g1.console.panes.steps import task_lines
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.deployments import STEPS, HistoryEntry, Traffic
from dm_isaac_g1.core.runs import Checkpoint

from . import scenes
from . import scenes_deployments as sd
from .conftest import Asked, settled, text_of

WIDE, SMALL = (160, 48), (80, 24)
PICKED = f"{sd.WS}:/workspace/checkpoints/{scenes.RUN}/checkpoint-6000"


async def until(pilot: Any, seen: Any) -> None:
    for _ in range(200):
        if seen():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not happen")


async def entered(pilot: Any) -> DeploymentsRoom:
    """In the room, with the scene on the screen."""
    await settled(pilot)
    await pilot.press("5")
    for _ in range(200):
        await pilot.pause(0.02)
        room = pilot.app.room
        if isinstance(room, DeploymentsRoom) and room.serving._rows:
            await pilot.pause(0.1)
            return room
    raise AssertionError("the room did not open")


def screen(app: DmG1App) -> str:
    return type(app.screen).__name__


def footer(app: DmG1App) -> str:
    return text_of(app).splitlines()[-1]


@pytest.fixture
def planning(asked: Asked) -> Asked:
    """A deploy that says its plan, and then does what the test puts into `steps`."""
    asked.steps = [ev.Result(text="g1-pick-n16 serves on spark, port 5555", data={"host": sd.SPARK})]  # type: ignore[attr-defined]
    asked.answers["deploy.start"] = lambda params: sd.planned() if params.dry_run else asked.steps  # type: ignore[attr-defined]
    return asked


# --- What is seen -----------------------------------------------------------------------------------------------------


async def test_what_serves_how_well_what_was_before_and_what_one_can_go_back_to(console) -> None:
    app = console(sd.serving())
    async with app.run_test(size=WIDE) as pilot:
        await entered(pilot)
        text = text_of(app)
        for said in ("● serving", "spark:5555", "g1-pick-n16", "9.8", "71.3", "88.6", "2 h 18 m", "groot-n1.6"):
            assert said in text
        for said in ("UNITREE_G1", "4fa21c0d9e71", "container groot-server", "✓ port", "✓ ping", "0.84 ms"):
            assert said in text
        assert "r → here" in text and "the model answers NaN in action.left_arm" in text and "48 s" in text


async def test_the_fleet_looks_often_only_while_the_room_is_open(console) -> None:
    app = console(sd.serving())
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        assert not app.fleet.serving_open
        await entered(pilot)
        assert app.fleet.serving_open and not app.fleet.open
        await pilot.press("R")
        assert app.fleet.serving_looks == [None] and app.fleet.looks == []
        await pilot.press("1")
        await until(pilot, lambda: not app.fleet.serving_open)


async def test_a_change_is_on_the_screen_without_a_key(console) -> None:
    store = sd.looking()
    app = console(store)
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        assert "looking" in text_of(app)
        store.apply(ev.Deployments(deployments=(sd.deployment(),)))
        await until(pilot, lambda: "● serving" in text_of(app) and "g1-pick-n16" in text_of(app))
        store.apply(ev.Deployments(deployments=(sd.deployment(state="down", health=None, traffic=None),)))
        await until(pilot, lambda: "▼ down" in text_of(app))


async def test_the_rungs_say_where_a_sick_server_breaks(console) -> None:
    app = console(sd.sick())
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        text = text_of(app)
        assert "✗ unhealthy" in text and "✓ greeting" in text
        assert "✗ ping" in text and "no answer to a ping within 1 s" in text


async def test_a_host_that_is_away_stands_back_and_nothing_can_be_done_there(console, asked: Asked) -> None:
    app = console(sd.away())
    async with app.run_test(size=WIDE) as pilot:
        await entered(pilot)
        assert "away since 13:59" in text_of(app) and "r → here" not in text_of(app)
        assert not {"deploy", "roll back", "verify"} & set(footer(app).split("  "))
        await pilot.press("r", "V")
        await pilot.pause(0.3)
    assert not asked.calls


async def test_two_hosts_are_two_lines_and_the_cursor_chooses_what_is_shown(console) -> None:
    app = console(sd.two(), profile=sd.PROFILE)
    async with app.run_test(size=WIDE) as pilot:
        room = await entered(pilot)
        assert room.view.chosen == sd.SPARK
        await pilot.press("down")
        assert room.view.chosen == sd.SPARE
        await until(pilot, lambda: "nobody is connected" in text_of(app))
        assert "3 failed" in text_of(app)
        await pilot.press("slash", *"pick", "enter")
        await until(pilot, lambda: room.view.chosen == sd.SPARK)


@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_every_pane_can_be_zoomed_and_left(console, size) -> None:
    app = console(sd.serving())
    async with app.run_test(size=size) as pilot:
        room = await entered(pilot)
        seen = set()
        for _ in range(len(room.order())):
            await pilot.press("tab")
            await pilot.press("enter")
            await pilot.pause(0.05)
            assert room.maximised == room.focused_pane()
            seen.add(room.maximised)
            await pilot.press("escape")
            assert room.maximised is None
        assert {"serving", "facts", "releases", "history"} <= seen


async def test_the_overview_says_what_serves_on_a_host_too(console) -> None:
    app = console(sd.serving())
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        assert "● serving  g1-pick-n16" in text_of(app) and "9.8/s  p99 88.6 ms" in text_of(app)


# --- Putting a checkpoint into service --------------------------------------------------------------------------------


async def test_d_shows_the_plan_of_the_newest_checkpoint_and_nothing_is_begun(console, planning: Asked) -> None:
    app = console("training")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "otherwise" in text_of(app))
        text = text_of(app)
        for said in ("g1-pick-n16, step 6000", "spark, port 5555", "6.5 GB", "straight from host to host", "1 m 36 s"):
            assert said in text
        for said in ("g1-fold-n16, step 4000", "9.1 GB of 76.0 GB free", "about 32 s", "1 client is connected"):
            assert said in text
        await pilot.press("escape")
        await pilot.pause(0.1)
    assert [params.dry_run for params in planning.named("deploy.start")] == [True]
    assert planning.named("deploy.start")[0].checkpoint == PICKED


async def test_enter_starts_exactly_what_was_shown_and_the_steps_are_walked_on_the_screen(
    console, planning: Asked
) -> None:
    said = [ev.Progress(text=f"at {step}", step=step) for step in STEPS]
    planning.steps = [*said, *planning.steps]  # type: ignore[attr-defined]
    app = console("training")
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "otherwise" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: "✓ confirm" in text_of(app))
        text = text_of(app)
        assert all(f"✓ {step}" in text for step in STEPS)
        assert "✓ g1-pick-n16 serves on spark, port 5555" in text
        _, started = planning.named("deploy.start")
        assert (started.checkpoint, started.to, started.dry_run) == (PICKED, sd.SPARK, False)
        assert app.fleet.serving_looks[-1] == sd.SPARK  # looked at as soon as it ended
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.room, DeploymentsRoom))


async def test_a_plan_with_problems_cannot_be_started(console, planning: Asked) -> None:
    planning.answers["deploy.start"] = lambda params: sd.planned(sd.REFUSED)
    app = console("training")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "✗ processor_config.json is missing" in text_of(app))
        assert "enter deploy" not in footer(app)
        await pilot.press("enter", "enter")
        await pilot.pause(0.1)
    assert [params.dry_run for params in planning.named("deploy.start")] == [True]


async def test_what_serves_already_is_not_put_into_service_again(console, planning: Asked) -> None:
    same = msgspec.structs.replace(sd.PLAN, serves=True, replaces=sd.PLAN.release)
    planning.answers["deploy.start"] = lambda params: sd.planned(same)
    app = console("training")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "it serves there already: nothing to do" in text_of(app))
        text = text_of(app)
        assert "outage" not in text and "enter deploy" not in text
        assert f"dm-g1 deploy --to {sd.SPARK}" in text
        await pilot.press("enter")
        await pilot.pause(0.1)
    assert len(planning.calls) == 1


async def test_a_plan_that_cannot_be_made_says_why(console, planning: Asked) -> None:
    planning.answers["deploy.start"] = lambda params: [ev.Failure(what="away", where=sd.SPARK, fix="wait")]
    app = console("training")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "✗ spark: away" in text_of(app) and "→ wait" in text_of(app))
        await pilot.press("enter")
        await pilot.pause(0.1)
    assert len(planning.calls) == 1


async def test_a_deploy_that_fails_says_at_which_step_why_and_what_serves(console, planning: Asked) -> None:
    planning.steps = [  # type: ignore[attr-defined]
        ev.Progress(text="copying", done=1e9, total=6.54e9, unit="bytes", step="copy"),
        ev.Progress(text="asking for an action", step="gate"),
        ev.Failure(what="the model answers NaN", where=sd.SPARK, fix="g1-fold-n16 serves"),
    ]
    app = console("training")
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "otherwise" in text_of(app))
        await pilot.press("enter")
        await until(pilot, lambda: "✗ gate" in text_of(app))
        text = text_of(app)
        assert "✓ copy" in text and "· switch" in text
        assert "✗ spark: the model answers NaN" in text and "→ g1-fold-n16 serves" in text


async def test_the_checkpoint_under_the_cursor_is_the_one(console, planning: Asked) -> None:
    app = console("training")
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        app.overview.checkpoints.focus()
        await pilot.pause(0.05)
        assert "d deploys 6000" in text_of(app)
        await pilot.press("down", "down")
        await until(pilot, lambda: "d deploys 4000" in text_of(app))
        await pilot.press("d")
        await until(pilot, lambda: planning.calls)
        await pilot.press("escape")
    assert planning.named("deploy.start")[0].checkpoint.endswith("/checkpoint-4000")


async def test_in_the_room_a_checkpoint_is_chosen_among_all_there_are(console, planning: Asked) -> None:
    far = Checkpoint(
        path="/workspace/checkpoints/old/checkpoint-900", step=900, size=9, complete=True, mtime=sd.NOW - 9e5
    )
    half = msgspec.structs.replace(far, path="/workspace/checkpoints/old/checkpoint-950", step=950, complete=False)
    planning.answers["checkpoints.list"] = lambda params: [
        ev.Checkpoints(host=sd.WS, run="old", checkpoints=(half, far)),
        ev.Result(text=""),
    ]
    app = console(sd.serving())
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        await pilot.press("d")
        await until(pilot, lambda: "old" in text_of(app))
        assert "950" not in text_of(app)  # a partial one is no choice
        await pilot.press("end", *["down"] * 20, "enter")
        await until(pilot, lambda: planning.named("deploy.start"))
        await pilot.press("escape")
    (params,) = planning.named("deploy.start")
    assert (params.checkpoint, params.to) == (f"{sd.WS}:{far.path}", sd.SPARK)


async def test_d_while_a_deploy_goes_on_shows_that_one(console, planning: Asked) -> None:
    app = console(sd.serving())
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        app.runner.tasks = [sd.task()]
        await pilot.press("d")
        await until(pilot, lambda: "135.1 MB/s" in text_of(app))
        await pilot.press("escape")
    assert not planning.calls


async def test_without_a_host_that_serves_or_a_checkpoint_it_says_what_to_do(console, asked: Asked) -> None:
    trains = msgspec.structs.replace(sd.ONE, hosts={sd.WS: sd.ONE.hosts[sd.WS]})
    for app, said in (
        (console("training", profile=trains), "no host of this profile serves"),
        (console("idle"), "no complete checkpoint"),
    ):
        async with app.run_test(size=WIDE, notifications=True) as pilot:
            await settled(pilot)
            assert "d deploy" not in footer(app)
            await pilot.press("d")
            await until(pilot, lambda said=said, app=app: said in text_of(app))
    assert not asked.calls


# --- The way back -----------------------------------------------------------------------------------------------------


async def test_one_key_goes_back_to_what_served_before_once_the_user_agreed(console, monkeypatch, asked: Asked) -> None:
    """The action asks with its own plan: exactly what will happen."""
    app = console(sd.serving())
    shown: list[str] = []

    async def rollback(action: Any, hosts: Any, params: Any) -> Any:
        asked.calls.append((action.name, params))
        plan = Plan(title="Roll spark back to g1-fold-n16", lines=("outage while the model loads",), loses="")
        agreed = await app.runner.ask(plan)
        shown.append("agreed" if agreed else "left")
        yield ev.Result(text="done")

    app.runner._perform = rollback
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        await pilot.press("r")
        await until(pilot, lambda: screen(app) == "Confirm")
        assert "outage while the model loads" in text_of(app)
        await pilot.press("enter")
        await pilot.pause(0.1)
        assert screen(app) == "Confirm"  # an Enter too many does nothing
        await pilot.press("escape")
        await until(pilot, lambda: shown == ["left"])
        await pilot.press("r")
        await until(pilot, lambda: screen(app) == "Confirm")
        await pilot.press("y")
        await until(pilot, lambda: shown == ["left", "agreed"])
    assert [(name, params.to, params.release) for name, params in asked.calls] == [
        ("deploy.rollback", sd.SPARK, sd.OLD.id)
    ] * 2


async def test_the_release_under_the_cursor_is_where_it_goes_back_to(console, asked: Asked) -> None:
    app = console(sd.serving())
    async with app.run_test(size=WIDE) as pilot:
        room = await entered(pilot)
        room.releases.focus()
        await pilot.press("down", "down")
        await pilot.press("r")
        await until(pilot, lambda: asked.calls)
    (params,) = asked.named("deploy.rollback")
    assert params.release == sd.OLDER.id


async def test_what_can_be_done_is_offered_when_it_can(console, asked: Asked) -> None:
    for scene, there, not_there in (
        (sd.serving, {"d deploy", "r roll back", "V verify"}, {"c continue"}),
        (sd.cut_off, {"d deploy", "V verify", "c continue"}, {"r roll back"}),
        (sd.at_work, {"V verify"}, {"c continue", "r roll back"}),
        (sd.nothing, {"d deploy"}, {"r roll back", "V verify", "c continue"}),
    ):
        app = console(scene())
        async with app.run_test(size=WIDE) as pilot:
            await entered(pilot)
            offered = set(footer(app).strip().split("   "))
            assert there <= offered, scene
            assert not not_there & offered, scene
    assert not asked.calls


@pytest.mark.parametrize(("key", "action"), [("V", "deploy.verify"), ("c", "deploy.resume")])
async def test_verify_and_continue_are_about_the_selected_host(console, asked: Asked, key, action) -> None:
    app = console(sd.cut_off())
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        await pilot.press(key)
        await until(pilot, lambda: asked.calls)
    (params,) = asked.named(action)
    assert params.to == sd.SPARK


async def test_a_deploy_that_was_cut_off_says_what_to_do(console) -> None:
    app = console(sd.cut_off())
    async with app.run_test(size=SMALL) as pilot:
        await entered(pilot)
        text = text_of(app)
        assert "▲ cut off" in text and "step copy, 3 of 8" in text and "lea@laptop" in text
        assert "→ c goes on where it ended; what served before serves on" in text


async def test_what_ended_can_be_put_away_and_what_goes_on_cannot(console) -> None:
    app = console(sd.serving())
    async with app.run_test(size=WIDE) as pilot:
        room = await entered(pilot)
        app.runner.tasks = [sd.task()]
        room.show_work()
        await pilot.press("escape")
        await until(pilot, lambda: "x cancels it" in text_of(app))
        app.runner.tasks = [sd.task("done", upto="confirm", ended=sd.NOW - 1, said="it serves")]
        room.show_work()
        await until(pilot, lambda: "✓ it serves" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: "it serves" not in text_of(app))


# --- Pure parts -------------------------------------------------------------------------------------------------------


@given(
    st.integers(40, 240), st.integers(14, 80), st.integers(2, 30), st.integers(0, 12), st.integers(0, 30), st.booleans()
)
def test_panes_never_overlap_and_never_leave_the_screen(width, height, serving, steps, facts, chosen) -> None:
    wishes = Wishes(serving=serving, steps=steps, facts=facts, answers=True, releases=5, chosen=chosen)
    regions = arrange(Size(width, height), wishes, stage="facts", maximised=None)
    screen_ = Size(width, height).region
    placed = [region for region in regions.values() if region.area]
    assert all(screen_.contains_region(region) for region in placed)
    assert not any(one.overlaps(other) for n, one in enumerate(placed) for other in placed[n + 1 :])
    assert regions["serving"].height >= 3


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=400),
    st.integers(1, 60),
    st.integers(1, 9),
    st.booleans(),
)
def test_a_graph_is_as_large_as_asked(values, width, rows, braille) -> None:
    lines = bars.area(values, width, rows, top=100.0, braille=braille)
    assert [len(line) for line in lines] == [width] * rows


def test_a_graph_is_filled_from_below_and_a_gap_is_a_gap() -> None:
    assert bars.area([100.0, 100.0, None, 50.0], 2, 2, top=100.0) == ["⣿⠀", "⣿⢸"]
    assert bars.area([100.0, 50.0, None], 3, 2, top=100.0, braille=False) == ["█  ", "██ "]


def test_a_look_stands_until_the_next_and_no_longer_than_a_minute() -> None:
    slow, fast = Traffic(p99_ms=90.0), Traffic(p99_ms=10.0)
    looks = [(400.0, slow), (405.0, fast)]
    values = traffic.over_time(looks, traffic.p99, now=600.0, count=60)  # ten seconds each
    assert values[39] is None and values[40] == 90.0
    assert values[41:46] == [10.0] * 5 and values[48:] == [None] * 12


@given(st.floats(0, 1e5))
def test_an_axis_ends_above_all_values_and_not_far_above(value: float) -> None:
    top = traffic.ceiling(value)
    assert top >= value and (top <= 10 * value or top <= 1.0)


def plain(rows: list[Any]) -> str:
    return "\n".join(row.plain for row in rows)


def test_a_plan_says_when_the_old_one_must_be_stopped_first_and_when_nothing_is_sent() -> None:
    assert "stopped before the new one has answered" in plain(plan_lines(sd.TIGHT, 200))
    assert "131.0 MB of 6.5 GB" in plain(plan_lines(sd.TIGHT, 200))
    same = msgspec.structs.replace(sd.PLAN, to_send=0, method="none")
    assert "nothing: all 6.5 GB are there already" in plain(plan_lines(same, 200))
    first = msgspec.structs.replace(sd.PLAN, replaces=None)
    assert "nothing serves there yet" in plain(plan_lines(first, 200))
    foreign = msgspec.structs.replace(sd.PLAN, replaces=None, foreign="python3 serve.py (pid 12)")
    assert "python3 serve.py (pid 12), which was not deployed from here" in plain(plan_lines(foreign, 200))


def test_steps_that_a_rollback_does_not_have_are_not_shown_as_skipped() -> None:
    task = sd.task(upto="plan")
    task.action = "deploy.rollback"
    task.steps.clear()
    task.advance(ev.Progress(text="files", step="verify"), sd.NOW - 5)
    task.advance(ev.Progress(text="", step="switch"), sd.NOW - 2)
    words = [row.plain.split()[1] for row in task_lines(task, sd.NOW, 100)]
    assert words == ["verify", "switch", "confirm"]


async def test_what_failed_is_no_way_back_unless_it_is_chosen(console) -> None:
    bad = HistoryEntry(id="x", at=sd.NOW, what="deploy", release=sd.OLDER.id, previous=sd.NEW.id, outcome="failed")
    first = HistoryEntry(id="w", at=sd.NOW - 9, what="deploy", release=sd.NEW.id, outcome="done")
    seen = sd.deployment(history=(bad, first), releases=(sd.OLDER, sd.NEW))
    app = console(sd.looked(sd.hosts_up(), seen, times=1))
    async with app.run_test(size=WIDE) as pilot:
        room = await entered(pilot)
        assert "✗ failed" in text_of(app) and "r → here" not in text_of(app)
        assert room.view.target is None and "roll back" not in footer(app)
        room.releases.focus()
        await pilot.press("home")
        assert room.view.target == sd.OLDER
