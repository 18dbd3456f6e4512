"""From key to action: what is asked is exactly what the screen said, and nothing is asked without a yes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from dm_isaac_g1.actions.context import Plan
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.core.profile import Defaults

from . import scenes
from .conftest import Asked, settled, text_of

WIDE, SMALL = (160, 48), (80, 24)
LAB = msgspec.structs.replace(scenes.PROFILE, defaults=Defaults(recipe="lab-bc", train_host="workstation"))


def refused(params: Any) -> list[ev.Event]:
    """A guard that says no unless it is forced."""
    if params.force:
        return [ev.Result(text="Started, forced")]
    return [ev.Failure(what="the save at step 9000 will fail: 14.2 GB missing", fix="free space", code=3)]


async def opened(pilot: Any, key: str, name: str) -> None:
    await settled(pilot)
    await pilot.press(key)
    for _ in range(100):
        await pilot.pause(0.02)
        if type(pilot.app.screen).__name__ == name:
            break
    await pilot.pause(0.2)


async def test_t_enter_starts_the_default_recipe(console, asked: Asked) -> None:
    async with console(profile=LAB).run_test(size=WIDE) as pilot:
        await opened(pilot, "t", "LaunchForm")
        text = text_of(pilot.app)
        assert "lab-bc" in text and "$ dm-g1 train start" in text and "3000" in text
        await pilot.press("enter")
        await pilot.pause(0.3)
    started = [params for params in asked.named("train.start") if not params.dry_run]
    assert len(started) == 1
    assert started[0] == type(started[0])()


async def test_what_is_typed_is_what_is_asked_and_what_the_command_says(console, asked: Asked) -> None:
    async with console(profile=LAB).run_test(size=WIDE) as pilot:
        await opened(pilot, "t", "LaunchForm")
        await pilot.press("tab", "tab", "tab", *"250", "tab", *"16")
        await pilot.pause(0.1)
        assert "$ dm-g1 train start --steps 250 --batch-size 16" in text_of(pilot.app)
        await pilot.press("enter")
        await pilot.pause(0.3)
    params = asked.named("train.start")[-1]
    assert (params.steps, params.batch_size, params.force, params.dry_run) == (250, 16, False, False)


async def test_a_wrong_value_is_told_in_the_form_and_nothing_starts(console, asked: Asked) -> None:
    async with console(profile=LAB).run_test(size=WIDE) as pilot:
        await opened(pilot, "t", "LaunchForm")
        await pilot.press("tab", "tab", "tab", *"many", "enter")
        await pilot.pause(0.3)
        assert "--steps" in text_of(pilot.app) and type(pilot.app.screen).__name__ == "LaunchForm"
    assert all(params.dry_run for params in asked.named("train.start"))


@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_a_launch_that_the_guard_refuses_needs_the_word(console, asked: Asked, size) -> None:
    asked.answers["train.start"] = refused
    async with console(profile=LAB).run_test(size=size) as pilot:
        await opened(pilot, "t", "LaunchForm")
        await pilot.pause(0.3)
        text = text_of(pilot.app)
        assert "the save at step 9000 will fail" in text and 'type "force"' in text
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert all(params.dry_run for params in asked.named("train.start"))
        await pilot.press(*"force", "enter")
        await pilot.pause(0.3)
    last = asked.named("train.start")[-1]
    assert last.force and not last.dry_run


async def test_escape_leaves_without_asking(console, asked: Asked) -> None:
    async with console(profile=LAB).run_test(size=WIDE) as pilot:
        await opened(pilot, "t", "LaunchForm")
        await pilot.press("escape")
        await opened(pilot, "s", "StopDialog")
        await pilot.press("escape")
        await pilot.pause(0.2)
    assert all(getattr(params, "dry_run", False) for _, params in asked.calls)


@pytest.mark.parametrize(
    ("keys", "mode"),
    [
        (("enter",), "checkpoint"),
        (("down", "enter"), "interrupt"),
        (("3", "enter"), "terminate"),
        (("down", "down", "down", "down", "enter"), "kill"),
    ],
)
async def test_the_stop_ladder_begins_where_the_user_says(console, asked: Asked, keys, mode) -> None:
    async with console().run_test(size=SMALL) as pilot:
        await opened(pilot, "s", "StopDialog")
        assert "What happens" in text_of(pilot.app)
        await pilot.press(*keys)
        await pilot.pause(0.3)
    (params,) = asked.named("train.stop")
    assert (params.job_id, params.mode) == (scenes.RUN, mode)


async def test_the_rung_shows_in_the_runs_row(console) -> None:
    async with console("stopping").run_test(size=WIDE) as pilot:
        await settled(pilot)
        assert "◢ stopping" in text_of(pilot.app) and "interrupt, asked by lea@laptop" in text_of(pilot.app)


async def test_nothing_to_stop_is_told_and_nothing_asked(console, asked: Asked) -> None:
    app = console()
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await settled(pilot)
        await pilot.press("down", "s")
        await pilot.pause(0.4)
        assert "no running run is selected" in " ".join(str(each.message) for each in app._notifications)
    assert not asked.calls


async def test_cleaning_shows_what_goes_and_needs_a_yes(console, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real action runner and context; the plan comes from the action, the yes from the key."""
    agreed: list[bool] = []

    async def perform(action: Any, ctx: Any, params: Any) -> Any:
        plan = Plan(
            title="Remove 2 checkpoints on workstation, 44.3 GB",
            lines=("/workspace/checkpoints/a/checkpoint-1000  22.1 GB  complete, a newer one is kept",) * 2,
            loses="2 complete: a training cannot go on from them any more",
        )
        agreed.append(await ctx._confirm(plan))
        yield ev.Result(text="done")

    monkeypatch.setattr("dm_isaac_g1.actions.registry.perform", perform)
    app = console()
    app.runner._perform = None
    async with app.run_test(size=WIDE) as pilot:
        await opened(pilot, "c", "Confirm")
        text = text_of(app)
        assert "44.3 GB" in text and "checkpoint-1000  22.1 GB" in text and "lost for good: 2 complete" in text
        await pilot.press("enter", "escape")
        await pilot.pause(0.2)
        await opened(pilot, "c", "Confirm")
        await pilot.press("y")
        await pilot.pause(0.2)
    assert agreed == [False, True]


