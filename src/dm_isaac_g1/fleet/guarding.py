"""The disk guard's inputs, gathered: which runs save on which file system of a host, and what else writes there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.forecasts import Forecast, Remedy, Verdict
from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.runs import Checkpoint, JobInfo, JobSpec, JobState
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.guard import forecast, reserve_of
from dm_isaac_g1.finetuning.rates import assumed
from dm_isaac_g1.finetuning.remedies import remedies
from dm_isaac_g1.finetuning.timeline import Writer
from dm_isaac_g1.fleet.folders import Folder, all_folders
from dm_isaac_g1.fleet.runs import pace_of, rate_of, step_of
from dm_isaac_g1.fleet.store import RunView

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

#: Places of the profile whose file systems matter.
PLACES = ("workspace", "checkpoints", "datasets", "models", "jobs", "caches")


def writer(run: RunView, now: float, earlier: float | None = None) -> Writer | None:
    """A run that goes on, as the guard sees it; None where it saves nothing.

    `earlier`: the speed of a run of the same trainer that ended. It stands in while this one is not timed, as does its
    own last speed while it stands still.
    """
    spec = run.job.spec
    if run.job.state.ended or spec.save is None:
        return None
    pace = pace_of(run)
    rate = rate_of(run, now, pace)
    known = pace.speed or earlier
    return Writer(
        run=run.id,
        plan=spec.save,
        step=step_of(run) or 0,
        rate=rate or (assumed(spec.trainer, known) if known else None),
        rate_assumed=rate is None,
        # A complete one is written to its end, however young its files are.
        checkpoints=tuple(
            msgspec.structs.replace(each, writing=False) if each.complete else each for each in run.checkpoints
        ),
        save_seconds=pace.save_seconds,
    )


def speeds(runs: Iterable[RunView]) -> dict[str | None, float]:
    """Steps a second by trainer: of the newest run of each that ended and whose curves or bar were read."""
    found: dict[str | None, float] = {}
    for run in sorted(runs, key=lambda each: each.job.spec.created):
        speed = pace_of(run).speed if run.job.state.ended and run.job.spec.save is not None else None
        if speed:
            found[run.job.spec.trainer] = speed
    return found


def judge(
    host: str,
    disks: Iterable[Disk],
    writers: Mapping[int, list[Writer]],
    thresholds: Thresholds,
    *,
    background: Mapping[int, float] | None = None,
    helps: Mapping[int, tuple[Remedy, ...]] | None = None,
) -> tuple[Forecast, ...]:
    """The guard's word on each file system. `writers`, `background` and `helps` by device."""
    said = []
    for disk in disks:
        word = forecast(
            disk,
            writers.get(disk.dev, []),
            host=host,
            background=(background or {}).get(disk.dev, 0.0),
            reserve=reserve_of(disk.total, thresholds),
            remedies=(helps or {}).get(disk.dev, ()),
        )
        guessed = {each.run for each in writers.get(disk.dev, []) if each.rate_assumed}
        if word.failing is not None and word.failing.run in guessed and word.background:
            # Without the others it may well fit: say what the verdict rests on.
            word = msgspec.structs.replace(word, reason=f"{word.reason}; its speed is not known yet, taken to be low")
        said.append(word)
    return tuple(said)


def needs_help(said: Iterable[Forecast]) -> bool:
    return any(each.verdict in (Verdict.FAIL, Verdict.TIGHT) for each in said)


async def what_helps(
    host: Host, folders: Iterable[Folder], writers: Mapping[int, list[Writer]]
) -> dict[int, tuple[Remedy, ...]]:
    """What could be freed on each file system, by device: of the runs that save there, and of those that ended.

    What lies on another file system frees nothing there and is not offered. Raises what asking the host raises.
    """
    ended = [(each.name, each.checkpoints) for each in folders if not each.running]
    running = [each for there in writers.values() for each in there]
    paths = list(dict.fromkeys(each.path for each in remedies(running, ended) if each.path is not None))
    disks = await host.files.disks({str(number): path for number, path in enumerate(paths)}) if paths else ()
    lies = {paths[int(number)]: disk.dev for disk in disks for number in disk.paths}
    return {
        dev: tuple(
            each
            for each in remedies(writers.get(dev, []), ended)
            if each.path is None or lies.get(each.path) == dev  # without a path: a run there could save less
        )
        for dev in {*writers, *lies.values()}
    }


async def look_at_disks(host: Host, outputs: Mapping[str, str]) -> tuple[list[Disk], dict[str, Disk]]:
    """The file systems of the profile's places and of `outputs` (by any key), and the one that each output lies on."""
    asked = {place: host.path(place) for place in PLACES} | {f"run:{key}": path for key, path in outputs.items()}
    disks = await host.files.disks(asked)
    lies = {key: disk for key in outputs for disk in disks if f"run:{key}" in disk.paths}
    plain = [msgspec.structs.replace(disk, paths=tuple(p for p in disk.paths if p in PLACES)) for disk in disks]
    return plain, lies


