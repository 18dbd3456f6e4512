"""The last step and loss of runs that ended, from the end of their logs: each is read once, when somebody sees its row.

Runs that the fleet follows are read whole; these are the older ones, of which a table shows a line.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable
from dm_isaac_g1.core.events import Event, Metrics
from dm_isaac_g1.core.runs import Diagnosis, JobInfo, JobState, MetricPoint, TrainProgress
from dm_isaac_g1.finetuning.lines import LineSplitter
from dm_isaac_g1.finetuning.trainlog import TrainLogReader

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

log = logging.getLogger(__name__)

#: Bytes of a log's end that are read, and runs that wait for it at most.
TAIL, WAITING = 64 * 1024, 64


class Glimpses:
    """Reads one log's end after the other. `host`: the host of a job, None while it is away."""

    def __init__(
        self,
        host: Callable[[JobInfo], Host | None],
        apply: Callable[[Event], None],
        diagnosed: Callable[[JobInfo, Diagnosis], None],
    ) -> None:
        self._host, self._apply, self._diagnosed = host, apply, diagnosed
        self._waiting: list[JobInfo] = []
        self._read: set[str] = set()
        self._news = asyncio.Event()

    def want(self, jobs: Iterable[JobInfo]) -> None:
        """These are seen now; whoever was asked for before and is not read yet is no longer waited for."""
        self._waiting = [job for job in jobs if job.id not in self._read][:WAITING]
        if self._waiting:
            self._news.set()

    async def watch(self) -> None:
        """Read for ever. What cannot be read is told once and left; on a host that is away, when it is wanted again."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                job = self._waiting.pop(0)
                host = self._host(job)
                if host is None or job.id in self._read:
                    continue
                self._read.add(job.id)
                try:
                    await self._glimpse(host, job)
                except HostUnreachable:
                    self._read.discard(job.id)
                except DmG1Error as error:
                    log.info("%s: %s", job.id, error)

    async def _glimpse(self, host: Host, job: JobInfo) -> None:
        path = f"{job.folder}/log"
        if await host.files.stat(path) is None:
            return
        tail = (await host.files.read(path, -TAIL, TAIL)).data
        event = last_figures(host.name, job, tail)
        if event is not None:
            self._apply(event)
        if job.state is JobState.FAILED and job.diagnosis is None:
            from dm_isaac_g1.finetuning.diagnosis import diagnose

            found = diagnose("\n".join(LineSplitter().feed(tail).lines), job.exit)
            if found is not None:
                self._diagnosed(job, found)


def last_figures(host: str, job: JobInfo, tail: bytes) -> Metrics | None:
    """Step and last loss as the end of a log tells them; None where it tells neither.

    The point has no time: whoever reads the whole log later replaces it. Where NaN began stands further up, perhaps.
    """
    reader = TrainLogReader()
    losses = [point for point in reader.feed(tail) if point.name == "loss"]
    points: tuple[MetricPoint, ...] = ()
    if losses:
        value = math.nan if reader.nan_now else losses[-1].value
        points = (MetricPoint(name="loss", step=losses[-1].step, value=value),)
    if not points and reader.step is None:
        return None
    progress = TrainProgress(step=reader.step, max_steps=reader.max_steps, phase=reader.phase.value)
    return Metrics(at=job.ended or time.time(), host=host, run=job.id, points=points, progress=progress)
