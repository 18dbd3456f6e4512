"""Commands on the host itself, over its SSH connection."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.remote import tasks
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.link import Link
from dm_isaac_g1.remote.quoting import command_line
from dm_isaac_g1.remote.runtime import Completed, Spawned
from dm_isaac_g1.remote.sessions import Sessions

if TYPE_CHECKING:
    import asyncssh

#: How much of a command's stderr is kept, from its end.
STDERR_KEPT = 64 * 1024
#: How much output a command that is gathered may give.
GATHER_MAX = 64 * 1024 * 1024


class BareRuntime:
    """Runs commands on the host, each in a session of its own."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.where = link.name

    async def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> SshSpawned:
        """Start a command. Raises HostUnreachable, HostUntrusted, AuthFailed, RemoteFailed."""
        line = command_line(argv, env=env, cwd=cwd)
        connection = self._link.connection or await self._link.up()
        sessions = self._link.sessions

        async def begin() -> asyncssh.SSHClientProcess[bytes]:
            # A RemoteCommand or RequestTTY of the user's configuration is for their shell, not for this.
            return await connection.ssh.create_process(line, encoding=None, request_pty=False, x11_forwarding=False)

        process = await sessions.begin(begin)
        return SshSpawned(process, sessions, self.where)

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        """Run a command to its end. Raises as `spawn`, and RemoteFailed after `timeout` or too much output."""
        spawned = None
        try:
            async with asyncio.timeout(timeout):
                spawned = await self.spawn(argv, env=env, cwd=cwd)
                return await gather(spawned, argv, stdin)
        except TimeoutError:
            raise RemoteFailed(f"{clean(argv[0])} did not end within {timeout:g} s", where=self.where) from None
        finally:
            if spawned is not None:
                await spawned.close()

    def command(self, argv: Sequence[str]) -> list[str]:
        """A user's command, as it is."""
        return list(argv)


async def gather(spawned: Spawned, argv: Sequence[str], stdin: bytes) -> Completed:
    """Feed a command and read it to its end. Raises RemoteFailed if it says more than GATHER_MAX."""
    feeding = asyncio.create_task(_feed(spawned, stdin))
    pieces: list[bytes] = []
    size = 0
    try:
        while data := await spawned.read():
            pieces.append(data)
            size += len(data)
            if size > GATHER_MAX:
                raise RemoteFailed(f"{clean(argv[0])} gave more than {GATHER_MAX >> 20} MiB of output")
        exit_ = await spawned.wait()
    finally:
        await tasks.end(feeding)
    return Completed(argv=tuple(argv), exit=exit_, stdout=b"".join(pieces), stderr=await spawned.errors())


async def _feed(spawned: Spawned, stdin: bytes) -> None:
    with contextlib.suppress(HostUnreachable, OSError):
        if stdin:
            await spawned.write(stdin)
        await spawned.write_eof()


class SshSpawned:
    """A command in a session of the connection."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], sessions: Sessions, where: str) -> None:
        self._process = process
        self._sessions = sessions
        self._where = where
        self._stderr = bytearray()
        self._closed = False
        # An unread stderr would fill its window and stall the command.
        self._draining = asyncio.create_task(self._drain())

    async def read(self, size: int = 65536) -> bytes:
        """Up to `size` bytes of stdout; b"" at its end, also when the connection went."""
        with contextlib.suppress(*_lost()):
            return await self._process.stdout.read(size)
        return b""

    async def write(self, data: bytes) -> None:
        """Send to stdin. Raises HostUnreachable when the command or the connection is gone."""
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except _lost() as error:
            raise HostUnreachable("the command no longer reads", where=self._where) from error

    async def write_eof(self) -> None:
        with contextlib.suppress(*_lost()):
            self._process.stdin.write_eof()

    async def errors(self) -> bytes:
        """The last 64 KiB of stderr so far; all of it once the command ended."""
        if self._process.exit_status is not None or self._process.exit_signal is not None:
            await asyncio.wait({self._draining}, timeout=1)
        return bytes(self._stderr)

    async def wait(self) -> int | None:
        """The exit status; negative for a signal, None when the connection was lost before it came."""
        with contextlib.suppress(*_lost()):
            await self._process.wait_closed()
        if self._process.exit_signal is not None:
            number = getattr(signal, f"SIG{self._process.exit_signal[0]}", None)
            return -int(number) if number is not None else -1
        return self._process.exit_status

    async def close(self) -> None:
        """End stdin, ask the command to end, and give the session back.

        sshd passes no signal on to a root login's command: a command must end by itself at the end of its stdin.
        """
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(*_lost()):
            self._process.stdin.write_eof()
            if self._process.exit_status is None and self._process.exit_signal is None:
                self._process.terminate()
        self._process.close()
        try:
            await tasks.end(self._draining)
            with contextlib.suppress(TimeoutError, *_lost()):
                async with asyncio.timeout(2):
                    await self._process.wait_closed()
        finally:
            self._sessions.end()

    async def _drain(self) -> None:
        with contextlib.suppress(*_lost()):
            while data := await self._process.stderr.read(65536):
                self._stderr += data
                del self._stderr[:-STDERR_KEPT]


def _lost() -> tuple[type[BaseException], ...]:
    """What asyncssh raises on a channel that is gone."""
    import asyncssh

    lost: tuple[Any, ...] = (asyncssh.Error, OSError)
    return lost
