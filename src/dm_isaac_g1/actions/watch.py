"""Watching one job: its log, and where its training is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.actions.train import JobId, NotNegative
from dm_isaac_g1.core.errors import DmG1Error, ExitCode, HostUnreachable
from dm_isaac_g1.core.events import (
    Alert,
    Checkpoints,
    Event,
    Forecasts,
    Job,
    Log,
    MetricColumns,
    Metrics,
    Progress,
    Result,
)
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.core.units import many
from dm_isaac_g1.fleet.hosts import LAST

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.runs import JobInfo
    from dm_isaac_g1.fleet.fleet import Fleet
    from dm_isaac_g1.fleet.store import RunView
    from dm_isaac_g1.remote.host import Host

#: Bytes of a log looked at for each line asked for; longer lines give fewer.
LINE_BYTES = 512
#: Seconds between two looks at a job's state while its log is followed.
STATE_EVERY = 1.0
#: Seconds that reading a run's whole log and event files may take before its figures are given as they are.
CAUGHT_UP = 60.0


class LogsParams(Params, frozen=True, kw_only=True):
    job_id: JobId = LAST
    tail: Annotated[NotNegative, Meta(description="Begin with the last so many lines; 0: the whole log.")] = 200
    follow: Annotated[bool, Meta(description="Go on until the job ends.")] = False


@action("train.logs", title="Show a job's log", params=LogsParams)
async def logs(ctx: Context, params: LogsParams) -> AsyncIterator[Event]:
    """Show a job's log; with --follow go on until the job ends."""
    host, job = await ctx.find_job(params.job_id)
    count = 0
    async with aclosing(_lines(host, job, params)) as events:  # type: ignore[type-var]
        async for event in events:
            count += len(event.lines)
            yield event
    yield Result(text=many(count, "line"), data={"id": job.id, "host": host.name, "lines": count})


async def _lines(host: Host, job: JobInfo, params: LogsParams) -> AsyncIterator[Log]:
    from dm_isaac_g1.finetuning.lines import LineSplitter
    from dm_isaac_g1.fleet.monitors.log import SETTLE, until_settled

    path = f"{job.folder}/log"
    ended = asyncio.Event()
    found = await host.files.stat(path)
    if job.state.ended or not params.follow:
        ended.set()
        if found is None or not found.size:
            return
    watching = asyncio.create_task(_wait_for_end(host, job, ended))
    splitter = LineSplitter()
    size = found.size if found else 0
    from_end = params.tail * LINE_BYTES if params.tail else None
    cut = from_end is not None and size > from_end
    waiting: list[str] | None = []
    try:
        chunks = until_settled(host.files.follow(path, from_end=from_end), ended, SETTLE)
        async with aclosing(chunks) as pieces:  # type: ignore[type-var]
            async for chunk in pieces:
                if chunk.restarted:
                    splitter = LineSplitter()
                said = splitter.feed(chunk.data)
                open_ = not chunk.data.endswith(b"\n")
                if waiting is None:
                    if said:
                        yield _log(host, job, said.lines, said.replaced, open_)
                else:
                    if said.replaced and waiting:
                        waiting.pop()
                    waiting += said.lines
                    if chunk.position.offset >= size:
                        # The first line may have lost its beginning.
                        kept = waiting[1:] if cut and len(waiting) > 1 else waiting
                        kept = kept[-params.tail :] if params.tail else kept
                        if kept:
                            yield _log(host, job, tuple(kept), False, open_)
                        waiting = None
                if not params.follow and chunk.position.offset >= size:
                    return
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _log(host: Host, job: JobInfo, lines: tuple[str, ...], replaced: bool, unfinished: bool) -> Log:
    return Log(host=host.name, source=job.id, lines=lines, replaced=replaced, unfinished=unfinished)


async def _wait_for_end(host: Host, job: JobInfo, ended: asyncio.Event) -> None:
    """Set `ended` once the job has; a host that is away for a while is waited for."""
    while not job.state.ended:
        await asyncio.sleep(STATE_EVERY)
        try:
            job = await host.jobs.get(job.id)
        except HostUnreachable:
            continue
    ended.set()


class MonitorParams(Params, frozen=True, kw_only=True):
    job_id: JobId = LAST
    follow: Annotated[bool, Meta(description="Go on until the job ends.")] = False


@action("train.monitor", title="Watch a fine-tune", params=MonitorParams)
async def monitor(ctx: Context, params: MonitorParams) -> AsyncIterator[Event]:
    """Say where a training is: phase, step, loss, speed, time left, its curve, checkpoints and the guard's word.

    The figures are the console's own. With --follow it goes on until the job ends; exit code 1 says that it failed.
    """
    from dm_isaac_g1.fleet.fleet import Fleet
    from dm_isaac_g1.fleet.snapshot import all_points

    host, job = await ctx.find_job(params.job_id)
    async with Fleet(ctx.profile, ctx.config, only=[host.name], recent=0, hosts=ctx.hosts) as fleet:
        fleet.focus(job.id)
        run = await _read(fleet, job)
        await fleet.judge()
        yield Job(job=run.job)
        yield all_points(run)
        yield Checkpoints(host=host.name, run=run.id, checkpoints=run.checkpoints)
        view = fleet.store.hosts[host.name]
        if view.forecasts:
            yield Forecasts(host=host.name, forecasts=view.forecasts)
        for alert in fleet.store.alerts.values():
            if alert.run == run.id:
                yield alert
        if params.follow:
            async with aclosing(_follow(fleet, run)) as news:  # type: ignore[type-var]
                async for event in news:
                    yield event
            for event in await _last_look(fleet, host, run):
                yield event
        now = time.time()
        if params.follow and run.job.state in (JobState.FAILED, JobState.LOST):
            yield Result(text=failed(run.job), data=figures(run, now), code=ExitCode.FAILED)
        else:
            yield Result(text=sentence(run, now), data=figures(run, now))


