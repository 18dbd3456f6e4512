"""Before a fine-tune starts: are the datasets there, is the output folder fit for it, will every save fit?"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.core.forecasts import Forecast, Verdict
from dm_isaac_g1.core.runs import Checkpoint, JobInfo, JobSpec
from dm_isaac_g1.core.units import duration, size
from dm_isaac_g1.finetuning.trainers import dataset_paths

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.actions.train import StartParams
    from dm_isaac_g1.core.recipe import Recipe
    from dm_isaac_g1.remote.host import Host

#: What a LeRobot dataset's folder must hold (v2.1).
DATASET_FILE = "meta/info.json"
#: Bytes of it that are read; real ones are a few KB.
INFO_MAX = 1 << 20


@dataclass(slots=True)
class Findings:
    """What was found, as lines for people. `quarantine`: checkpoints to set aside before the start."""

    lines: list[str] = field(default_factory=list)
    quarantine: list[Checkpoint] = field(default_factory=list)
    forced: str | None = None
    forecast: Forecast | None = None


async def check(ctx: Context, host: Host, spec: JobSpec, params: StartParams) -> Findings:
    """Raises RefusedError: it would end badly, and neither `force` nor what else it names was said."""
    findings = Findings()
    await output(ctx, host, spec, params, findings)
    await disk(ctx, host, spec, params, findings)
    return findings


async def datasets(host: Host, recipe: Recipe) -> dict[str, Any] | None:
    """Each dataset of the recipe is there; what the first one's info.json says. Raises UsageError."""
    root = host.path("datasets")
    for name, path in zip(recipe.datasets, dataset_paths(recipe, host.path), strict=True):
        if await host.files.stat(f"{path}/{DATASET_FILE}") is not None:
            continue
        if await host.files.stat(path) is not None:
            raise UsageError(f"{path} is no dataset: it has no {DATASET_FILE}", where=host.name)
        raise UsageError(f"no dataset {name!r}", where=host.name, fix=await _datasets_there(host, root))
    for path in dataset_paths(recipe, host.path)[:1]:
        chunk = await host.files.read(f"{path}/{DATASET_FILE}", 0, INFO_MAX)
        try:
            return msgspec.json.decode(chunk.data, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise UsageError(f"{path}/{DATASET_FILE} is no JSON object: {error}", where=host.name) from None
    return None


async def _datasets_there(host: Host, root: str) -> str:
    if await host.files.stat(root) is None:
        return f"the folder {root} is not there"
    names = [entry.name for entry in await host.files.list(root) if entry.kind == "dir"]
    return f"in {root}: {', '.join(names[:10])}" if names else f"{root} is empty"


async def output(ctx: Context, host: Host, spec: JobSpec, params: StartParams, findings: Findings) -> None:
    """The output folder is new, or the user knows that it is not. Raises RefusedError."""
    if spec.output_dir is None:
        return
    for job in await host.jobs.list():
        if not job.state.ended and (job.spec.output_dir or "").rstrip("/") == spec.output_dir.rstrip("/"):
            raise RefusedError(f"{job.id} is writing to {spec.output_dir}", where=host.name, fix="stop it first")
    there = await _checkpoints(host, spec.output_dir)
    broken = [each for each in there if not each.complete]
    complete = [each.step for each in there if each.complete and not each.best]
    if broken and not params.quarantine:
        names = ", ".join(each.name for each in broken)
        raise RefusedError(
            f"{spec.output_dir} holds incomplete checkpoints ({names}); the trainer would go on from one and fail",
            where=host.name,
            fix=f"{ctx.option('quarantine')} sets them aside",
        )
    if broken:
        findings.quarantine = broken
        findings.lines.append(f"Will set aside {', '.join(each.name for each in broken)}")
    if not complete:
        return
    last, most = max(complete), spec.save.max_steps if spec.save else None
    if most is not None and last >= most:
        raise RefusedError(
            f"{spec.output_dir} holds a finished run (step {last} of {most})",
            where=host.name,
            fix=f"{ctx.option('steps')} above {last} goes on with it; another {ctx.option('output')} begins anew",
        )
    if not params.resume:
        raise RefusedError(
            f"{spec.output_dir} is in use: the training would RESUME from step {last}",
            where=host.name,
            fix=f"{ctx.option('resume')} if that is meant, another {ctx.option('output')} if not",
        )
    findings.lines.append(f"Will RESUME from step {last}")


async def _checkpoints(host: Host, folder: str) -> list[Checkpoint]:
    """The checkpoints that a trainer would look at."""
    if await host.files.stat(folder) is None:
        return []
    return [each for each in await host.files.checkpoints(folder) if each.name.startswith("checkpoint-")]


async def disk(ctx: Context, host: Host, spec: JobSpec, params: StartParams, findings: Findings) -> None:
    """Every save fits, with those of the runs that are there already. Raises RefusedError."""
    if spec.save is None or spec.output_dir is None:
        return
    from dm_isaac_g1.fleet import guarding

    background = ctx.hosts.background.get(host.name)
    found = await guarding.forecast_planned(host, spec, ctx.profile.defaults.thresholds, background)
    findings.forecast = found
    if found is None:
        return
    if found.verdict is Verdict.FAIL:
        if not params.force:
            raise refusal(found, spec, ctx.option("force"))
        findings.forced = found.reason
        findings.lines.append(f"The disk guard says FAIL, and {ctx.option('force')} was said: {found.reason}")
    elif found.verdict is not Verdict.FIT:
        findings.lines.append(f"The disk guard says {found.verdict.value}: {found.reason}")


async def disk_again(ctx: Context, host: Host, job: JobInfo) -> None:
    """Stop a job that was just started where others, launched at the same moment, began first and leave no room.

    Raises RefusedError.
    """
    from dm_isaac_g1.fleet import guarding

    background = ctx.hosts.background.get(host.name)
    try:
        found = await guarding.forecast_started(host, job, ctx.profile.defaults.thresholds, background)
    except (HostUnreachable, RemoteFailed):  # it runs; the guard's alerts go on watching it
        return
    if found is None or found.verdict is not Verdict.FAIL:
        return
    with suppress(RefusedError):  # it has ended by itself
        await host.jobs.stop(job.id, "terminate", ctx.by)
    raise refusal(found, job.spec, ctx.option("force"))


def refusal(found: Forecast, spec: JobSpec, force: str) -> DmG1Error:
    """Why the guard refuses: the save that fails, when, how many bytes are missing, and what would help."""
    failing = found.failing
    if failing is None:
        what = f"{found.mount} has no room: {found.reason}"
    else:
        kind = "the final model" if failing.kind == "final" else f"the save at step {failing.step}"
        whose = "" if failing.run == spec.id else f" of {failing.run}"
        when = f", in {duration(failing.eta)}" if failing.eta else ""
        word = "may" if found.coincidence else "will"
        what = f"{kind}{whose} {word} fail on {found.mount}{when}: {size(found.missing)} missing"
    helps = [f"{each.title} ({size(each.bytes)})" for each in found.remedies[:3]]
    return RefusedError(what, where=found.host, fix="; ".join([*helps, f"{force} starts it all the same"]))


async def set_aside(host: Host, spec: JobSpec, findings: Findings) -> None:
    """Rename incomplete checkpoints in the output folder, so that no trainer goes on from them."""
    from dm_isaac_g1.actions.allowed import roots
    from dm_isaac_g1.finetuning.checkpoints import QUARANTINE
    from dm_isaac_g1.remote import hands

    for each in findings.quarantine:
        await hands.do(
            host.runtime,
            "rename",
            {"path": each.path, "to": QUARANTINE + each.name, "roots": roots(host, each.path, spec.output_dir)},
            python=host.profile.python,
        )
