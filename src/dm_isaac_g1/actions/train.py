"""Fine-tunes: start one from a recipe, list them, stop one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import DmG1Error, UsageError
from dm_isaac_g1.core.events import Event, Job, Progress, Result
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.recipe import Recipe
    from dm_isaac_g1.core.runs import JobInfo
    from dm_isaac_g1.remote.host import Host

JobId = Annotated[
    str,
    Meta(description="The job's id, the six digits it ends with, or `last` for the newest.", extra={"names": "job"}),
]
OneJob = Annotated[
    str | None,
    Meta(
        description="Only of this job: its id, the six digits it ends with, or `last` for the newest.",
        extra={"names": "job"},
    ),
]
HostName = Annotated[str | None, Meta(description="The host, by its name in the profile.", extra={"names": "host"})]


Positive = Annotated[int, Meta(gt=0)]
NotNegative = Annotated[int, Meta(ge=0)]


class StartParams(Params, frozen=True, kw_only=True):
    recipe: Annotated[str | None, Meta(description="The recipe: a name or a YAML file.", extra={"names": "recipe"})] = (
        None
    )
    host: HostName = None
    datasets: Annotated[
        tuple[str, ...],
        Meta(description="Datasets instead of the recipe's, by name or path on the host.", extra={"names": "dataset"}),
    ] = ()
    steps: Annotated[Positive | None, Meta(description="Training steps.")] = None
    batch_size: Annotated[Positive | None, Meta(description="Samples in a step.")] = None
    save_steps: Annotated[Positive | None, Meta(description="Steps between two checkpoints.")] = None
    save_total_limit: Annotated[NotNegative | None, Meta(description="Checkpoints kept; 0 keeps all.")] = None
    learning_rate: Annotated[Annotated[float, Meta(gt=0)] | None, Meta(description="The learning rate.")] = None
    output: Annotated[
        str | None, Meta(description="Where it saves, under the host's checkpoints; {job} is the job's id.")
    ] = None
    resume: Annotated[bool, Meta(description="Go on from the last checkpoint in a used output folder.")] = False
    quarantine: Annotated[
        bool, Meta(description="Set incomplete checkpoints in the output folder aside (renamed broken-...).")
    ] = False
    force: Annotated[bool, Meta(description="Start although the disk guard says that it cannot finish.")] = False
    dry_run: Annotated[bool, Meta(description="Only say what would be done.")] = False


@action("train.start", title="Start a fine-tune", params=StartParams, key="t", needs_host="train")
async def start(ctx: Context, params: StartParams) -> AsyncIterator[Event]:
    """Start a fine-tune from a recipe, as a job that outlives this program.

    The host is asked first: are the datasets there, is the output folder free, will every checkpoint fit on its
    disk? What cannot finish is refused, with the save that would fail (--force starts it all the same).
    """
    from dm_isaac_g1.actions import preflight
    from dm_isaac_g1.finetuning.trainers import compose
    from dm_isaac_g1.remote.jobs import new_job_id

    recipe = chosen_recipe(ctx, params)
    name = ctx.name_for(params.host, "train")
    yield Progress(text=f"Connecting to {name}", transient=True)
    host = await ctx.host(name)
    now = time.time()
    yield Progress(text=f"Checking datasets and disk on {name}", transient=True)
    info = await preflight.datasets(host, recipe)
    spec = compose(recipe, host.profile, new_job_id(recipe.name, now), host.path, dataset_info=info)
    findings = await preflight.check(ctx, host, spec, params)
    for line in findings.lines:
        yield Progress(text=line)
    spec = msgspec.structs.replace(spec, created=now, user=ctx.by, client="dm-g1", forced=findings.forced)
    if params.dry_run:
        found = findings.forecast
        word = {"verdict": found.verdict.value, "reason": found.reason, "mount": found.mount} if found else None
        plan = {"id": spec.id, "host": name, "argv": list(spec.argv), "output": spec.output_dir, "forecast": word}
        yield Result(text=f"Would start {spec.id} on {name}", data=plan | {"dry_run": True})
        return
    await preflight.set_aside(host, spec, findings)
    job = await host.jobs.start(spec)
    yield Job(job=job)
    if findings.forecast is not None and not params.force:
        await preflight.disk_again(ctx, host, job)
    yield Result(
        text=f"Started {job.id} on {name}",
        data={"id": job.id, "host": name, "output": spec.output_dir, "state": job.state.value, "forced": spec.forced},
    )


def chosen_recipe(ctx: Context, params: StartParams) -> Recipe:
    """The recipe that `params` or the profile's defaults name, with the overrides in it. Raises UsageError."""
    from dm_isaac_g1.core.profiles import list_recipes, load_recipe

    name = params.recipe or ctx.profile.defaults.recipe
    if name is None:
        known = ", ".join(str(getattr(each, "name", each)) for each in list_recipes(ctx.profile))
        raise UsageError(
            "no recipe named, and the profile has no default", fix=f"{ctx.option('recipe')}, one of: {known}"
        )
    given: dict[str, Any] = {
        field: value
        for field in ("steps", "batch_size", "save_steps", "save_total_limit", "learning_rate", "output")
        if (value := getattr(params, field)) is not None
    }
    if params.datasets:
        given["datasets"] = params.datasets
    return msgspec.structs.replace(load_recipe(name, ctx.profile), **given)


class ListParams(Params, frozen=True, kw_only=True):
    host: HostName = None
    running: Annotated[bool, Meta(description="Only jobs that have not ended.")] = False
    limit: Annotated[int, Meta(description="At most so many, newest first; 0: all.", ge=0)] = 50


