"""Output folders on a host, the checkpoints in them, and which of those may go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.runs import Checkpoint, JobInfo

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """An output folder with checkpoints. `job` is the id of the job that wrote there last, where one is known."""

    path: str
    name: str
    job: str | None
    running: bool
    checkpoints: tuple[Checkpoint, ...]


async def all_folders(host: Host, jobs: Iterable[JobInfo]) -> list[Folder]:
    """The output folders of all jobs, and whatever else lies in the host's checkpoints; only those that hold any."""
    by_path: dict[str, JobInfo] = {}
    busy: set[str] = set()
    for job in sorted(jobs, key=lambda each: each.spec.created):
        if job.spec.output_dir:
            path = job.spec.output_dir.rstrip("/")
            by_path[path] = job
            if not job.state.ended:
                busy.add(path)
    paths = dict.fromkeys(by_path)
    root = host.path("checkpoints")
    if await host.files.stat(root) is not None:
        entries = await host.files.list(root)
        paths |= dict.fromkeys(f"{root}/{each.name}" for each in entries if each.kind == "dir")
    found = []
    for path in paths:
        last = by_path.get(path)
        folder = await one_folder(host, path, last.id if last else None, running=path in busy)
        if folder.checkpoints:
            found.append(folder)
    return found


async def one_folder(host: Host, path: str, job: str | None, *, running: bool) -> Folder:
    """One output folder; without checkpoints where it is not there."""
    path = path.rstrip("/")
    there = await host.files.stat(path) is not None
    ended = job is not None and not running
    checkpoints = tuple(await host.files.checkpoints(path, ended=ended)) if there else ()
    return Folder(path=path, name=path.rsplit("/", 1)[-1], job=job, running=running, checkpoints=checkpoints)


def superfluous(folder: Folder, keep: int, *, incomplete_only: bool = False) -> list[Checkpoint]:
    """The checkpoints of a folder that may go. Never: the newest `keep` complete ones, the best, one being written."""
    ordered = sorted(folder.checkpoints, key=lambda each: (each.step, each.mtime), reverse=True)
    kept = {each.path for each in [each for each in ordered if each.complete and not each.best][:keep]}
    doomed = []
    for index, each in enumerate(ordered):
        # Of a job of ours that has ended nothing is written any more, however young its files are.
        in_work = folder.job is None and each.writing and not each.complete
        in_work = in_work or (folder.running and (each.writing or (index == 0 and not each.complete)))
        if in_work or each.best or each.path in kept or (each.complete and incomplete_only):
            continue
        doomed.append(each)
    return doomed
