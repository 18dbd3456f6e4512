"""One host by hand: run a command there, look at its GPU, bring its copy of this package up to date."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.actions.train import HostName
from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable
from dm_isaac_g1.core.events import Event, Log, Progress, Result, Sample
from dm_isaac_g1.core.units import many
from dm_isaac_g1.remote import reaping

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.samples import HostSample
    from dm_isaac_g1.remote.host import Host
    from dm_isaac_g1.remote.runtime import Spawned

#: A variable in the environment of a command and of all that it starts, by which they are found and ended.
MARK = "DM_G1_RUN"
#: Seconds that ending them may take; a link that is gone must not hold up whoever leaves.
REAP_TIMEOUT = 4.0
#: Seconds without output after which a command that has ended while it was fed has said all.
DRAINED = 0.6
#: Seconds between two looks at a command's stderr, which the runtime gathers rather than streams.
STDERR_EVERY = 0.2

Stream = Literal["stdout", "stderr"]


class ExecParams(Params, frozen=True, kw_only=True):
    command: Annotated[str, Meta(description="A shell command line, run as you wrote it.", extra={"positional": True})]
    host: HostName = None
    outside: Annotated[bool, Meta(description="On the host itself, not in its container.")] = False


@action("remote.exec", title="Run a command on a host", params=ExecParams)
async def execute(ctx: Context, params: ExecParams) -> AsyncIterator[Event]:
    """Run a command on a host (in its container where it has one), streaming what it writes.

    Its exit code becomes this program's.
    """
    from dm_isaac_g1.remote.clean import clean

    host = await ctx.host(which(ctx, params.host))
    code = 0
    news = run(host, params.command, outside=params.outside, stdin=ctx.stdin)
    async with aclosing(news) as pieces:  # type: ignore[type-var]
        async for stream, data in pieces:
            if isinstance(data, int):
                code = data
                continue
            lines = [clean(line) for line in data.decode(errors="replace").split("\n")]
            if not lines[-1]:
                lines.pop()
            if lines:
                yield Log(host=host.name, source=stream, lines=tuple(lines))
    yield Result(text=f"exit {code}", data={"exit": code, "host": host.name}, code=code)


def which(ctx: Context, name: str | None) -> str:
    """The host named; the only one; or the one that trains."""
    if name is not None:
        return ctx.hosts.check(name)
    names = ctx.hosts.names
    return names[0] if len(names) == 1 else ctx.name_for(None, "train")


async def run(
    host: Host, command: str, *, outside: bool = False, stdin: AsyncIterator[bytes] | None = None
) -> AsyncIterator[tuple[Stream, bytes | int]]:
    """The user's own shell line on the host: pieces of its output as they come, then ("stdout", exit code).

    The line is one argument of `sh -c`: what the user wrote is what runs. It is fed `stdin`, or nothing. Whoever
    leaves before its end ends it, and all that it has started. Raises HostUnreachable when the link is lost first.
    """
    runtime = host.host_runtime if outside else host.runtime
    argv = ["sh", "-c", command]
    mark = secrets.token_hex(8)
    spawned = await runtime.spawn(argv if outside else runtime.command(argv), env={MARK: mark})
    pieces: asyncio.Queue[tuple[Stream, bytes] | None] = asyncio.Queue(64)

    async def out() -> None:
        while data := await spawned.read():
            await pieces.put(("stdout", data))
        await pieces.put(None)

    async def feed() -> None:
        with suppress(DmG1Error, OSError):  # a command need not read to the end
            if stdin is not None:
                async for data in stdin:
                    await spawned.write(data)
            await spawned.write_eof()

    feeding = asyncio.create_task(feed())
    tasks = [feeding, asyncio.create_task(out())]
    ending = asyncio.create_task(spawned.wait()) if stdin is not None else None
    quiet = 0.0
    ended = False
    try:
        errors, seen = b"", b""
        while True:
            try:
                async with asyncio.timeout(STDERR_EVERY):
                    piece = await pieces.get()
            except TimeoutError:
                piece = ("stdout", b"")
            # Docker never ends the output of a command that ended before it took all of its input.
            stuck = ending is not None and ending.done() and not feeding.done()
            quiet = quiet + STDERR_EVERY if stuck and piece == ("stdout", b"") else 0.0
            errors, seen = await _news(spawned, seen)
            if errors:
                yield "stderr", errors
            if piece is None or quiet >= DRAINED:
                break
            if piece[1]:
                yield piece
        code = await (ending or spawned.wait())
        ended = code is not None
        errors, seen = await _news(spawned, seen)
        if errors:
            yield "stderr", errors
        if code is None:
            raise HostUnreachable("the connection was lost before the command ended", where=host.name)
        yield "stdout", code if code >= 0 else 128 - code
    finally:
        for task in [*tasks, *([ending] if ending is not None else ())]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await spawned.close()
        if not ended:
            with suppress(DmG1Error, OSError):
                await runtime.run(
                    [host.profile.python, "-I", "-S", "-c", reaping.PROGRAM, f"{MARK}={mark}"], timeout=REAP_TIMEOUT
                )


async def _news(spawned: Spawned, seen: bytes) -> tuple[bytes, bytes]:
    """What stderr says beyond `seen`; the runtime keeps its last 64 KiB only."""
    now = await spawned.errors()
    if now.startswith(seen):
        return now[len(seen) :], now
    overlap = now.find(seen[-1024:])
    return (now if overlap < 0 else now[overlap + len(seen[-1024:]) :]), now


class GpuParams(Params, frozen=True, kw_only=True):
    host: HostName = None


@action("remote.gpu", title="Look at a host's GPU", params=GpuParams)
async def gpu(ctx: Context, params: GpuParams) -> AsyncIterator[Event]:
    """Show a host's GPUs, its memory, and the processes that hold GPU memory."""
    from dm_isaac_g1.actions.hosts import full_sample

    host = await ctx.host(which(ctx, params.host))
    sample = await full_sample(host)
    yield Sample(sample=sample)
    note = sample.gpu_note or _figures(sample)
    data: dict[str, Any] = {
        "host": host.name,
        "gpus": msgspec.to_builtins(sample.gpus),
        "processes": msgspec.to_builtins(sample.processes),
        "simulated": sample.simulated,
    }
    yield Result(text=f"{host.name}: {note}", data=data)


