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
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.data import folder
from dm_isaac_g1.actions.infer import PORT, Port
from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import HostUnreachable, RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.core.events import Event, Job, Log, Progress, Result
from dm_isaac_g1.core.profile import Host as HostProfile
from dm_isaac_g1.core.runs import JobState

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.runs import JobInfo, JobSpec
    from dm_isaac_g1.inference.serving import ServerCommand
    from dm_isaac_g1.remote.host import Host

#: Seconds that a server of this machine gets to answer what is under way and leave, before it is killed.
PATIENCE = 10.0
#: Where a relative path to a model is looked for on a host, in this order.
BASES = ("checkpoints", "models", "workspace")
#: Seconds between two looks at a job that loads a model.
LOOK_EVERY = 0.5
#: How log lines of this machine are marked.
HERE = "here"


class ServeParams(Params, frozen=True, kw_only=True):
    model: Annotated[
        str,
        Meta(
            description="The model's folder: a checkpoint, or one with policy.json beside a TorchScript or ONNX file. "
            "On a host: absolute, or under its checkpoints or models.",
        ),
    ]
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
    wait: Annotated[
        float, Meta(description="With --detach: seconds to wait until it serves; 0: not at all.", ge=0, le=3600)
    ] = 30.0


@action("infer.serve", title="Serve a model", params=ServeParams, needs_profile="if-any")
async def serve(ctx: Context, params: ServeParams) -> AsyncIterator[Event]:
    """Serve a model in GR00T's policy protocol: GR00T checkpoints by GR00T's own server, all others by ours.

    Nobody else's server is replaced: a port that is taken is refused. What a robot works with is put into service
    by `dm-g1 deploy`.
    """
    if params.detach and params.on is None:
        raise UsageError("a job runs on a host", fix=f"say {ctx.option('on')} HOST, too")
    go = _here(params) if params.on is None else _there(ctx, params)
    async with aclosing(go) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


# --- Here -------------------------------------------------------------------------------------------------------------


async def _here(params: ServeParams) -> AsyncIterator[Event]:
    from dm_isaac_g1.inference.models import read_local
    from dm_isaac_g1.inference.serving import server_command

    path = folder(params.model).absolute()
    facts = await asyncio.to_thread(read_local, path)
    here = HostProfile(ssh=HERE, python=sys.executable, groot=params.groot)
    port, bind = params.port or PORT, params.bind or "127.0.0.1"
    command = server_command(
        facts, str(path), here, port=port, bind=bind, embodiment=params.embodiment, token_file=params.token_file
    )
    _free(bind, port)
    process = await asyncio.create_subprocess_exec(
        *command.argv,
        cwd=command.cwd,
        env={**_environment(), **command.env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        async with aclosing(_told(command, HERE, _pieces(process.stdout))) as events:  # type: ignore[type-var]
            async for event in events:
                yield event
        code = await process.wait()
    finally:
        await _ended(process)
    yield _left(HERE, facts.name, code)


def _free(bind: str, port: int) -> None:
    """That the port can be bound. Raises RefusedError."""
    import socket

    with contextlib.closing(socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((bind, port))
        except OSError as error:
            raise RefusedError(
                f"port {port} cannot be used: {error.strerror}", where=bind, fix="name another with --port"
            ) from None


def _environment() -> dict[str, str]:
    """This process's, without the user's secrets: the server has no use for them."""
    import os

    from dm_isaac_g1.core.config import SECRET

    return {name: value for name, value in os.environ.items() if name not in SECRET}


async def _pieces(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await stream.read(65536):
        yield data


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, which answers what is under way first; kill it after PATIENCE."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


# --- There ------------------------------------------------------------------------------------------------------------


async def _there(ctx: Context, params: ServeParams) -> AsyncIterator[Event]:
    from dm_isaac_g1.inference.models import read_on_host
    from dm_isaac_g1.inference.serving import server_command

    name = ctx.hosts.check(str(params.on))
    yield Progress(text=f"Connecting to {name}", transient=True)
    host = await ctx.host(name)
    path = await model_path(host, params.model)
    yield Progress(text=f"Looking at {path}", transient=True)
    facts = await read_on_host(host.files, path)
    serve_as = host.profile.serve
    port, bind = params.port or host.profile.port, params.bind or serve_as.bind
    profile = msgspec.structs.replace(host.profile, groot=params.groot or host.profile.groot)
    command = server_command(
        facts,
        path,
        profile,
        port=port,
        bind=bind,
        embodiment=params.embodiment,
        token_file=params.token_file or serve_as.token_file,
    )
    await _free_there(host, port, bind)
    run = _job(ctx, params, host, command, facts.name, port) if params.detach else _attended(host, command, facts.name)
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
    address = "127.0.0.1" if bind in ("0.0.0.0", "127.0.0.1") else bind  # noqa: S104
    if await host.answers(port, address) != "refused":
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

    async with aclosing(_told(command, host.name, pieces())) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    yield _left(host.name, name, code)


async def _job(
    ctx: Context, params: ServeParams, host: Host, command: ServerCommand, name: str, port: int
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
        if await host.answers(port) == "zmtp":
            state = "serving"
            break
        await asyncio.sleep(LOOK_EVERY)
    data = {
        "id": job.id,
        "host": host.name,
        "port": port,
        "state": state,
        "ours": command.ours,
        "argv": list(command.argv),
    }
    text = f"{host.name} serves {name} on port {port}" if state == "serving" else f"{host.name} loads {name}"
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


# --- What a server says -----------------------------------------------------------------------------------------------


async def _told(command: ServerCommand, where: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Its output as log lines, and a word when it serves."""
    from dm_isaac_g1.finetuning.lines import LineSplitter
    from dm_isaac_g1.remote.clean import clean

    splitter = LineSplitter()
    async with aclosing(pieces) as said:  # type: ignore[type-var]
        async for data in said:
            lines = [clean(line) for line in splitter.feed(data).lines]
            if lines:
                yield Log(host=where, source="stdout", lines=tuple(lines))
            for line in lines:
                if command.ready and line.startswith(command.ready):
                    yield Progress(text=f"{where} serves on {line.rpartition(' ')[2]}; Ctrl-C ends it")


def _left(where: str, name: str, code: int) -> Result:
    data: dict[str, Any] = {"host": where, "model": name, "exit": code}
    return Result(text=f"the server of {name} ended with exit {code}", data=data, code=1 if code else 0)
