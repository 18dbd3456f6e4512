"""Hosts: how each is, and accepting the key of a new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, ExitCode, HostUntrusted, RefusedError, RemoteFailed
from dm_isaac_g1.core.events import Event, HostStatus, Result, Sample
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.samples import GpuProcess, HostSample
    from dm_isaac_g1.remote.host import Host

#: Seconds to wait for a host's first sample once it is up; with a GPU, nvidia-smi needs a moment.
FIRST_SAMPLE = 8.0
#: Seconds to wait for the sample that says who holds GPU memory: the agent asks for it beside the samples.
PROCESSES = 6.0
#: Who holds GPU memory, asked at once.
_APPS = ("nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name,used_memory", "--format=csv,noheader,nounits")


class ListParams(Params, frozen=True, kw_only=True):
    wait: Annotated[float, Meta(description="Seconds to wait for each host to come up.", gt=0)] = 15.0


@action("hosts.list", title="List hosts", params=ListParams)
async def list_all(ctx: Context, params: ListParams) -> AsyncIterator[Event]:
    """List the hosts of the profile: is each up, and how are its GPU, memory and disks."""

    async def look(name: str) -> list[Event]:
        host = await ctx.hosts.open(name)
        try:
            await ctx.hosts.up(name, params.wait)
            return [host.status, Sample(sample=await first_sample(host))]
        except DmG1Error as error:
            status = host.status
            problem = status.problem or error.line()
            if status.state in ("connecting", "up"):
                status = HostStatus(host=name, state="away", since=status.since)
            return [HostStatus(host=name, state=status.state, since=status.since, problem=problem)]

    found = await asyncio.gather(*(look(name) for name in ctx.hosts.names))
    data: dict[str, Any] = {}
    for name, events in zip(ctx.hosts.names, found, strict=True):
        for event in events:
            yield event
        status = events[0]
        assert isinstance(status, HostStatus)
        data[name] = {"state": status.state, "problem": status.problem}
    states = [each["state"] for each in data.values()]
    yield Result(text=f"{states.count('up')} of {many(len(data), 'host')} up", data={"hosts": data}, code=_code(states))


def _code(states: list[str]) -> int:
    """0 where any host is up, or there is none; else why not."""
    if not states or "up" in states:
        return ExitCode.DONE
    return ExitCode.UNTRUSTED if "refused" in states else ExitCode.UNREACHABLE


async def first_sample(host: Host, timeout: float = FIRST_SAMPLE) -> HostSample:
    """The host's first sample that says something of its GPU or that it has none. Raises RemoteFailed."""
    last: HostSample | None = None
    samples = host.samples()
    try:
        async with asyncio.timeout(timeout):
            async for sample in samples:
                last = sample
                if sample.gpus or sample.gpu_note:
                    return sample
    except TimeoutError:
        pass
    finally:
        close = getattr(samples, "aclose", None)
        if close:
            await close()
    if last is None:
        raise RemoteFailed(f"sent no sample within {timeout:.0f} s", where=host.name)
    return last


async def full_sample(host: Host) -> HostSample:
    """The host's first sample that says who holds GPU memory, too. Raises RemoteFailed.

    The first ones do not say it yet. Where nvidia-smi itself names nobody there is nothing to wait for.
    """
    sample = await first_sample(host)
    if not sample.gpus or sample.processes:
        return sample
    asked = await _asked(host)
    if asked == ():
        return sample
    samples = host.samples()
    try:
        async with asyncio.timeout(PROCESSES):
            async for each in samples:
                sample = each
                if sample.processes:
                    return sample
    except TimeoutError:
        pass
    finally:
        close = getattr(samples, "aclose", None)
        if close:
            await close()
    return msgspec.structs.replace(sample, processes=asked or ())


async def _asked(host: Host) -> tuple[GpuProcess, ...] | None:
    """The processes that nvidia-smi names on the host; None where it could not be asked."""
    from dm_isaac_g1.remote import nvidia_smi

    try:
        done = await host.host_runtime.run(_APPS, timeout=PROCESSES)
    except DmG1Error:
        return None
    return nvidia_smi.processes(done.stdout.decode(errors="replace").splitlines()) if done.exit == 0 else None


class TrustParams(Params, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="The host.", extra={"positional": True, "names": "host"})]


@action("hosts.trust", title="Trust a host's key", params=TrustParams, danger=True)
async def trust(ctx: Context, params: TrustParams) -> AsyncIterator[Event]:
    """Accept the key of a host that is not known yet, after showing its fingerprint.

    A changed or revoked key is never accepted here: remove the old one from known_hosts yourself, knowingly.
    """
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.remote import hostkeys

    await _only_unknown(ctx, params.name)
    offered = await hostkeys.offered(params.name, ctx.profile.hosts[params.name], ssh_config=ctx.profile.ssh_config)
    await ctx.confirm(Plan(title=f"Trust {params.name}", lines=(offered.line(),)))
    path = hostkeys.accept(offered)
    (await ctx.hosts.open(params.name)).retry()
    yield Result(
        text=f"{params.name} is trusted: {offered.fingerprint}",
        data={"host": params.name, "fingerprint": offered.fingerprint, "known_hosts": msgspec.to_builtins(str(path))},
    )


async def _only_unknown(ctx: Context, name: str) -> None:
    """Go on only for a host whose key is unknown, by a real connection's own judgement.

    Raises HostUntrusted (changed, revoked), HostUnreachable, RefusedError (it is trusted already).
    """
    try:
        await ctx.host(name)
    except HostUntrusted as refused:
        if refused.kind == "unknown":
            return
        raise
    except AuthFailed:
        pass  # its key was good: it is we who were not let in
    raise RefusedError("its key is trusted already", where=name)
