"""A run's TensorBoard files: found in its events folder, each read on from where it was left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
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
#: Seconds that a file waits for the one before it to be read.
PATIENCE = 60.0
PREFIX = "events.out.tfevents"
#: Bytes of a file that are gathered before they are decoded, and so few that they are decoded at once, in the loop.
GATHER, TRICKLE = 1 << 20, 16 * 1024


class EventFilesMonitor:
    """Follows all event files of one run, also those that a resumed run begins."""

    def __init__(self, host: Host, job: JobInfo, apply: Callable[[Event], None], *, ended: asyncio.Event) -> None:
        assert job.spec.events_dir is not None
        self._host = host
        self._folder = job.spec.events_dir.rstrip("/")
        self._ended = ended
        self._batch = Batch(host.name, job.id, apply)
        self._files: dict[str, _File] = {}
        self._looked = False

    async def follow(self) -> None:
        """Read until the job has ended and nothing is left. Raises what reading raises; call again to go on."""
        tasks: dict[str, asyncio.Task[None]] = {}
        newest: asyncio.Event | None = None
        try:
            while True:
                last = self._ended.is_set()
                for found in await self._find():
                    path = found.path
                    if path not in tasks:
                        file = self._files.setdefault(path, _File())
                        file.size = found.size
                        if not found.size:
                            file.read.set()
                        tasks[path] = asyncio.create_task(self._read(path, file, newest), name=f"events {path}")
                        newest = file.read
                self._looked = True
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

    @property
    def caught_up(self) -> bool:
        """Whether all that the files held when they were found is in the picture."""
        return self._looked and all(file.taken >= file.size for file in self._files.values())

    async def _find(self) -> Sequence[Found]:
        """The event files in the folder and in the folders in it (transformers makes one a start), the oldest first."""
        found = await self._host.files.find(self._folder, f"{PREFIX}*", 2)
        return sorted(found, key=lambda each: each.path.rsplit("/", 1)[-1])

    async def _read(self, path: str, file: _File, before: asyncio.Event | None) -> None:
        """Follow one file, once the one `before` it is read: overlapping curves are cheapest in their order."""
        if before is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await before.wait()
        try:
            async for chunk in until_settled(self._host.files.follow(path, start=file.position), self._ended, SETTLE):
                if chunk.restarted:
                    await self._take(file)
                    file.reader = EventFileReader()
                    file.taken = file.size = 0
                file.waiting.append(chunk.data)
                file.position = chunk.position
                if chunk.at_end or sum(map(len, file.waiting)) >= GATHER:
                    await self._take(file)
                if chunk.at_end:
                    file.read.set()
        finally:
            file.read.set()
        await self._take(file)
        file.size = file.taken
        self._batch.flush()

    async def _take(self, file: _File) -> None:
        """Decode what waits; a flood in a thread, so that nothing else waits for it."""
        data, file.waiting = b"".join(file.waiting), []
        if len(data) <= TRICKLE:
            self._batch.points(file.reader.feed(data))
        else:
            # A reader must not be fed again before it is done: this waits for it even when it is cancelled.
            decoding = asyncio.ensure_future(asyncio.to_thread(file.reader.feed_columns, data))
            try:
                await asyncio.shield(decoding)
            finally:
                self._batch.columns(await decoding)
        file.taken += len(data)


class _File:
    """One file: its reader, how far it has read, and what was read and is not decoded yet."""

    def __init__(self) -> None:
        self.reader = EventFileReader()
        self.position: Position | None = None
        self.waiting: list[bytes] = []
        #: Bytes decoded, and the file's bytes when it was found.
        self.taken = 0
        self.size = 0
        #: Its present end was reached once.
        self.read = asyncio.Event()
