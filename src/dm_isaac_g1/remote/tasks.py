"""Tasks that are ended with care."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is gone, whatever it ends with.

    `await task` under `suppress(CancelledError)` would swallow our own cancellation too, and we would never end.
    """
    task.cancel()
    await asyncio.wait({task})


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """A task that lives as long as the block."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await end(task)
