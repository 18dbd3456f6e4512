"""A policy server by hand: here, on a host for as long as somebody watches, or there as a job.

For a robot that is at work there is `deploy`, which checks a model before anything is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions import infer_process
from dm_isaac_g1.actions.data import SET, folder
from dm_isaac_g1.actions.infer import PORT, Port, seen_at
from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import HostUnreachable, RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.core.events import Event, Job, Progress, Result
from dm_isaac_g1.core.profile import Host as HostProfile
from dm_isaac_g1.core.runs import JobState

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.runs import JobInfo, JobSpec
    from dm_isaac_g1.inference.models import ModelFacts
    from dm_isaac_g1.inference.serving import ServerCommand
    from dm_isaac_g1.remote.host import Host

#: Where a relative path to a model is looked for on a host, in this order.
BASES = ("checkpoints", "models", "workspace")
#: Seconds between two looks at a job that loads a model.
LOOK_EVERY = 0.5


class ServeParams(Params, frozen=True, kw_only=True):
    model: Annotated[
        str | None,
        Meta(
            description="The model's folder: a checkpoint, or one with policy.json beside a TorchScript or ONNX file. "
            "On a host: absolute, or under its checkpoints or models.",
            extra={"names": "model"},
        ),
    ] = None
    replay: Annotated[
        str | None,
        Meta(
            description="Instead of a model: answer what this dataset has recorded, to try a robot's code.", extra=SET
        ),
    ] = None
    proxy: Annotated[
        str | None,
        Meta(
            description="Instead of a model: stand in front of the server at tcp://HOST:PORT, for a token, pings that "
            "never wait, figures, and no kill."
        ),
    ] = None
    on: Annotated[
        str | None, Meta(description="Serve it on this host, where the model lies.", extra={"names": "host"})
    ] = None
    detach: Annotated[
        bool, Meta(description="With --on: as a job that outlives this program; `dm-g1 train stop` ends it.")
    ] = False
    port: Annotated[Port | None, Meta(description="The port; the profile's for that host, or 5555.")] = None
    bind: Annotated[
        str | None,
        Meta(description="The address it listens on: the profile's, or 127.0.0.1, which is that machine alone."),
    ] = None
    embodiment: Annotated[str | None, Meta(description="GR00T's embodiment tag, where the model knows several.")] = None
    token_file: Annotated[
        str | None, Meta(description="A file where it runs with the API token that clients must send (ours only).")
    ] = None
    groot: Annotated[
        str | None, Meta(description="GR00T's checkout, for its checkpoints; on a host the profile says it.")
    ] = None
    python: Annotated[
        str | None,
        Meta(description="The Python that runs the server: GR00T's for its checkpoints; else the profile's."),
    ] = None
    wait: Annotated[
        float, Meta(description="With --detach: seconds to wait until it serves; 0: not at all.", ge=0, le=3600)
    ] = 30.0


@action("infer.serve", title="Serve a model", params=ServeParams, needs_profile="if-any")
async def serve(ctx: Context, params: ServeParams) -> AsyncIterator[Event]:
    """Serve a model in GR00T's policy protocol: GR00T checkpoints by GR00T's own server, all others by ours.

    Nobody else's server is replaced: a port that is taken is refused. What a robot works with is put into service
    by `dm-g1 deploy`.
    """
    chosen = [name for name in ("model", "replay", "proxy") if getattr(params, name) is not None]
    if len(chosen) != 1:
        said = " and ".join(map(ctx.option, chosen)) + " together" if chosen else "nothing to serve"
        raise UsageError(said, fix=f"say one of {', '.join(map(ctx.option, ('model', 'replay', 'proxy')))}")
    if params.detach and params.on is None:
        raise UsageError("a job runs on a host", fix=f"say {ctx.option('on')} HOST, too")
    go = _here(params) if params.on is None else _there(ctx, params)
    async with aclosing(go) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


# --- Which command ----------------------------------------------------------------------------------------------------


def _of_model(
    params: ServeParams, facts: ModelFacts, path: str, profile: HostProfile, port: int, bind: str
) -> ServerCommand:
    from dm_isaac_g1.inference.serving import server_command

    return server_command(
        facts,
        path,
        profile,
        port=port,
        bind=bind,
        embodiment=params.embodiment,
        token_file=params.token_file or profile.serve.token_file,
    )


def _of_ours(
    params: ServeParams, dataset: str | None, profile: HostProfile, port: int, bind: str
) -> tuple[ServerCommand, str]:
    """Our server without a model: the replay of a dataset, or a proxy. The command, and what it is called."""
    from dm_isaac_g1.inference.serving import OUR_MODULE, READY, ServerCommand

    what = ("--dataset", dataset) if dataset is not None else ("--proxy", str(params.proxy))
    argv: tuple[str, ...] = (profile.python, "-m", OUR_MODULE, *what, "--port", str(port), "--bind", bind)
    if token_file := params.token_file or profile.serve.token_file:
        argv += ("--token-file", token_file)
    name = f"the replay of {dataset.rpartition('/')[2]}" if dataset is not None else f"the proxy of {params.proxy}"
    env = {**profile.env, "PYTHONUNBUFFERED": "1"}
    return ServerCommand(argv=argv, env=env, ready=READY, ours=True), name


# --- Here -------------------------------------------------------------------------------------------------------------


async def _here(params: ServeParams) -> AsyncIterator[Event]:
    from dm_isaac_g1.inference.models import read_local

    here = HostProfile(ssh=infer_process.HERE, python=params.python or sys.executable, groot=params.groot)
    port, bind = params.port or PORT, params.bind or "127.0.0.1"
    if params.model is not None:
        path = folder(params.model).absolute()
        facts = await asyncio.to_thread(read_local, path)
        command, name = _of_model(params, facts, str(path), here, port, bind), facts.name
    else:
        dataset = str(folder(params.replay).absolute()) if params.replay is not None else None
        command, name = _of_ours(params, dataset, here, port, bind)
    async with aclosing(infer_process.run(command, name, bind, port)) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


# --- There ------------------------------------------------------------------------------------------------------------


async def _there(ctx: Context, params: ServeParams) -> AsyncIterator[Event]:
    from dm_isaac_g1.finetuning.trainers.compose import under
    from dm_isaac_g1.inference.models import read_on_host

    where = ctx.hosts.check(str(params.on))
    yield Progress(text=f"Connecting to {where}", transient=True)
    host = await ctx.host(where)
    given = host.profile
    profile = msgspec.structs.replace(given, groot=params.groot or given.groot, python=params.python or given.python)
    port, bind = params.port or given.port, params.bind or given.serve.bind
    if params.model is not None:
        path = await model_path(host, params.model)
        yield Progress(text=f"Looking at {path}", transient=True)
        facts = await read_on_host(host.files, path)
        command, name = _of_model(params, facts, path, profile, port, bind), facts.name
    else:
        dataset = under(host.path("datasets"), params.replay, "dataset") if params.replay is not None else None
        command, name = _of_ours(params, dataset, profile, port, bind)
    await _free_there(host, port, bind)
    seen = (port, seen_at(bind))
    run = _job(ctx, params, host, command, name, seen) if params.detach else _attended(host, command, name)
    async with aclosing(run) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


async def model_path(host: Host, text: str) -> str:
    """The folder that the user means, absolute, where the host's commands see it. Raises UsageError."""
    from pathlib import PurePosixPath

    path = PurePosixPath(text)
    if not text or ".." in path.parts or text.startswith(("-", "~")) or not text.isprintable():
        fix = "write an absolute one, or a name under its folders"
        raise UsageError(f"{text!r} is no path on {host.name}", fix=fix)
    if path.is_absolute():
        return str(path)
    tried = list(dict.fromkeys(str(PurePosixPath(host.path(base)) / path) for base in BASES))
    for each in tried:
        found = await host.files.stat(each)
        if found is not None and found.kind == "dir":
            return each
    raise UsageError(f"no folder {text}", where=host.name, fix=f"it was looked for as {', '.join(tried)}")


