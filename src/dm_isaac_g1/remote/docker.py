"""Commands in an existing container, through Docker's engine on the host.

The engine's socket is forwarded over the host's SSH connection to a socket in a folder of ours (0700), and spoken to
with aiodocker: a tenth of a millisecond more than locally, no docker CLI there, and forwards do not count as
sessions. aiodocker's own ssh:// is not used: it sends the whole local environment, secrets too, to the host.

A command that docker was asked to run goes on when nobody reads it any more. Ours carry a token in their
environment, and letting go of one that still runs ends what carries it.

containerd's shim opens a command's stdin for reading a moment after the command started. An end of stdin that was sent
before then, with no byte ahead of it, is lost, and the command reads for ever (seen in containerd 1.6, on a busy
machine; a relative of moby#37870). So every command first waits for a line of ours: once that is under way, the end of
stdin cannot overtake the shim.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import DmG1Error, DockerUnavailable, HostUnreachable, RemoteFailed
from dm_isaac_g1.remote import reaping
from dm_isaac_g1.remote.bare import STDERR_KEPT, gather
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.containers import Container, ContainerStats, nearest, read_container, read_stats
from dm_isaac_g1.remote.docker_forward import ANSWER_S, Forward
from dm_isaac_g1.remote.runtime import Completed

if TYPE_CHECKING:
    import aiodocker
    import asyncssh

#: What aiodocker calls its own failure to reach the engine; not an HTTP status.
CANNOT_CONNECT = 900
TOKEN = "DM_G1_EXEC"  # noqa: S105 - a variable's name
#: Takes that line, byte by byte as POSIX has it, and becomes the command; without the line, nothing is run.
ON_THE_FIRST_LINE = 'read -r _ && exec "$@"'
#: How long a command may take to end by itself once its stdin ended.
LETTING_GO_S = 0.5
#: How long letting go may take at all.
CLOSING_S = 4.0


class DockerRuntime:
    """Runs commands in the container that a profile names. `close` it, or use it as an async context manager.

    `connection` gives the host's SSH connection while there is one, and raises what the host would (HostUnreachable,
    HostUntrusted, AuthFailed). `preflight` asks the host's agent about the socket, for exact advice: a mapping with
    "exists" and "access" (read and write).
    """

    def __init__(
        self,
        name: str,
        spec: profile.Docker,
        connection: Callable[[], Awaitable[asyncssh.SSHClientConnection]],
        preflight: Callable[[], Awaitable[Mapping[str, Any]]] | None = None,
    ) -> None:
        self.where = f"{name}:{spec.container}"
        self._host = name
        self._spec = spec
        self._connection = connection
        self._preflight = preflight
        self._forward = Forward(spec.socket)
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> DockerRuntime:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the engine and of the forward; commands still running lose their stdin."""
        async with self._opening:
            await self._forward.close()

    # The engine.

    @contextlib.asynccontextmanager
    async def engine(self) -> AsyncIterator[aiodocker.Docker]:
        """The engine, forwarded anew after a reconnect; its errors become ours."""
        import aiodocker
        import aiohttp
        import asyncssh

        connection = await self._connection()
        try:
            async with asyncio.timeout(ANSWER_S):
                async with self._opening:
                    await self._forward.over(connection)
                yield self._forward.client
        except aiodocker.DockerError as error:
            raise await self._explain(error, connection) from error
        except TimeoutError as error:
            raise DockerUnavailable(
                f"Docker did not answer within {ANSWER_S:g} s", where=self._host, fix="see `systemctl status docker`"
            ) from error
        except (aiohttp.ClientError, asyncssh.Error, OSError, ValueError, KeyError, TypeError) as error:
            # The last three: an engine that answers no JSON, or not what its API says.
            if connection.is_closed():
                raise HostUnreachable("the connection was lost", where=self._host) from error
            raise DockerUnavailable(
                f"Docker gave no usable answer: {clean(str(error))[:200]}", where=self._host
            ) from error

    async def _explain(self, error: aiodocker.DockerError, connection: asyncssh.SSHClientConnection) -> DmG1Error:
        """What an engine's error means here, and what to do about it."""
        said = clean(str(error.message))
        if error.status == CANNOT_CONNECT:
            if connection.is_closed():
                return HostUnreachable("the connection was lost", where=self._host)
            return await self._no_engine()
        if error.status == 404 and "o such container" in said:
            return await self._no_container()
        if error.status == 409 and "paused" in said:
            return DockerUnavailable(
                f"container {self._spec.container} is paused",
                where=self._host,
                fix=f"`docker unpause {self._spec.container}`",
            )
        if error.status == 409:
            return DockerUnavailable(
                f"container {self._spec.container} is not running",
                where=self._host,
                fix=f"start it there with `docker start {self._spec.container}`",
            )
        return DockerUnavailable(f"Docker answered {error.status}: {said[:300]}", where=self._host)

    async def _no_engine(self) -> DmG1Error:
        socket = self._spec.socket
        found: Mapping[str, Any] = {}
        if self._preflight is not None:
            with contextlib.suppress(DmG1Error):
                found = await self._preflight()
        if found.get("exists") is False:
            return DockerUnavailable(
                f"there is no Docker engine at {socket}",
                where=self._host,
                fix="start it with `sudo systemctl start docker`, or install Docker there",
            )
        if found.get("access") is False:
            return DockerUnavailable(
                f"no permission for {socket}",
                where=self._host,
                fix="`sudo usermod -aG docker $USER` there, then log in again (that group is as good as root)",
            )
        why = "its engine does not answer" if found else "no engine, or no permission"
        return DockerUnavailable(
            f"Docker cannot be reached at {socket}: {why}",
            where=self._host,
            fix="`sudo systemctl start docker` there; if it runs, `sudo usermod -aG docker $USER` and log in again",
        )

    async def _no_container(self) -> DmG1Error:
        known: list[str] = []
        with contextlib.suppress(DmG1Error):
            known = [each.name for each in await self.containers()]
        fix = f"there are: {nearest(self._spec.container, known)}" if known else "there is none at all on that host"
        return DockerUnavailable(f"no container {self._spec.container}", where=self._host, fix=fix)

    async def containers(self) -> list[Container]:
        """All containers of the host, running or not."""
        async with self.engine() as engine:
            answer = await engine._query_json("containers/json", params={"all": 1})
            return [read_container(each) for each in answer or [] if isinstance(each, dict)]

    async def container(self) -> Container:
        """Our container as it is now. Raises DockerUnavailable where it does not exist."""
        async with self.engine() as engine:
            return read_container(await engine._query_json(f"containers/{self._spec.container}/json"))

    async def check(self) -> Container:
        """Our container, running. Raises DockerUnavailable with what to do where it is not, HostUnreachable."""
        found = await self.container()
        if found.running:
            return found
        start = "unpause" if found.state == "paused" else "start"
        raise DockerUnavailable(
            f"container {found.name} is not running ({found.status or found.state})",
            where=self._host,
            fix=f"start it there with `docker {start} {found.name}`",
        )

    async def stats(self) -> ContainerStats:
        """One moment of our container; takes the engine a second."""
        async with self.engine() as engine:
            answers = await engine.containers.container(self._spec.container).stats(stream=False)
            return read_stats(answers[0] if answers else {})

    # Commands.

    async def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> DockerSpawned:
        """Start a command in the container. Raises DockerUnavailable, HostUnreachable, RemoteFailed."""
        token = secrets.token_hex(8)
        async with self.engine() as engine:
            run = await engine.containers.container(self._spec.container).exec(
                ["sh", "-c", ON_THE_FIRST_LINE, "sh", *argv],
                stdin=True,
                environment={**(env or {}), TOKEN: token},
                workdir=cwd,
            )
            spawned = DockerSpawned(self, run, run.start(), token)
            try:
                await spawned.begin()
            except BaseException:
                await spawned.close()  # it may run already
                raise
        return spawned

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
        """A user's command, in the profile's conda environment. Output is not captured: logs must stay live."""
        if self._spec.conda_env is None:
            return list(argv)
        return ["conda", "run", "--no-capture-output", "-n", self._spec.conda_env, *argv]

    async def reap(self, token: str) -> None:
        """End every process in the container that carries the token."""
        async with self.engine() as engine:
            run = await engine.containers.container(self._spec.container).exec(
                ["python3", "-I", "-S", "-c", reaping.PROGRAM, f"{TOKEN}={token}"], stdout=False, stderr=False
            )
            await run.start(detach=True)


