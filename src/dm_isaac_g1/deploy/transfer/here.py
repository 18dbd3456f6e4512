"""This machine as a runtime: a model that lies here is hashed and read by the same program as on a host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.remote import tasks
from dm_isaac_g1.remote.bare import gather
from dm_isaac_g1.remote.runtime import Completed

STDERR_KEPT = 64 * 1024


class Here:
    """Runs commands on this machine; `python3` is the interpreter that runs us."""

    where = "this machine"

    async def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> LocalSpawned:
        """Start a command. Raises RemoteFailed where it cannot be started."""
        words = [sys.executable if argv[0] == "python3" else argv[0], *argv[1:]]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                limit=4 << 20,
                start_new_session=True,  # Ctrl-C is ours
            )
        except OSError as error:
            raise RemoteFailed(f"{argv[0]} cannot be started: {error.strerror}", where=self.where) from error
        return LocalSpawned(process)

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        """Run a command to its end. Raises RemoteFailed after `timeout`."""
        spawned = await self.spawn(argv, env=env, cwd=cwd)
        try:
            async with asyncio.timeout(timeout):
                return await gather(spawned, argv, stdin)
        except TimeoutError:
            raise RemoteFailed(f"{argv[0]} did not end within {timeout:g} s", where=self.where) from None
        finally:
            await spawned.close()

    def command(self, argv: Sequence[str]) -> list[str]:
        return list(argv)


class LocalSpawned:
    """A process of ours and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._stderr = bytearray()
        self._draining = asyncio.create_task(self._drain())

    async def read(self, size: int = 65536) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.read(size)

    async def write(self, data: bytes) -> None:
        """Raises HostUnreachable when it no longer reads, as over SSH."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (OSError, RuntimeError) as error:
            raise HostUnreachable("the command no longer reads", where=Here.where) from error

    async def write_eof(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self._process.stdin.write_eof()

    async def errors(self) -> bytes:
        """The last 64 KiB of stderr so far; all of it once the command ended."""
        if self._process.returncode is not None:
            await asyncio.wait({self._draining}, timeout=1)
        return bytes(self._stderr)

    async def wait(self) -> int | None:
        return await self._process.wait()

    async def close(self) -> None:
        """Kill it, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await tasks.end(self._draining)
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
            self._stderr += data
            del self._stderr[:-STDERR_KEPT]