@action("train.list", title="List jobs", params=ListParams)
async def list_jobs(ctx: Context, params: ListParams) -> AsyncIterator[Event]:
    """List the jobs on the hosts, newest first."""
    names = [ctx.hosts.check(params.host)] if params.host else list(ctx.hosts.names)
    jobs, silent = await ctx.hosts.jobs(names)
    if silent and len(silent) == len(names):
        raise next(iter(silent.values()))
    for error in silent.values():
        yield Progress(text=error.line())
    shown = [job for job in jobs if not (params.running and job.state.ended)]
    shown = shown[: params.limit] if params.limit else shown
    shown = [await _with_cause(ctx, job) for job in shown]
    for job in shown:
        yield Job(job=job)
    yield Result(
        text=f"{len(shown)} of {many(len(jobs), 'job')}" if len(shown) < len(jobs) else many(len(jobs), "job"),
        data={
            "jobs": [{"id": job.id, "host": job.host, "state": job.state.value, "cause": _cause(job)} for job in shown],
            "silent": {name: error.line() for name, error in silent.items()},
        },
    )


#: Modes that lose every step since the last checkpoint at once: they need a yes.
HARSH = ("terminate", "kill")


async def _with_cause(ctx: Context, job: JobInfo) -> JobInfo:
    """A failed job with what the end of its log says of the cause."""
    if job.state is not JobState.FAILED or job.diagnosis is not None:
        return job
    from dm_isaac_g1.fleet.glance import diagnosed

    try:
        return await diagnosed(ctx.hosts.opened(job.host), job)
    except DmG1Error:
        return job


class StopParams(Params, frozen=True, kw_only=True):
    job_id: JobId
    mode: Annotated[
        Literal["checkpoint", "interrupt", "terminate", "kill"],
        Meta(description="How gently it begins: after the next checkpoint, or by a signal."),
    ] = "checkpoint"
    wait: Annotated[bool, Meta(description="Wait until no process of the job is left, showing each rung.")] = False


@action("train.stop", title="Stop a job", params=StopParams, key="s", danger=True)
async def stop(ctx: Context, params: StopParams) -> AsyncIterator[Event]:
    """Stop a job, gently first: after its next checkpoint, then interrupt, terminate, kill.

    Somebody else's request that is already under way is joined, and made more urgent where this one is.
    """
    from dm_isaac_g1.actions.context import Plan

    host, job = await ctx.find_job(params.job_id)
    if job.state.ended:
        yield Job(job=job)
        yield Result(text=f"{job.id} has ended already ({job.state.value})", data=_ended(job))
        return
    if params.mode in HARSH:
        await ctx.confirm(Plan(title=f"Stop {job.id} on {host.name}", lines=stop_lines(job, params.mode)))
    request = await host.jobs.stop(job.id, params.mode, ctx.by)
    if request.by != ctx.by:
        yield Progress(text=f"{request.by} asked first ({request.mode})")
    yield Progress(text=f"Asked {job.id} to stop. {stop_lines(job, request.mode)[0]}")
    if not params.wait:
        data = {"id": job.id, "host": host.name, "mode": request.mode, "by": request.by}
        yield Result(text=f"{job.id} is stopping ({request.mode})", data=data)
        return
    async for seen in follow_stop(host, job):
        job = seen
        yield Job(job=job)
        if not job.state.ended and job.rung:
            yield Progress(text=f"Rung: {job.rung}")
    reaped = f", {many(job.exit.reaped, 'process', 'processes')} reaped" if job.exit and job.exit.reaped else ""
    job = await _with_cause(ctx, job)
    cause = f": {_cause(job)}" if _cause(job) else ""
    yield Result(text=f"{job.id} {job.state.value}{reaped}{cause}", data=_ended(job))


def stop_lines(job: JobInfo, mode: str) -> tuple[str, ...]:
    """What stopping will do, rung by rung from `mode` on."""
    save = (
        "It saves a checkpoint and ends." if job.spec.stop_file else "It goes on until its next checkpoint, then ends."
    )
    trains = job.spec.kind == "train"
    rungs = {
        "checkpoint": save if trains else "It saves no checkpoints: it is interrupted at once.",
        "interrupt": "Interrupt (SIGINT)"
        + (". Steps since the last checkpoint are lost." if trains else ", as by Ctrl-C."),
        "terminate": "Terminate (SIGTERM).",
        "kill": "Kill what is left of it (SIGKILL).",
    }
    names = list(rungs)
    return tuple(rungs[name] for name in names[names.index(mode) :])


async def follow_stop(host: Host, job: JobInfo) -> AsyncIterator[JobInfo]:
    """The job whenever its rung or state changed, until it has ended."""
    from contextlib import aclosing

    last = (job.rung, job.state)
    async with aclosing(host.jobs.changes(interval=0.5)) as changes:  # type: ignore[type-var]
        async for jobs in changes:
            now = next((each for each in jobs if each.id == job.id), None)
            if now is None or (now.rung, now.state) == last:
                continue
            last = (now.rung, now.state)
            yield now
            if now.state.ended:
                return


def _ended(job: JobInfo) -> dict[str, Any]:
    return {
        "id": job.id,
        "host": job.host,
        "state": job.state.value,
        "exit": msgspec.to_builtins(job.exit) if job.exit else None,
        "cause": _cause(job),
    }


def _cause(job: JobInfo) -> str | None:
    return job.diagnosis.cause if job.diagnosis else None