class DockerSpawned:
    """A command in the container. stdout and stderr come in one stream, so stderr is as fresh as stdout was read."""

    def __init__(self, runtime: DockerRuntime, run: Any, stream: Any, token: str) -> None:
        self._runtime = runtime
        self._run = run
        self._stream = stream
        self._token = token
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._ended = False
        self._closed = False

    async def begin(self) -> None:
        """Start the command. Raises what aiodocker and the connection do."""
        await self._stream._init()
        with contextlib.suppress(HostUnreachable):  # ended already: `read` and `wait` will say how
            await self.write(b"\n")

    async def read(self, size: int = 65536) -> bytes:
        """Up to `size` bytes of stdout; b"" at its end, also when the connection went."""
        while not self._stdout and not self._ended:
            message = None
            with contextlib.suppress(*_lost()):
                message = await self._stream.read_out()
            if message is None:
                self._ended = True
            elif message.stream == 2:
                self._stderr += message.data
                del self._stderr[:-STDERR_KEPT]
            else:
                self._stdout += message.data
        data = bytes(self._stdout[:size])
        del self._stdout[:size]
        return data

    async def write(self, data: bytes) -> None:
        """Send to stdin. Raises HostUnreachable when the command or the connection is gone."""
        try:
            await self._stream.write_in(data)
        except _lost(RuntimeError, AssertionError, AttributeError) as error:
            raise HostUnreachable("the command no longer reads", where=self._runtime.where) from error

    async def write_eof(self) -> None:
        """End stdin; output goes on. aiodocker has no word for it: the transport is half closed."""
        connection = self._stream._resp.connection if self._stream._resp is not None else None
        transport = connection.transport if connection is not None else None
        if transport is not None and transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                transport.write_eof()

    async def errors(self) -> bytes:
        """The last 64 KiB of stderr so far."""
        return bytes(self._stderr)

    async def wait(self) -> int | None:
        """The exit status (137: killed); None when the connection or the container went first."""
        pause = 0.01
        while True:
            found = await self._inspect()
            if found is None:
                return None
            if not found.get("Running"):
                code = found.get("ExitCode")
                return code if isinstance(code, int) else None
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    async def _inspect(self) -> Mapping[str, Any] | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                found: Mapping[str, Any] = await self._run.inspect()
                return found
        except _lost(TimeoutError, AssertionError, KeyError):
            return None

    async def close(self) -> None:
        """End stdin and let go; what still runs a moment later is ended."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(*_lost(AssertionError, AttributeError)):
            await self._stream.close()
        with contextlib.suppress(TimeoutError):  # a frozen link must not hold up whoever leaves
            async with asyncio.timeout(CLOSING_S):
                await self._end()

    async def _end(self) -> None:
        until = asyncio.get_running_loop().time() + LETTING_GO_S
        while (found := await self._inspect()) is not None and found.get("Running"):
            if asyncio.get_running_loop().time() > until:
                with contextlib.suppress(DmG1Error):
                    await self._runtime.reap(self._token)
                return
            await asyncio.sleep(0.05)


def _lost(*more: type[BaseException]) -> tuple[type[BaseException], ...]:
    """What a stream through the forward raises when it is gone; aiodocker trips over a closed one in other ways."""
    import aiodocker
    import aiohttp

    return (aiohttp.ClientError, OSError, aiodocker.DockerError, *more)
