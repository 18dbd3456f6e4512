"""A run's checkpoints: looked at often while one is written, seldom otherwise, at once when the log says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from dm_isaac_g1.core.events import Checkpoints, Event
from dm_isaac_g1.core.runs import Checkpoint, JobInfo

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

#: Seconds between two looks: while a checkpoint is being written, and otherwise.
SAVING, IDLE = 5.0, 30.0


class CheckpointMonitor:
    """Watches one run's output folder. `look` asks for a look now; `saved` is called when a checkpoint came or went.

    `looked`: what was there at first is in the picture.
    """

    def __init__(
        self,
        host: Host,
        job: JobInfo,
        apply: Callable[[Event], None],
        *,
        ended: asyncio.Event,
        saved: Callable[[], None] = lambda: None,
        idle: float = IDLE,
        saving: float = SAVING,
    ) -> None:
        assert job.spec.output_dir is not None
        self.looked = False
        self._host, self._job = host, job
        self._folder = job.spec.output_dir
        self._apply, self._saved, self._ended = apply, saved, ended
        self._idle, self._saving = idle, saving
        self._asked = asyncio.Event()
        self._seen: tuple[Checkpoint, ...] | None = None

    def look(self) -> None:
        """Look again now: something is being saved."""
        self._asked.set()

    async def watch(self) -> None:
        """Look until the job has ended, and once more then. Raises what looking raises; call again to go on."""
        while True:
            last = self._ended.is_set()
            asked = self._asked.is_set()
            self._asked.clear()
            found = await self._find(last)
            self.looked = True
            if found != self._seen:
                moved = self._seen is not None or bool(found)
                self._seen = found
                self._apply(Checkpoints(host=self._host.name, run=self._job.id, checkpoints=found))
                if moved:
                    self._saved()
            if last:
                return
            busy = asked or any(each.writing for each in found)
            await self._pause(self._saving if busy else self._idle)

    async def _find(self, ended: bool) -> tuple[Checkpoint, ...]:
        return tuple(await self._host.files.checkpoints(self._folder, ended=ended))

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until somebody asks or the job ends."""
        waiting = [asyncio.ensure_future(self._asked.wait()), asyncio.ensure_future(self._ended.wait())]
        try:
            with suppress(TimeoutError):
                await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
