"""A command on a host for as long as somebody attends to it: fed, read as it speaks, ended with all that it started."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable
from dm_isaac_g1.remote import reaping

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host
    from dm_isaac_g1.remote.runtime import Runtime, Spawned

#: A variable in the environment of a command and of all that it starts, by which they are found and ended.
MARK = "DM_G1_RUN"
#: Seconds that ending them may take; a link that is gone must not hold up whoever leaves.
REAP_TIMEOUT = 4.0
#: Seconds without output after which a command that has ended while it was fed has said all.
DRAINED = 0.6
#: Seconds between two looks at a command's stderr, which the runtime gathers rather than streams.
STDERR_EVERY = 0.2

Stream = Literal["stdout", "stderr"]
Piece = tuple[Stream, bytes | int]


def new_mark() -> str:
    """A value for MARK."""
    return secrets.token_hex(8)


async def attend(
    host: Host,
    runtime: Runtime,
    argv: Sequence[str],
    *,
    stdin: AsyncIterator[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    mark: str | None = None,
    patience: float = 0.0,
) -> AsyncIterator[Piece]:
    """Run `argv`: pieces of its output as they come, then ("stdout", exit code). It is fed `stdin`, or nothing.

    Whoever leaves before its end ends it, and all that it has started: its stdin ends first, and it has `patience`
    seconds to do what it does then. Raises HostUnreachable when the link is lost first.
    """
    mark = mark or new_mark()
    spawned = await runtime.spawn(argv, env={**(env or {}), MARK: mark}, cwd=cwd)
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
        feeding.cancel()
        if not ended and patience:
            await _let_go(spawned, tasks[1], pieces, patience)
        for task in [*tasks, *([ending] if ending is not None else ())]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await spawned.close()
        if not ended:
            with suppress(DmG1Error, OSError):
                await runtime.run(
                    [host.profile.python, "-I", "-S", "-c", reaping.PROGRAM, f"{MARK}={mark}"], timeout=REAP_TIMEOUT
                )


async def _let_go(
    spawned: Spawned, reading: asyncio.Task[None], pieces: asyncio.Queue[tuple[Stream, bytes] | None], patience: float
) -> None:
    """End the command's stdin, and read on for a while: its end is the end of its output."""
    with suppress(DmG1Error, OSError, TimeoutError):
        async with asyncio.timeout(patience):
            await spawned.write_eof()
            while not reading.done() or not pieces.empty():
                if await pieces.get() is None:
                    return


async def _news(spawned: Spawned, seen: bytes) -> tuple[bytes, bytes]:
    """What stderr says beyond `seen`; the runtime keeps its last 64 KiB only."""
    now = await spawned.errors()
    if now.startswith(seen):
        return now[len(seen) :], now
    overlap = now.find(seen[-1024:])
    return (now if overlap < 0 else now[overlap + len(seen[-1024:]) :]), now
