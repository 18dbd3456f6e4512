"""A lab for the actions: two real SSH hosts on loopback, and a context on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dm_isaac_g1.actions import registry
from dm_isaac_g1.actions.context import Context, Plan
from dm_isaac_g1.core.events import Event, Failure, Result
from dm_isaac_g1.core.profiles import load_profile
from dm_isaac_g1.lab.lab import Lab


@pytest.fixture(scope="module")
def lab_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lab that is up for the module's tests."""
    folder = tmp_path_factory.mktemp("lab") / "l"
    here = Lab(folder)
    here.up()
    yield folder
    here.reset()


@pytest.fixture
def lab(lab_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DM_G1_LAB_DIR", str(lab_folder))
    return lab_folder


class Asked:
    """Agrees or not, and remembers what it was asked."""

    def __init__(self, agree: bool) -> None:
        self.agree = agree
        self.plans: list[Plan] = []

    async def __call__(self, plan: Plan) -> bool:
        self.plans.append(plan)
        return self.agree


@asynccontextmanager
async def context(
    *, agree: bool = True, by: str = "tester@here", dashes: bool = False
) -> AsyncIterator[tuple[Context, Asked]]:
    asked = Asked(agree)
    async with Context(load_profile("lab"), None, confirm=asked, by=by, dashes=dashes) as ctx:
        yield ctx, asked


async def perform(ctx: Context, action: str, /, **given: Any) -> list[Event]:
    """All events of an action."""
    which = registry.get(action)
    return [event async for event in registry.perform(which, ctx, which.parse(given))]


def result(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result), events[-1]
    return events[-1]


def failure(events: list[Event]) -> Failure:
    assert isinstance(events[-1], Failure), events[-1]
    return events[-1]
