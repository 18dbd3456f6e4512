"""A policy server as a process of this machine, and what any server says while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.core.events import Event, Log, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.inference.serving import ServerCommand

#: Seconds that a server of this machine gets to answer what is under way and leave, before it is killed.
PATIENCE = 10.0
#: How log lines of this machine are marked.
HERE = "here"


async def run(command: ServerCommand, name: str, bind: str, port: int) -> AsyncIterator[Event]:
    """Serve for as long as somebody listens to the events: whoever leaves ends it.

    Raises RefusedError (the port is taken), UsageError (the server's program or folder is not there).
    """
    _free(bind, port)
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            cwd=command.cwd,
            env={**_environment(), **command.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )
    except OSError as error:
        what = f"the server could not be started: {error.filename or command.argv[0]}: {error.strerror}"
        raise UsageError(what, fix="say which Python has it: --python; and GR00T's checkout: --groot") from None
    try:
        assert process.stdout is not None
        async with aclosing(told(command, HERE, _pieces(process.stdout))) as events:  # type: ignore[type-var]
            async for event in events:
                yield event
        code = await process.wait()
    finally:
        await _ended(process)
    yield left(HERE, name, code)


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


async def told(command: ServerCommand, where: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """A server's output as log lines, and a word when it serves."""
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


def left(where: str, name: str, code: int) -> Result:
    """How it ended."""
    data: dict[str, Any] = {"host": where, "model": name, "exit": code}
    return Result(text=f"the server of {name} ended with exit {code}", data=data, code=1 if code else 0)