async def test_an_error_of_an_action_is_one_line_and_the_console_goes_on(console, asked: Asked) -> None:
    def unreachable(params: Any) -> list[ev.Event]:
        raise HostUnreachable("connection refused", where="workstation", fix="is it on?")

    asked.answers["train.stop"] = unreachable
    app = console()
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await opened(pilot, "s", "StopDialog")
        await pilot.press("enter")
        await pilot.pause(0.4)
        assert "workstation: connection refused; is it on?" in " ".join(str(n.message) for n in app._notifications)
        assert app.is_running


async def test_a_fault_of_ours_is_one_line_too(console, asked: Asked) -> None:
    def broken(params: Any) -> list[ev.Event]:
        raise ZeroDivisionError("division by zero")

    asked.answers["train.stop"] = broken
    app = console()
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await opened(pilot, "s", "StopDialog")
        await pilot.press("enter")
        await pilot.pause(0.4)
        assert "ZeroDivisionError" in " ".join(str(n.message) for n in app._notifications)
        assert app.is_running


async def test_closing_in_the_middle_of_an_action_ends_it(console) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def slow(action: Any, hosts: Any, params: Any) -> Any:
        began.set()
        try:
            yield ev.Progress(text="working", done=1, total=3, unit="files")
            await asyncio.sleep(60)
            yield ev.Result(text="never")
        finally:
            ended.set()

    app = console()
    app.runner._perform = slow
    async with app.run_test(size=WIDE) as pilot:
        await opened(pilot, "s", "StopDialog")
        await pilot.press("enter")
        await asyncio.wait_for(began.wait(), 5)
        await pilot.pause(0.2)
        assert "working  1 of 3 files" in text_of(app)
        await pilot.press("q")
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_run_that_was_started_becomes_the_selected_one(console, asked: Asked) -> None:
    new = scenes.job("20261120T140319-lab-bc-abcdef", started=scenes.NOW)
    asked.answers["train.start"] = lambda params: (
        [ev.Result(text="it can")]
        if params.dry_run
        else [ev.Job(job=new), ev.Result(text="Started", data={"id": new.id})]
    )
    app = console(profile=LAB)
    async with app.run_test(size=WIDE) as pilot:
        await settled(pilot)
        await pilot.press("down")
        await opened(pilot, "t", "LaunchForm")
        await pilot.press("enter")
        await pilot.pause(0.5)
        assert app.overview.view.run == new.id
