"""A run's TensorBoard files: found in its events folder, each read on from where it was left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dm_isaac_g1.core.events import Event
from dm_isaac_g1.core.runs import JobInfo
from dm_isaac_g1.finetuning.tfevents import EventFileReader
from dm_isaac_g1.fleet.batch import Batch
from dm_isaac_g1.fleet.monitors.log import SETTLE, until_settled

if TYPE_CHECKING:
    from dm_isaac_g1.remote.files import Found, Position
    from dm_isaac_g1.remote.host import Host

#: Seconds between two looks for new files while a run goes on; the first file is waited for more eagerly.
LOOK, EAGER = 10.0, 2.0
PREFIX = "events.out.tfevents"


class EventFilesMonitor:
    """Follows all event files of one run, also those that a resumed run begins."""

    def __init__(self, host: Host, job: JobInfo, apply: Callable[[Event], None], *, ended: asyncio.Event) -> None:
        assert job.spec.events_dir is not None
        self._host = host
        self._folder = job.spec.events_dir.rstrip("/")
        self._ended = ended
        self._batch = Batch(host.name, job.id, apply)
        self._files: dict[str, _File] = {}

    async def follow(self) -> None:
        """Read until the job has ended and nothing is left. Raises what reading raises; call again to go on."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                last = self._ended.is_set()
                for path in await self._find():
                    if path not in tasks:
                        file = self._files.setdefault(path, _File())
                        tasks[path] = asyncio.create_task(self._read(path, file), name=f"events {path}")
                for task in tasks.values():
                    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                        raise error
                if last:
                    await asyncio.gather(*tasks.values())
                    return
                try:
                    async with asyncio.timeout(LOOK if tasks else EAGER):
                        await self._ended.wait()
                except TimeoutError:
                    pass
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            self._batch.flush()

    async def _find(self) -> list[str]:
        """The event files in the folder and in the folders in it (transformers makes one a start)."""
        found: Sequence[Found] = await self._host.files.find(self._folder, f"{PREFIX}*", 2)
        return [each.path for each in found]

    async def _read(self, path: str, file: _File) -> None:
        chunks = self._host.files.follow(path, start=file.position)
        async for chunk in until_settled(chunks, self._ended, SETTLE):
            if chunk.restarted:
                file.reader = EventFileReader()
            file.position = chunk.position
            self._batch.points(file.reader.feed(chunk.data))
            await asyncio.sleep(0)
        self._batch.flush()


class _File:
    """One file: its reader, and how far it has read."""

    def __init__(self) -> None:
        self.reader = EventFileReader()
        self.position: Position | None = None
