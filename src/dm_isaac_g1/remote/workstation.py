"""The workstation for scripts: run a command there, or in its container, and have its output. No asyncio needed.

    with WorkstationConnection() as workstation:
        print(workstation.execute("nvidia-smi -L").stdout)
        workstation.docker_exec("python -m pytest -q").check()

The command is the caller's own shell line: it is one argument of `bash -lc`, and quoted once on its way.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from dm_isaac_g1.core.config import load_config
from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed, UsageError
from dm_isaac_g1.core.passwords import Passwords
from dm_isaac_g1.core.profile import DockerRuntime
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.host import Host, open_host
from dm_isaac_g1.remote.runtime import Completed, Runtime

T = TypeVar("T")

#: Seconds to connect, and by default for a command.
READY = 30.0
PATIENCE = 3600.0


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended and what it wrote, as text without control sequences."""

    command: str
    exit: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.exit == 0

    def check(self) -> CommandResult:
        """Itself, or RemoteFailed with the last line of its errors."""
        if not self.ok:
            last = (self.stderr.strip() or self.stdout.strip()).rpartition("\n")[2]
            raise RemoteFailed(f"exit {self.exit}: {last[:300]}")
        return self


class WorkstationConnection:
    """One host of a profile, connected for as long as the block lasts. It blocks: not for an event loop's thread.

    `profile`: a name or path, else what `$DM_G1_PROFILE`, `.env` or the shipped example say.
    """

    def __init__(self, host: str = "workstation", *, profile: str | None = None) -> None:
        config = load_config(profile)
        if host not in config.profile.hosts:
            known = ", ".join(config.profile.hosts) or "none"
            raise UsageError(f"no host {host!r} in profile {config.profile.name}", fix=f"hosts there: {known}")
        self._host: Host | None = None
        self._name, self._config = host, config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"connection {host}", daemon=True)

    def __enter__(self) -> WorkstationConnection:
        """Raises HostUnreachable, HostUntrusted, AuthFailed, ConfigError."""
        self._thread.start()
        try:
            self._wait(self._connect())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def execute(self, command: str, *, timeout: float = PATIENCE) -> CommandResult:
        """Run a shell line on the host itself. Raises RemoteFailed after `timeout`, HostUnreachable."""
        host = self._connected()
        return self._run(host.host_runtime, ["bash", "-lc", command], command, timeout)

    def docker_exec(self, command: str, *, timeout: float = PATIENCE) -> CommandResult:
        """The same in the host's container, in its conda environment. Raises UsageError where it has none, and
        DockerUnavailable where that is not running."""
        host = self._connected()
        if not isinstance(host.profile.runtime, DockerRuntime):
            raise UsageError(
                "has no container", where=host.name, fix="give it `runtime: {docker: ...}`, or use execute"
            )
        return self._run(host.runtime, host.runtime.command(["bash", "-lc", command]), command, timeout)

    def close(self) -> None:
        """End the connection. Safe to call twice."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._wait(self._disconnect())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def _connect(self) -> None:
        profile = self._config.profile
        made = open_host(
            self._name, profile.hosts[self._name], ssh_config=profile.ssh_config, secrets=Passwords(self._config)
        )
        self._host = await made.__aenter__()
        await self._host.ready(READY)

    async def _disconnect(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            await host.__aexit__(None, None, None)

    def _connected(self) -> Host:
        if self._host is None:
            raise UsageError("not connected", fix="use it in a with block")
        return self._host

    def _run(self, runtime: Runtime, argv: list[str], command: str, timeout: float) -> CommandResult:
        done: Completed = self._wait(runtime.run(argv, timeout=timeout))
        if done.exit is None:
            raise HostUnreachable("the connection was lost before the command ended", where=runtime.where)
        return CommandResult(command=command, exit=done.exit, stdout=_text(done.stdout), stderr=_text(done.stderr))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def _text(data: bytes) -> str:
    return "\n".join(clean(line) for line in data.decode("utf-8", "replace").split("\n"))
