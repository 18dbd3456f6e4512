"""One SSH session on a lab host: a real shell or command, its bytes carried both ways.

As sshd does it: a session of its own, a controlling terminal where one was asked for, signals to the process group.
Unlike sshd, a command whose channel goes before it has ended is ended too, with its process group: the lab leaves no
strays. A process that made a session of its own (a job's supervisor) is not of that group and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh

from dm_isaac_g1.lab.environment import shell

#: Bytes moved at once.
CHUNK = 65536
#: How long output is still read after the command ended while something else holds its pipe, seconds.
LINGER = 5.0
#: How long a command may take to end by itself once its channel is gone (it sees EOF and SIGPIPE), seconds.
GRACE = 2.0
#: What a client may set in the session's environment (Debian's sshd: AcceptEnv LANG LC_*).
_ACCEPTED = ("LANG", "LC_")

Process = asyncssh.SSHServerProcess[bytes]


async def run_session(process: Process, *, env: dict[str, str], home: Path) -> None:
    """Serve one session to its end."""
    env = env | _from_client(process)
    command = [shell(), "-c", process.command] if process.command is not None else [shell(), "-l"]
    try:
        if process.term_type:
            await _with_terminal(process, command, env, home)
        else:
            await _with_pipes(process, command, env, home)
    except (asyncssh.Error, OSError) as error:
        with contextlib.suppress(asyncssh.Error, OSError):
            process.stderr.write(f"lab: {error}\n".encode())
            process.exit(255)


def _from_client(process: Process) -> dict[str, str]:
    given = {str(k): str(v) for k, v in (process.env or {}).items()}
    accepted = {k: v for k, v in given.items() if k.startswith(_ACCEPTED)}
    peer, here = process.get_extra_info("peername"), process.get_extra_info("sockname")
    if peer and here:
        accepted["SSH_CONNECTION"] = f"{peer[0]} {peer[1]} {here[0]} {here[1]}"
    if process.term_type:
        accepted["TERM"] = process.term_type
    return accepted


class _Command(asyncio.subprocess.SubprocessStreamProtocol):
    """A command's pipes, and its end. asyncio's own wait() returns only when every heir of the pipes has ended too."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(limit=CHUNK, loop=loop)
        self.ended: asyncio.Future[int] = loop.create_future()
        self.transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.SubprocessTransport)
        self.transport = transport

    def process_exited(self) -> None:
        super().process_exited()
        if self.transport is not None and not self.ended.done():
            self.ended.set_result(self.transport.get_returncode() or 0)

    @property
    def pid(self) -> int:
        assert self.transport is not None
        return self.transport.get_pid()


async def _with_pipes(process: Process, command: list[str], env: dict[str, str], home: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    transport, child = await asyncio.get_running_loop().subprocess_exec(
        _Command, *command, env=env, cwd=home, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    assert child.stdin and child.stdout and child.stderr
    stdin, stdout, stderr = child.stdin, child.stdout, child.stderr

    async def to_child(data: bytes) -> None:
        if data:
            stdin.write(data)
            await stdin.drain()
        else:
            stdin.close()

    outputs = [
        asyncio.create_task(_copy(stdout.read, process.stdout)),
        asyncio.create_task(_copy(stderr.read, process.stderr)),
    ]
    try:
        await _attend(process, child, to_child, outputs, lambda size: None)
    finally:
        transport.close()


async def _with_terminal(process: Process, command: list[str], env: dict[str, str], home: Path) -> None:
    ours, theirs = os.openpty()
    _resize(ours, process.term_size)
    env = env | {"SSH_TTY": os.ttyname(theirs)}
    try:
        transport, child = await asyncio.get_running_loop().subprocess_exec(
            _Command,
            *command,
            env=env,
            cwd=home,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=lambda: os.login_tty(theirs),
        )
    finally:
        os.close(theirs)
    os.set_blocking(ours, False)
    loop = asyncio.get_running_loop()

    async def ready(register: Callable[..., Any], unregister: Callable[..., Any]) -> None:
        future = loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        register(ours, wake)
        try:
            await future
        finally:
            unregister(ours)

    async def from_child(size: int) -> bytes:
        while True:
            try:
                return os.read(ours, size)
            except BlockingIOError:
                await ready(loop.add_reader, loop.remove_reader)
            except OSError:  # EIO: the last process closed the terminal
                return b""

    async def to_child(data: bytes) -> None:
        while data:
            try:
                data = data[os.write(ours, data) :]
            except BlockingIOError:
                await ready(loop.add_writer, loop.remove_writer)

    outputs = [asyncio.create_task(_copy(from_child, process.stdout))]
    try:
        await _attend(process, child, to_child, outputs, lambda size: _resize(ours, size))
    finally:
        for task in outputs:
            task.cancel()
        await asyncio.gather(*outputs, return_exceptions=True)
        os.close(ours)
        transport.close()


async def _attend(
    process: Process,
    child: _Command,
    to_child: Callable[[bytes], Awaitable[None]],
    outputs: list[asyncio.Task[None]],
    resize: Callable[[Any], None],
) -> None:
    """Until the command ends; or until its channel is gone, and then end it."""
    ended = child.ended
    gone = asyncio.create_task(process.wait_closed())
    inputs = asyncio.create_task(_feed(process, child.pid, to_child, resize))
    try:
        await asyncio.wait((ended, gone), return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not gone.done():
            await asyncio.wait({*outputs}, timeout=LINGER)
            _report(process, ended.result())
    finally:
        for task in (inputs, gone, *outputs):
            task.cancel()
        await asyncio.gather(inputs, gone, *outputs, return_exceptions=True)
        if not ended.done():
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(GRACE):
                    await to_child(b"")
            await _clear(child.pid, ended)


async def _feed(
    process: Process, group: int, to_child: Callable[[bytes], Awaitable[None]], resize: Callable[[Any], None]
) -> None:
    while True:
        try:
            data = await process.stdin.read(CHUNK)
            await to_child(data)
            if not data:
                return
        except asyncssh.TerminalSizeChanged as change:
            resize(change.term_size)
        except asyncssh.SignalReceived as received:
            _signal_group(group, getattr(signal, f"SIG{received.signal}", signal.SIGTERM))
        except asyncssh.BreakReceived:
            _signal_group(group, signal.SIGINT)
        except (asyncssh.Error, OSError):
            return


async def _copy(read: Callable[[int], Awaitable[bytes]], to: asyncssh.SSHWriter[bytes]) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while data := await read(CHUNK):
            to.write(data)
            await to.drain()


def _report(process: Process, code: int) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        if code >= 0:
            process.exit(code)
        else:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))


async def _clear(group: int, ended: asyncio.Future[int]) -> None:
    """End the command's process group: by itself within GRACE, then hung up, then killed."""
    await asyncio.wait({ended}, timeout=GRACE)
    for number in (signal.SIGHUP, signal.SIGKILL):
        if ended.done() and not _group_alive(group):
            return
        _signal_group(group, number)
        deadline = asyncio.get_running_loop().time() + GRACE
        while _group_alive(group) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.wait({ended}, timeout=GRACE)


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _resize(terminal: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, wide, high = (*size, 0, 0, 0, 0)[:4]
    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows or 24, columns or 80, wide, high))
