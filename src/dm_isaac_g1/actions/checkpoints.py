"""Checkpoints: which there are, and cleaning up those that are no longer needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.actions.train import HostName, OneJob
from dm_isaac_g1.core.errors import RemoteFailed, UsageError
from dm_isaac_g1.core.events import Checkpoints, Event, Progress, Result
from dm_isaac_g1.core.units import many
from dm_isaac_g1.finetuning.remedies import freed
from dm_isaac_g1.fleet.folders import Folder, all_folders, one_folder, superfluous

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.runs import Checkpoint
    from dm_isaac_g1.remote.host import Host

#: Seconds that removing one checkpoint may take; tens of GB on a slow disk.
REMOVE_TIMEOUT = 300.0
#: Seconds that a file system may take to give back what was removed, and between two looks at it.
GIVEN_BACK_WITHIN, GIVEN_BACK_LOOK = 3.0, 0.2


class ListParams(Params, frozen=True, kw_only=True):
    host: HostName = None
    job_id: OneJob = None


@action("checkpoints.list", title="List checkpoints", params=ListParams)
async def list_all(ctx: Context, params: ListParams) -> AsyncIterator[Event]:
    """List the checkpoints on a host: step, size, complete or partial, age."""
    host, found = await _look(ctx, params.host, params.job_id)
    for folder in found:
        yield Checkpoints(host=host.name, run=folder.job or folder.name, checkpoints=folder.checkpoints)
    count, size = _sum(each for folder in found for each in folder.checkpoints)
    data = {"host": host.name, "count": count, "bytes": size, "folders": msgspec.to_builtins(found)}
    yield Result(text=f"{_many(count)} in {many(len(found), 'run')} on {host.name}, {_size(size)}", data=data)


class CleanParams(Params, frozen=True, kw_only=True):
    host: HostName = None
    job_id: OneJob = None
    keep: Annotated[int, Meta(description="Newest complete checkpoints kept of each run.", ge=0)] = 1
    incomplete_only: Annotated[bool, Meta(description="Only remove checkpoints that are incomplete.")] = False
    dry_run: Annotated[bool, Meta(description="Only say what would be removed.")] = False


@action("checkpoints.clean", title="Clean up checkpoints", params=CleanParams, key="c", danger=True)
async def clean(ctx: Context, params: CleanParams) -> AsyncIterator[Event]:
    """Remove checkpoints that are no longer needed: incomplete ones, and complete ones but the newest few.

    Says what it will remove, with sizes, and what is lost by it, before it does.
    """
    from dm_isaac_g1.actions.allowed import roots
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.actions.measure import would_free
    from dm_isaac_g1.remote import hands

    host, found = await _look(ctx, params.host, params.job_id)
    doomed: list[Checkpoint] = []
    lies: dict[str, str] = {}
    for folder in found:
        for each in superfluous(folder, params.keep, incomplete_only=params.incomplete_only):
            doomed.append(each)
            lies[each.path] = folder.path
    gives = await would_free(host.runtime, host.profile.python, [each.path for each in doomed])
    doomed = [each for each in doomed if each.path in gives]
    count, size = len(doomed), sum(gives.values())
    lines = tuple(f"{each.path}  {_size(gives[each.path])}  {_why(each)}" for each in doomed)
    if params.dry_run or not doomed:
        for line in lines:
            yield Progress(text=line)
        data = {
            "host": host.name,
            "would_free": size,
            "remove": [each.path for each in doomed],
            "dry_run": params.dry_run,
        }
        text = f"Would remove {_many(count)}, {_size(size)}" if doomed else "Nothing to remove"
        yield Result(text=text, data=data)
        return
    complete = sum(each.complete for each in doomed)
    await ctx.confirm(
        Plan(
            title=f"Remove {_many(count)} on {host.name}, {_size(size)}",
            lines=lines,
            loses=f"{complete} complete: a training cannot go on from them any more" if complete else "",
        )
    )
    places = sorted(set(lies.values()))
    before = await _avail(host, places)
    gone = 0
    for index, each in enumerate(doomed):
        yield Progress(text=f"Removing {each.path}", done=index, total=count, unit="checkpoints")
        answer = await hands.do(
            host.runtime,
            "remove",
            {"paths": [each.path], "roots": roots(host, each.path, lies[each.path])},
            python=host.profile.python,
            timeout=REMOVE_TIMEOUT,
        )
        gone += int(answer["freed"])
        if answer["failed"]:
            why = "; ".join(f"{path}: {reason}" for path, reason in answer["failed"].items())
            raise RemoteFailed(f"could not remove {why} (freed {_size(gone)} before)", where=host.name)
    grown = await _grown(host, places, before, gone)
    data = {"host": host.name, "said": size, "freed": gone, "avail_change": grown, "removed": [e.path for e in doomed]}
    yield Result(text=f"Removed {_many(count)}: said {_size(size)}, freed {_size(gone)}", data=data)


async def _look(ctx: Context, host_name: str | None, job_id: str | None) -> tuple[Host, list[Folder]]:
    """The host and its output folders: of one job, or of all jobs and whatever else lies under `checkpoints`."""
    if job_id is not None:
        host, job = await ctx.find_job(job_id)
        if job.spec.output_dir is None:
            raise UsageError("this job saves no checkpoints", where=job.id)
        return host, [await one_folder(host, job.spec.output_dir, job.id, running=not job.state.ended)]
    host = await ctx.host(ctx.name_for(host_name, "train"))
    return host, await all_folders(host, await host.jobs.list())


async def _avail(host: Host, folders: Iterable[str]) -> int:
    """What is free now on the file systems that these folders lie on."""
    return sum(disk.avail for disk in await host.files.disks({path: path for path in folders}))


async def _grown(host: Host, folders: Iterable[str], before: int, freed: int) -> int:
    """What is free there beyond `before`, once what was freed is; else what it is after a while.

    Some file systems give back what was removed a moment later (btrfs with its next commit, XFS and ZFS beside), and
    others write meanwhile.
    """
    until = time.monotonic() + GIVEN_BACK_WITHIN
    last = 0
    while True:
        grown = await _avail(host, folders) - before
        stands = grown > 0 and grown == last
        if grown >= freed or stands or time.monotonic() > until:
            return grown
        last = grown
        await asyncio.sleep(GIVEN_BACK_LOOK)


def _sum(checkpoints: Iterable[Checkpoint]) -> tuple[int, int]:
    listed = list(checkpoints)
    return len(listed), sum(freed(each) for each in listed)


def _why(each: Checkpoint) -> str:
    return "complete, a newer one is kept" if each.complete else "incomplete: nothing can be loaded from it"


def _many(count: int) -> str:
    return many(count, "checkpoint")


def _size(count: int) -> str:
    from dm_isaac_g1.core.units import size

    return size(count)