async def _read(fleet: Fleet, job: JobInfo) -> RunView:
    """The run, once all it had to say is in the picture. Raises HostUnreachable."""
    store = fleet.store
    try:
        async with asyncio.timeout(CAUGHT_UP):
            while not (fleet.caught_up(job.id) and fleet.judged(job.host)):  # noqa: ASYNC110  two conditions
                await asyncio.sleep(0.02)
    except TimeoutError:
        if job.id not in store.runs:
            raise HostUnreachable("its jobs could not be listed in time", where=job.host) from None
    return store.runs[job.id]


async def _follow(fleet: Fleet, run: RunView) -> AsyncIterator[Event]:
    """The run's news, and about once a second where it is, until its job has ended and all of it was read."""
    said = ""
    with fleet.store.subscribe(events=True) as changes:
        while True:
            done = run.job.state.ended and fleet.caught_up(run.id)
            for event in changes.take_events():
                if concerns(event, run):
                    yield event
            text = sentence(run, time.time())
            if text != said:
                said = text
                yield Progress(text=text, done=run.progress.step, total=run.progress.max_steps, unit="steps")
            if done:
                return
            await asyncio.sleep(1.0)


async def _last_look(fleet: Fleet, host: Host, run: RunView) -> list[Event]:
    """The job and its checkpoints as they are at the very end; what is new, taken into the picture."""
    news: list[Event] = []
    try:
        job = await host.jobs.get(run.id)
        job = msgspec.structs.replace(job, diagnosis=job.diagnosis or run.job.diagnosis)
        if job != run.job:
            news.append(Job(job=job))
        if job.spec.output_dir is not None:
            found = tuple(await host.files.checkpoints(job.spec.output_dir, ended=job.state.ended))
            if found != run.checkpoints:
                news.append(Checkpoints(host=host.name, run=run.id, checkpoints=found))
    except DmG1Error:
        pass  # away just now: what was seen last stands
    for event in news:
        fleet.apply(event)
    return news


def concerns(event: Event, run: RunView) -> bool:
    """Whether an event is about this run (its log aside: that is `train logs`)."""
    match event:
        case Metrics(run=id) | MetricColumns(run=id) | Checkpoints(run=id) | Alert(run=id):
            return id == run.id
        case Job(job=job):
            return job.id == run.id
        case Forecasts(host=name):
            return name == run.job.host
    return False


def sentence(run: RunView, now: float) -> str:
    """Where the run is, on one line."""
    from dm_isaac_g1.core.units import duration, speed
    from dm_isaac_g1.fleet.runs import picture

    at = picture(run, now)
    parts = [at.phase]
    if at.step is not None:
        parts.append(f"step {at.step}" + (f" of {at.max_steps}" if at.max_steps else ""))
    if at.loss is not None:
        parts.append(f"loss {at.loss:.4g}" + (f" (smoothed {at.smoothed:.4g})" if at.smoothed is not None else ""))
    if at.rate is not None:
        parts.append(speed(at.rate))
    if at.eta is not None:
        parts.append(f"{duration(at.eta)} left")
    if run.job.diagnosis is not None:
        parts.append(run.job.diagnosis.cause)
    return ", ".join(parts)


def failed(job: JobInfo) -> str:
    """How a job ended that did not succeed, why, and what to do, on one line."""
    why = job.diagnosis
    if why is not None:
        return DmG1Error(f"{job.state.value}: {why.cause}", where=job.id, fix=why.fix or None).line()
    if job.state is JobState.LOST:
        what = "lost: its process is gone and left no exit (was the host rebooted?)"
    elif job.exit is None:
        what = job.state.value
    else:
        how = f"signal {job.exit.signal}" if job.exit.signal else f"exit {job.exit.code}"
        what = f"{job.state.value}: {how}, for no reason that is known here"
    return DmG1Error(what, where=job.id, fix=f"see `dm-g1 train logs --job-id {job.id}`").line()


def figures(run: RunView, now: float) -> dict[str, Any]:
    """The run's figures, for scripts."""
    from dm_isaac_g1.fleet.runs import picture

    at = picture(run, now)
    return {
        "id": run.id,
        "host": run.job.host,
        "state": run.job.state.value,
        "phase": at.phase,
        "step": at.step,
        "max_steps": at.max_steps,
        "loss": at.loss,
        "smoothed": at.smoothed,
        "rate": at.rate,
        "eta": at.eta,
        "points": {name: len(curve) for name, curve in run.curves.by_name.items()},
        "checkpoints": [each.step for each in run.checkpoints if each.complete],
        "exit": msgspec.to_builtins(run.job.exit),
        "diagnosis": msgspec.to_builtins(run.job.diagnosis),
    }
