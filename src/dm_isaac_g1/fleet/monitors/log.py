"""A run's log, read from where it was left: lines for people, points and progress for the curves."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from dm_isaac_g1.core.events import Event
from dm_isaac_g1.core.runs import JobInfo, TrainProgress
from dm_isaac_g1.finetuning.lines import LineSplitter
from dm_isaac_g1.finetuning.trainlog import Phase, TrainLogReader
from dm_isaac_g1.fleet.batch import Batch

if TYPE_CHECKING:
    from dm_isaac_g1.remote.files import FileChunk, Position
    from dm_isaac_g1.remote.host import Host

#: Bytes of the log's end that are kept for finding out why a run failed.
TAIL = 64 * 1024
#: After a job ended, its log may still get its last bytes: seconds without any that make it final.
SETTLE = 1.0


class LogMonitor:
    """Follows one log. `position` outlives a connection and an exception: no byte is read twice.

    `saving` is called when the log says that a checkpoint is being written, `caught_up` is set once all that was
    there has been read, `ended` is set by the owner when the job has ended: then the rest is read and `follow` returns.
    """

    def __init__(
        self,
        host: Host,
        job: JobInfo,
        apply: Callable[[Event], None],
        *,
        ended: asyncio.Event,
        saving: Callable[[], None] = lambda: None,
        clock_ahead: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.caught_up = asyncio.Event()
        self.reader = TrainLogReader()
        self._host, self._job = host, job
        self._path = f"{job.folder}/log"
        self._batch = Batch(host.name, job.id, apply)
        self._ended = ended
        self._saving = saving
        self._ahead = clock_ahead
        self._lines = LineSplitter()
        self._position: Position | None = None
        self._mtime: float | None = None
        self._tail: deque[bytes] = deque()

    async def follow(self) -> None:
        """Read until the job has ended and nothing is left. Raises what reading raises; call again to go on."""
        found = await self._host.files.stat(self._path)
        if found is None or not found.size:
            self.caught_up.set()
        elif not self.caught_up.is_set():
            self._mtime = found.mtime
        try:
            async for chunk in until_settled(
                self._host.files.follow(self._path, start=self._position), self._ended, SETTLE
            ):
                self._take(chunk)
                await asyncio.sleep(0)
        finally:
            self._batch.flush()
        self.caught_up.set()

    def tail(self) -> str:
        """The last lines of the log as a terminal shows them, for a diagnosis."""
        return "\n".join(LineSplitter().feed(b"".join(self._tail)[-TAIL:]).lines)

    def _take(self, chunk: FileChunk) -> None:
        if chunk.restarted:
            self.reader, self._lines = TrainLogReader(), LineSplitter()
            self._tail.clear()
        self._position = chunk.position
        live = chunk.position.offset >= chunk.size
        phase = self.reader.phase
        wall = self._wall() if live else None
        points = self.reader.feed(chunk.data, wall)
        reader = self.reader
        self._batch.points(
            points,
            TrainProgress(
                step=reader.step,
                max_steps=reader.max_steps,
                phase=reader.phase.value,
                nan_step=reader.nan_step,
                nan_now=reader.nan_now,
            ),
            at=wall,
        )
        lines = self._lines.feed(chunk.data)
        self._batch.lines(lines.lines, replaced=lines.replaced, unfinished=not chunk.data.endswith(b"\n"))
        self._keep(chunk.data)
        if live:
            if not self.caught_up.is_set():
                self._batch.flush()
                self.caught_up.set()
            if reader.phase is Phase.SAVING and phase is not Phase.SAVING:
                self._saving()

    def _wall(self) -> float:
        """When the log's last byte was written, by this machine's clock."""
        if not self.caught_up.is_set() and self._mtime is not None:
            return min(time.time(), self._mtime - self._ahead())
        return time.time()

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        size = sum(map(len, self._tail))
        while len(self._tail) > 1 and size - len(self._tail[0]) >= TAIL:
            size -= len(self._tail.popleft())


async def until_settled(
    chunks: AsyncIterator[FileChunk], ended: asyncio.Event, settle: float
) -> AsyncIterator[FileChunk]:
    """The chunks, until `ended` is set and none came for `settle` seconds."""
    ending = asyncio.ensure_future(ended.wait())
    coming: asyncio.Task[FileChunk] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(chunks))
            if ending.done():
                done, _ = await asyncio.wait({coming}, timeout=settle)
                if not done:
                    return
            else:
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    continue
            try:
                chunk = coming.result()
            except StopAsyncIteration:
                return
            finally:
                coming = None
            yield chunk
    finally:
        ending.cancel()
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
