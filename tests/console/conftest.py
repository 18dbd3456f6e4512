"""The console on a scene, at a moment that stands still."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from dm_isaac_g1.actions.registry import Action, Params
from dm_isaac_g1.console.app import DmG1App
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.fleet.store import Store

from . import scenes


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


class Asked:
    """Stands where actions are performed: remembers what was asked, answers what the test says."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Params]] = []
        #: What each action says; by default that it is done.
        self.answers: dict[str, Callable[[Params], list[ev.Event]]] = {}

    async def __call__(self, action: Action, hosts: Any, params: Params) -> AsyncIterator[ev.Event]:
        self.calls.append((action.name, params))
        for event in self.answers.get(action.name, lambda params: [ev.Result(text="done")])(params):
            yield event

    def named(self, name: str) -> list[Params]:
        return [params for called, params in self.calls if called == name]


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def console(asked: Asked) -> Callable[..., DmG1App]:
    def make(
        scene: Store | str = "training",
        *,
        theme: str | None = "dm-dark",
        profile: Any = scenes.PROFILE,
        memory: Any = None,
    ) -> DmG1App:
        store = scenes.SCENES[scene]() if isinstance(scene, str) else scene
        return DmG1App(
            profile,
            theme=theme,
            fleet_factory=scenes.fleet_of(store),
            perform=asked,
            now=lambda: scenes.NOW,
            clock=False,
            memory=memory,
        )

    return make


async def settled(pilot: Pilot[Any], tries: int = 200) -> None:
    """Wait until the scene is on the screen, its plot too, and nothing is left to do."""
    app = pilot.app
    assert isinstance(app, DmG1App)
    for _ in range(tries):
        await pilot.pause(0.02)
        loss = app.overview.loss
        placed = "loss" in app.overview._arranged.regions
        if app.fleet is not None and (not placed or loss.curve is None or loss._drawn is not None):
            break
    await pilot.pause(0.03)
    app.overview.action_sync_all()
    await pilot.pause(0.02)


def text_of(app: DmG1App) -> str:
    """What stands on the screen, a line a row."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    assert len(lines) == height
    return "\n".join("".join(segment.text for segment in strip)[:width] for strip in lines)
