"""One host by hand: run a command there, look at its GPU, bring its copy of this package up to date."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.attending import Piece, attend
from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.actions.train import HostName
from dm_isaac_g1.core.events import Event, Log, Progress, Result, Sample
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.samples import HostSample
    from dm_isaac_g1.remote.host import Host


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


def run(
    host: Host, command: str, *, outside: bool = False, stdin: AsyncIterator[bytes] | None = None
) -> AsyncIterator[Piece]:
    """The user's own shell line on the host: pieces of its output as they come, then ("stdout", exit code).

    The line is one argument of `sh -c`: what the user wrote is what runs. See `attending.attend`.
    """
    runtime = host.host_runtime if outside else host.runtime
    argv = ["sh", "-c", command]
    return attend(host, runtime, argv if outside else runtime.command(argv), stdin=stdin)


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
