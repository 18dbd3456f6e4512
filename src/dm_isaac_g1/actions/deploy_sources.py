"""Which model is meant: a checkpoint of a run, a folder on a host or on this machine, or a repository of the Hub."""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core import paths
from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.core.events import Event
from dm_isaac_g1.deploy.record import Source
from dm_isaac_g1.fleet.folders import all_folders
from dm_isaac_g1.fleet.hosts import LAST, SUFFIX, TIME, short
from dm_isaac_g1.inference import models

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.runs import Checkpoint
    from dm_isaac_g1.data.work import Work
    from dm_isaac_g1.deploy.hub import Snapshot
    from dm_isaac_g1.fleet.folders import Folder
    from dm_isaac_g1.inference.models import ModelFacts
    from dm_isaac_g1.remote.host import Host

_PLACED = re.compile(r"(?P<host>[A-Za-z0-9_.-]+):(?P<path>.+)", re.DOTALL)
_JOB = re.compile(rf"\d{{8}}T\d{{6}}-(?P<rest>.+-[0-9a-f]{{{SUFFIX}}})")


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A model and where it lies; `host` None: this machine. `name`: what its release is to be called."""

    host: Host | None
    source: Source
    facts: ModelFacts
    name: str


async def named(ctx: Context, text: str, from_host: str | None) -> Chosen:
    """The model that the user's words mean. Raises UsageError, and what the host's connection raises."""
    placed = _PLACED.fullmatch(text)
    if placed and placed["host"] in ctx.hosts.names:
        if from_host not in (None, placed["host"]):
            raise UsageError(f"{text} lies on {placed['host']}, and {ctx.option('from')} says {from_host}")
        host = await ctx.host(placed["host"])
        return await _at(host, _absolute(host, placed["path"]))
    if from_host is None and _local(text):
        return here(paths.expanded(text))
    if placed and "/" in placed["path"]:
        ctx.hosts.check(placed["host"])  # a host that the profile does not have: say so
    host = await ctx.host(ctx.name_for(from_host, "train"))
    if text.startswith(("/", "~")):
        return await _at(host, _absolute(host, text))
    return await _of_a_run(ctx, host, text)


def here(folder: Path, *, name: str | None = None, said: str | None = None) -> Chosen:
    """A folder of this machine. Raises UsageError."""
    import socket

    folder = folder.absolute()
    facts = models.read_local(folder)
    source = Source(
        host=None,
        folder=str(folder),
        files=facts.deploy_files,
        said=said or str(folder),
        machine=socket.gethostname(),
    )
    return Chosen(host=None, source=source, facts=facts, name=name or called(str(folder)))


class FromHub:
    """A model of the Hub: iterate over `events` to their end, then take `chosen`."""

    def __init__(self, ctx: Context, text: str) -> None:
        from dm_isaac_g1.deploy import hub

        self._ctx = ctx
        self._wanted = hub.parse(text)
        self._found: list[Chosen] = []

    @property
    def chosen(self) -> Chosen:
        return self._found[0]

    async def events(self) -> AsyncIterator[Event]:
        """How the download goes, as steps of the plan. Raises as `hub.snapshot`."""
        from dm_isaac_g1.actions.working import Working, need
        from dm_isaac_g1.core.events import Progress
        from dm_isaac_g1.deploy import hub

        need("huggingface_hub")
        secret = self._ctx.config.secret("HF_TOKEN") if self._ctx.config else None

        def bring(work: Work) -> Snapshot:
            return hub.snapshot(self._wanted, work, token=secret.reveal() if secret else None)

        work = Working(bring)
        async with aclosing(work.events()) as events:  # type: ignore[type-var]
            async for event in events:
                yield msgspec.structs.replace(event, step="plan") if isinstance(event, Progress) else event
        found = work.result
        self._found.append(here(found.folder, name=found.name, said=found.said))


def called(path: str) -> str:
    """A name for people: pick-apple-checkpoint-300 for that checkpoint of that run; a job's time is left out."""
    folder, name = posixpath.split(path.rstrip("/"))
    run = posixpath.basename(folder)
    if not re.fullmatch(r"checkpoint-\d+.*", name) or not run:
        return name or "model"
    job = _JOB.fullmatch(run)
    return f"{job['rest'] if job else run}-{name}"


async def _at(host: Host, path: str) -> Chosen:
    facts = await models.read_on_host(host.files, path)
    source = Source(host=host.name, folder=path, files=facts.deploy_files, said=f"{host.name}:{path}")
    return Chosen(host=host, source=source, facts=facts, name=called(path))


def _absolute(host: Host, text: str) -> str:
    """A path as the host's commands see it; relative: to its checkpoints."""
    if text == "~" or text.startswith("~/"):
        if host.hello is None:
            raise UsageError(f"{text}: where is that on {host.name}?", fix="write the whole path")
        text = posixpath.join(host.hello.home, text[2:])
    return posixpath.normpath(posixpath.join(host.path("checkpoints"), text))


def _local(text: str) -> bool:
    return text.startswith(("./", "../")) or text in (".", "..") or paths.expanded(text).is_dir()


async def _of_a_run(ctx: Context, host: Host, text: str) -> Chosen:
    """RUN/checkpoint-300, RUN (its newest), checkpoint-300 (of the newest run that has it), or `last`."""
    folders = [each for each in await all_folders(host, await host.jobs.list()) if each.checkpoints]
    folders.sort(key=lambda each: max(one.mtime for one in each.checkpoints), reverse=True)
    if not folders:
        raise UsageError(f"no checkpoint on {host.name}", fix="`dm-g1 checkpoints list` shows what there is")
    run, _, name = text.rpartition("/") if "/" in text else ("", "", text)
    if not run and any(_is(folder, name) for folder in folders):
        run, name = name, LAST
    within = [folder for folder in folders if _is(folder, run)] if run else folders
    if not within:
        raise UsageError(f"no run {run!r} on {host.name}", fix=_like(run, [each.name for each in folders]))
    if name == LAST:
        return await _newest(host, within[:1])
    for folder in within:
        for each in folder.checkpoints:
            if each.name == name:
                return await _at(host, each.path)
    there = [each.name for each in within[0].checkpoints]
    raise UsageError(f"no checkpoint {text!r} on {host.name}", fix=_like(name, there))


def _is(folder: Folder, run: str) -> bool:
    job = folder.job or folder.name
    near = len(run) in (SUFFIX, *range(TIME, len(job))) and short(run, job)
    return run in (folder.name, folder.job) or near


async def _newest(host: Host, folders: list[Folder]) -> Chosen:
    """The newest checkpoint that can be served. Raises RefusedError where none can."""
    why = ""
    for folder in folders:
        for each in sorted(folder.checkpoints, key=_age, reverse=True):
            found = await _at(host, each.path)
            if found.facts.complete:
                return found
            why = why or f"{each.name}: {'; '.join(found.facts.problems)}"
    raise RefusedError(f"no checkpoint of {folders[0].name} can be served: {why}", where=host.name)


def _age(checkpoint: Checkpoint) -> tuple[int, float]:
    return checkpoint.step, checkpoint.mtime


def _like(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known[:6])}"
