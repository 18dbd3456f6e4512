"""Keeps background work going: an exception in one piece is told and the piece begun again, never the others' end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

from dm_isaac_g1.core.errors import DmG1Error

#: Seconds before work that failed is begun again: 0.5 * 2^n with full jitter, capped.
FIRST, CAP = 0.5, 30.0
#: Work that went well for so long begins its back-off anew.
STEADY = 60.0

Work = Callable[[], Awaitable[None]]
Tell = Callable[[str, BaseException], None]


class Keeper:
    """Named pieces of work, each a coroutine function. An async context manager: leaving it ends them all."""

    def __init__(self, tell: Tell = lambda name, error: None) -> None:
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Keeper:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def keep(self, name: str, work: Work) -> None:
        """Run `work` until it returns; when it raises, tell and begin it again after a pause. One piece a name."""
        if name in self:
            raise ValueError(f"{name} is kept already")
        self._tasks[name] = asyncio.create_task(self._run(name, work), name=name)

    def __contains__(self, name: str) -> bool:
        task = self._tasks.get(name)
        return task is not None and not task.done()

    def drop(self, name: str) -> None:
        """End a piece of work; nothing happens where there is none."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    async def _run(self, name: str, work: Work) -> None:
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                await work()
                return
            except Exception as error:
                failures = 1 if time.monotonic() - begun > STEADY else failures + 1
                self._tell(name, error)
            pause = min(CAP, FIRST * 2.0**failures)
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311  jitter, no secret


def expected(error: BaseException) -> bool:
    """A host that is away or answers badly: shown as the host's state, not as an accident of ours."""
    return isinstance(error, DmG1Error)