async def _free_there(host: Host, port: int, bind: str) -> None:
    """That nobody listens on the port. Raises RefusedError, HostUnreachable."""
    if await host.answers(port, seen_at(bind)) != "refused":
        raise RefusedError(
            f"port {port} is taken",
            where=host.name,
            fix="name another with --port; `dm-g1 deploy` replaces what serves there",
        )


async def _attended(host: Host, command: ServerCommand, name: str) -> AsyncIterator[Event]:
    """For as long as somebody watches: whoever leaves ends it."""
    from dm_isaac_g1.actions.attending import attend

    code = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal code
        argv = host.runtime.command(command.argv)
        async with aclosing(
            attend(host, host.runtime, argv, env=command.env, cwd=command.cwd)  # type: ignore[type-var]
        ) as said:
            async for _, data in said:
                if isinstance(data, int):
                    code = data
                else:
                    yield data

    async with aclosing(infer_process.told(command, host.name, pieces())) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    yield infer_process.left(host.name, name, code)


async def _job(
    ctx: Context, params: ServeParams, host: Host, command: ServerCommand, name: str, seen: tuple[int, str]
) -> AsyncIterator[Event]:
    """As a job that outlives this program; seen until it serves, or ends, or `wait` is over."""
    job = await host.jobs.start(_spec(ctx, host, command, name))
    yield Job(job=job)
    logs = f"`dm-g1 train logs --job-id {job.id} --follow` shows how it goes"
    yield Progress(text=logs)
    if params.wait:
        yield Progress(text=f"{host.name} loads {name}", transient=True)
    state: str = "loading"
    until = time.monotonic() + params.wait
    while time.monotonic() < until:
        job = await host.jobs.get(job.id)
        if job.state.ended:
            yield Job(job=job)
            raise RemoteFailed(await _why(host, job), where=host.name, fix=logs)
        if await host.answers(*seen) == "zmtp":
            state = "serving"
            break
        await asyncio.sleep(LOOK_EVERY)
    data = {
        "id": job.id,
        "host": host.name,
        "port": seen[0],
        "state": state,
        "ours": command.ours,
        "argv": list(command.argv),
    }
    text = f"{host.name} serves {name} on port {seen[0]}" if state == "serving" else f"{host.name} loads {name}"
    yield Result(text=f"{text} (job {job.id})", data=data)


def _spec(ctx: Context, host: Host, command: ServerCommand, name: str) -> JobSpec:
    from dm_isaac_g1.core.runs import JobSpec
    from dm_isaac_g1.remote.jobs import new_job_id

    now = time.time()
    return JobSpec(
        id=new_job_id(f"serve-{name}", now),
        name=f"serve {name}",
        kind="command",
        argv=command.argv,
        cwd=command.cwd or host.path("workspace"),
        env=command.env,
        created=now,
        user=ctx.by,
        client="dm-g1",
    )


async def _why(host: Host, job: JobInfo) -> str:
    """How the server ended, and the last thing that it said."""
    from dm_isaac_g1.remote.clean import clean_bytes

    how = "was stopped" if job.state is JobState.STOPPED else f"ended with exit {job.exit.code if job.exit else '?'}"
    with contextlib.suppress(RemoteFailed, HostUnreachable):
        chunk = await host.files.read(f"{job.folder}/log", -4096, 4096)
        last = [line for line in chunk.data.split(b"\n") if line.strip()]
        if last:
            return f"the server {how}: {clean_bytes(last[-1])[:300]}"
    return f"the server {how}"