async def forecast_now(
    host: Host, thresholds: Thresholds, background: Mapping[int, float] | None = None
) -> tuple[Forecast, ...]:
    """The guard's word on a host, from nothing: its jobs, their checkpoints, their logs' ends.

    `background`: what others write there, by device, where somebody has measured it.
    """
    jobs = await host.jobs.list()
    return await _forecast(host, jobs, thresholds, background)


async def forecast_planned(
    host: Host,
    spec: JobSpec,
    thresholds: Thresholds,
    background: Mapping[int, float] | None = None,
    *,
    beside: list[JobInfo] | None = None,
) -> Forecast | None:
    """The guard's word on the file system where a job that is planned will save; None where that is not known.

    `beside`: the jobs that are there, where they are known already.
    """
    assert spec.save is not None and spec.output_dir is not None
    there: tuple[Checkpoint, ...] = ()
    if await host.files.stat(spec.output_dir) is not None:
        there = tuple(await host.files.checkpoints(spec.output_dir))
    step = max((each.step for each in there if each.complete and not each.best), default=0)
    jobs = await host.jobs.list() if beside is None else beside
    rate = assumed(spec.trainer, await _earlier_speed(host, jobs, spec.trainer) if background else None)
    planned = Writer(run=spec.id, plan=spec.save, step=step, checkpoints=there, rate=rate, rate_assumed=True)
    said = await _forecast(host, jobs, thresholds, background, (planned, spec.output_dir))
    word = next((each for each in said if any(save.run == spec.id for save in each.saves) or each.failing), None)
    return _unnamed(word, spec.id) if word is not None else None


async def forecast_started(
    host: Host, job: JobInfo, thresholds: Thresholds, background: Mapping[int, float] | None = None
) -> Forecast | None:
    """The guard's word on a job that was just started, beside all that began before it; None where nothing is new.

    Several launched at once are each allowed before any of them is there. Each looks again once it has begun, so of
    those that do not fit together the later ones find out, by the host's own clock, and no two blame each other.
    """
    jobs = await host.jobs.list()
    mine = next((each for each in jobs if each.id == job.id), job)
    beside = [each for each in jobs if each.id != job.id and (each.state.ended or _begun(each) < _begun(mine))]
    if all(each.state.ended for each in beside):
        return None
    return await forecast_planned(host, job.spec, thresholds, background, beside=beside)


def _begun(job: JobInfo) -> tuple[float, str]:
    return (job.started if job.started is not None else float("inf"), job.id)


def _unnamed(word: Forecast, planned: str) -> Forecast:
    """The forecast without the id of a job that is not there yet: whoever launches it knows which it is."""
    remedies = tuple(
        msgspec.structs.replace(each, title=each.title.removeprefix(f"{planned}: ")) for each in word.remedies
    )
    reason = word.reason.replace(f"{planned}'s ", "the ").replace(f" of {planned}", "")
    return msgspec.structs.replace(word, remedies=remedies, reason=reason)


async def _earlier_speed(host: Host, jobs: Iterable[JobInfo], trainer: str | None) -> float | None:
    """Steps a second of the newest finished run of the trainer, from the end of its log."""
    from dm_isaac_g1.fleet.glance import glance

    done = [job for job in jobs if job.state is JobState.SUCCEEDED and job.spec.trainer == trainer and job.spec.save]
    newest = max(done, key=lambda job: job.spec.created, default=None)
    return pace_of(await glance(host, newest)).speed if newest else None


async def _forecast(
    host: Host,
    jobs: list[JobInfo],
    thresholds: Thresholds,
    background: Mapping[int, float] | None,
    planned: tuple[Writer, str] | None = None,
) -> tuple[Forecast, ...]:
    from dm_isaac_g1.fleet.glance import glance

    now = time.time()
    folders = await all_folders(host, jobs)
    by_path: dict[str, Folder] = {folder.path: folder for folder in folders}
    writers: dict[str, Writer] = {}
    outputs: dict[str, str] = {}
    for job in jobs:
        if job.state.ended or job.spec.save is None or job.spec.output_dir is None:
            continue
        path = job.spec.output_dir.rstrip("/")
        run = await glance(host, job)
        run.checkpoints = by_path[path].checkpoints if path in by_path else ()
        found = writer(run, now)
        if found is not None:
            writers[job.id], outputs[job.id] = found, path
    if planned is not None:
        writers[planned[0].run], outputs[planned[0].run] = planned
    disks, lies = await look_at_disks(host, outputs)
    on: dict[int, list[Writer]] = {}
    for key, disk in lies.items():
        on.setdefault(disk.dev, []).append(writers[key])
    said = judge(host.name, disks, on, thresholds, background=background)
    if not needs_help(said):
        return said
    helps = await what_helps(host, folders, on)
    return judge(host.name, disks, on, thresholds, background=background, helps=helps)
