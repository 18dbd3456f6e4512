"""A run as the end of its log tells it: step, speed and phase, without reading the whole of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.runs import JobInfo, TrainProgress
from dm_isaac_g1.finetuning.lines import LineSplitter
from dm_isaac_g1.finetuning.trainlog import TrainLogReader
from dm_isaac_g1.fleet.store import RunView

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

#: Bytes of the log's end that are read; a bar and some hundred log lines.
TAIL = 128 * 1024


async def glance(host: Host, job: JobInfo) -> RunView:
    """The run's picture from the last part of its log."""
    run = RunView(job)
    path = f"{job.folder}/log"
    found = await host.files.stat(path)
    if found is None or not found.size:
        return run
    chunk = await host.files.read(path, max(0, found.size - TAIL), TAIL)
    reader = TrainLogReader()
    now = time.time()
    run.curves.extend(reader.feed(chunk.data, now))
    run.advance(
        TrainProgress(
            step=reader.step,
            max_steps=reader.max_steps,
            phase=reader.phase.value,
            nan_step=reader.nan_step,
            nan_now=reader.nan_now,
        ),
        now,
    )
    return run


async def diagnosed(host: Host, job: JobInfo) -> JobInfo:
    """A job that failed, with the cause that the end of its log tells. Raises RemoteFailed, HostUnreachable."""
    from dm_isaac_g1.finetuning.diagnosis import diagnose

    path = f"{job.folder}/log"
    if await host.files.stat(path) is None:
        return job
    chunk = await host.files.read(path, -TAIL, TAIL)
    found = diagnose("\n".join(LineSplitter().feed(chunk.data).lines), job.exit)
    return msgspec.structs.replace(job, diagnosis=found) if found else job