def _figures(sample: HostSample) -> str:
    held = many(len(sample.processes), "process", "processes")
    return f"{many(len(sample.gpus), 'GPU')}, {held} on {'it' if len(sample.gpus) == 1 else 'them'}"


class SyncParams(Params, frozen=True, kw_only=True):
    host: HostName = None
    checkout: Annotated[
        str | None, Meta(description="The package's git checkout there; found through its python otherwise.")
    ] = None
    dry_run: Annotated[bool, Meta(description="Only say what would change.")] = False


@action("remote.sync", title="Bring a host's dm-g1 up to date", params=SyncParams)
async def sync(ctx: Context, params: SyncParams) -> AsyncIterator[Event]:
    """Bring the host's (and its container's) copy of this package up to date, and say what changed.

    A git checkout is pulled (fast-forward only); anything else gets this package's wheel.
    """
    from dm_isaac_g1.actions import syncing

    host = await ctx.host(which(ctx, params.host))
    changed: list[dict[str, Any]] = []
    for runtime, place, python, main in syncing.places(host):
        yield Progress(text=f"Looking at dm-g1 on {place}")
        found = await syncing.look(runtime, place, python, main, params.checkout if main else None)
        yield Progress(text=found.line())
        if not params.dry_run:
            found = await syncing.update(runtime, found, host.path("workspace") if main else "/tmp")  # noqa: S108
            yield Progress(text=found.line())
        changed.append(found.data())
    news = [each["place"] for each in changed if each["changed"]]
    yield Result(
        text=f"changed: {', '.join(news)}" if news else "nothing changed", data={"host": host.name, "places": changed}
    )
