"""A host of the profile: its connection, its agent, and all that can be done there.

Entering a `Host` begins to connect and never raises; it then keeps connected until it is left. What it is doing is its
`status`; what it says is `samples`.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.core import profile as profiles
from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, UsageError
from dm_isaac_g1.core.events import HostStatus
from dm_isaac_g1.core.samples import HostSample
from dm_isaac_g1.remote import forwarding, tasks, wire
from dm_isaac_g1.remote.bare import BareRuntime
from dm_isaac_g1.remote.broadcast import Broadcast
from dm_isaac_g1.remote.clean import clean_tree
from dm_isaac_g1.remote.files import Files
from dm_isaac_g1.remote.link import Link
from dm_isaac_g1.remote.sampling import Sampler
from dm_isaac_g1.remote.station import Station

if TYPE_CHECKING:
    import asyncssh

    from dm_isaac_g1.remote.connect import Secrets
    from dm_isaac_g1.remote.docker import DockerRuntime
    from dm_isaac_g1.remote.engine import Engine
    from dm_isaac_g1.remote.jobs import Jobs
    from dm_isaac_g1.remote.runtime import Runtime

#: Interpreters for the agent, tried in turn before the profile's own: the first one may be a shim that is broken.
PYTHONS = ("python3", "/usr/bin/python3")


class Host:
    """One machine. An async context manager; nothing of it outlives the block, on neither side."""

    def __init__(
        self, name: str, profile: profiles.Host, *, ssh_config: str | None = None, secrets: Secrets | None = None
    ) -> None:
        self.name = name
        self.profile = profile
        self.link = Link(name, profile.ssh, ssh_config=ssh_config, secrets=secrets)
        self.host_runtime: Runtime = BareRuntime(self.link)
        self._docker = self._containers()
        self.runtime: Runtime = self._docker or self.host_runtime
        self._sampler = Sampler(name)
        self._samples: Broadcast[HostSample] = Broadcast(8)
        self._statuses: Broadcast[HostStatus] = Broadcast()
        self._stack = contextlib.AsyncExitStack()
        paths = {name: getattr(profile.paths, name) for name in profile.paths.__struct_fields__}
        inside = self.runtime is not self.host_runtime
        self._station = Station(
            self.link,
            self.host_runtime,
            {"host": True, "paths": {} if inside else paths},
            pythons=(*PYTHONS, *(() if inside else (profile.python,))),
            sampled=self._sampled,
            changed=self._tell,
        )
        self._inside = self._station
        if inside:
            self._inside = Station(
                self.link,
                self.runtime,
                {"host": False, "paths": paths},
                pythons=(*PYTHONS, profile.python),
                sampled=self._sampled_inside,
                changed=self._tell,
            )
        self.files = Files(self._inside, self.runtime)
        self.host_files = Files(self._station, self.host_runtime)
        self.status = HostStatus(host=name, state="off", since=self.link.state.since)
        self._jobs: Jobs | None = None
        self._engines: dict[str, DockerRuntime] = {}

    async def __aenter__(self) -> Host:
        await self._stack.enter_async_context(self.link)
        if self._docker is not None:
            await self._stack.enter_async_context(self._docker)
        for station in {self._station, self._inside}:
            await self._stack.enter_async_context(tasks.running(station.run(), f"agent {self.name}"))
        await self._stack.enter_async_context(tasks.running(self._watch(), f"host {self.name}"))
        self._tell()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._stack.aclose()
        self._tell()
        self._samples.close()
        self._statuses.close()
        self._station.close()
        self._inside.close()

    @property
    def error(self) -> DmG1Error | None:
        """Why the host is away or refused, or what does not work on it while it is up."""
        return self.link.state.error or self._station.problem or self._inside.problem

    @property
    def hello(self) -> wire.Hello | None:
        """What the runtime's agent said of itself; None before the first connection."""
        return self._inside.hello

    @property
    def jobs(self) -> Jobs:
        """Jobs on this host."""
        if self._jobs is None:
            from dm_isaac_g1.remote.jobs import Jobs

            self._jobs = Jobs(self.name, self.runtime, self.ask, lambda: self.path("jobs"))
        return self._jobs

    def reach(self, port: int, address: str = "127.0.0.1") -> AbstractAsyncContextManager[str]:
        """A ZeroMQ endpoint here for address:port as the host sees it, over the SSH connection."""
        return forwarding.reach(self.link, port, address)

    async def answers(self, port: int, address: str = "127.0.0.1") -> forwarding.Answer:
        """Whether somebody listens on address:port there: refused, silent, other, or zmtp."""
        return await forwarding.answers(self.link, port, address)

    def engine(self, socket: str | None = None) -> Engine:
        """The Docker engine of this host; `socket`: where it listens there, if not where the profile's runtime says."""
        from dm_isaac_g1.remote.engine import Engine

        known = self.profile.runtime.docker if isinstance(self.profile.runtime, profiles.DockerRuntime) else None
        spec = known or profiles.Docker(container="", socket=socket or profiles.Serve().socket)
        if socket is not None and socket != spec.socket:
            spec = msgspec.structs.replace(spec, socket=socket)
        if self._docker is not None and spec == known:
            return Engine(self._docker)
        if spec.socket not in self._engines:
            self._engines[spec.socket] = self._speaks(spec)
            self._stack.push_async_callback(self._engines[spec.socket].close)
        return Engine(self._engines[spec.socket])

    def inside(self, container: str, socket: str | None = None) -> DockerRuntime:
        """Commands in another container of this host: enter it."""
        return self._speaks(profiles.Docker(container=container, socket=socket or profiles.Serve().socket))

    def _containers(self) -> DockerRuntime | None:
        """The container that commands run in, where the profile says one."""
        if not isinstance(self.profile.runtime, profiles.DockerRuntime):
            return None
        return self._speaks(self.profile.runtime.docker)

    def _speaks(self, spec: profiles.Docker) -> DockerRuntime:
        from dm_isaac_g1.remote.docker import DockerRuntime

        async def connection() -> asyncssh.SSHClientConnection:
            return (self.link.connection or await self.link.up()).ssh

        async def preflight() -> Mapping[str, Any]:
            found = await self.ask_host("docker_socket", path=spec.socket)
            return found if isinstance(found, dict) else {}

        return DockerRuntime(self.name, spec, connection, preflight)

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until the host is up. Raises HostUnreachable, HostUntrusted, AuthFailed, ConfigError.

        A host that was never up fails with the first attempt that fails; one that was, within `timeout`.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                async for status in self.statuses():
                    if status.state == "up":
                        return
                    if status.state in ("refused", "off") or (status.state == "away" and self.hello is None):
                        raise self.link.error()
        except TimeoutError:  # the context's own comes as it is left
            if not limit.expired():
                raise
        raise self.error or HostUnreachable("did not come up in time", where=self.name)

    def statuses(self) -> AsyncIterator[HostStatus]:
        """The status now, then each change; ends when the host is closed."""
        return self._statuses.listen(self.status)

    def samples(self) -> AsyncIterator[HostSample]:
        """About one a second while the host is up; goes on after a reconnect, ends when the host is closed.

        Begins with the last one, if the host is up.
        """
        known = self._sampler.last if self.link.state.state == "up" else None
        return self._samples.listen(*([known] if known is not None else []))

    async def ask(self, op: str, **args: Any) -> Any:
        """A question to the agent where commands run; its JSON, cleaned. Raises RemoteFailed, HostUnreachable."""
        agent = await self._inside.get()
        return clean_tree(msgspec.json.decode(await agent.ask(op, **args)))

    async def ask_host(self, op: str, **args: Any) -> Any:
        """The same of the host itself, outside any container."""
        agent = await self._station.get()
        return clean_tree(msgspec.json.decode(await agent.ask(op, **args)))

    def path(self, which: str) -> str:
        """A path of the profile, absolute, where commands run.

        Raises UsageError for a name that is none, HostUnreachable before the first connection, unless it needs no `~`.
        """
        if which not in self.profile.paths.__struct_fields__:
            raise UsageError(f"no path {which!r} in a profile")
        if self.hello is not None:
            return self.hello.paths[which]
        path = posixpath.join(self.profile.paths.workspace, getattr(self.profile.paths, which))
        if not path.startswith("/"):
            raise self.link.error()
        return posixpath.normpath(path)

    def retry(self) -> None:
        """Connect again now: after a refusal was mended, or instead of waiting for the next attempt."""
        self.link.retry()
        self._tell()

    def _sampled(self, said: wire.Sampled) -> None:
        self._samples.send(self._sampler.take(said))

    def _sampled_inside(self, said: wire.Sampled) -> None:
        if said.disks is not None:
            self._sampler.take_disks(said.disks)

    async def _watch(self) -> None:
        async for _ in self.link.states():
            self._tell()
            self._station.wake()
            self._inside.wake()

    def _tell(self) -> None:
        """Work out the status, and tell whoever listens if it changed."""
        state, problem = self.link.state.state, self.link.state.error
        if state == "up":
            problem = self._station.problem or self._inside.problem
            if problem is None and (self._station.agent is None or self._inside.agent is None):
                # Logged in, and the agent is starting: a moment, in which nothing can be asked yet.
                if self.status.state == "up":
                    return
                state = "connecting"
        line = problem.line() if problem is not None else None
        if (state, line) == (self.status.state, self.status.problem):
            return
        since = self.status.since if state == self.status.state else self.link.state.since
        self.status = HostStatus(host=self.name, state=state, since=since, problem=line)
        self._statuses.send(self.status)


def open_host(
    name: str, profile: profiles.Host, *, ssh_config: str | None = None, secrets: Secrets | None = None
) -> Host:
    """A host, not connected yet: enter it. `ssh_config`: instead of ~/.ssh/config."""
    return Host(name, profile, ssh_config=ssh_config, secrets=secrets)
