"""Background work that fails is begun again, alone."""

from __future__ import annotations

import asyncio

from dm_isaac_g1.fleet import keeper
from dm_isaac_g1.fleet.keeper import Keeper


async def test_work_that_fails_is_told_and_begun_again(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(keeper, "FIRST", 0.001)
    told: list[str] = []
    done = asyncio.Event()

    async def work() -> None:
        if len(told) < 3:
            raise ValueError("no")
        done.set()

    async with Keeper(lambda name, error: told.append(f"{name}: {error}")) as kept:
        kept.keep("it", work)
        await asyncio.wait_for(done.wait(), 2)
        await asyncio.sleep(0)
        assert "it" not in kept
    assert told == ["it: no"] * 3


async def test_leaving_ends_all_work() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async with Keeper() as kept:
        kept.keep("a", work)
        kept.keep("b", work)
        await asyncio.sleep(0)
    assert ended == [True, True]
