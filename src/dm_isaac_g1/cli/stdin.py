"""This program's stdin, for a command on a host."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

#: Pieces read ahead of a command that is slow to take them.
AHEAD = 8


def piped() -> AsyncIterator[bytes] | None:
    """Its pieces, where it is a pipe or a file; None where somebody types at it, or there is none."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return None
    return _pieces(sys.stdin.fileno())


async def _pieces(fd: int) -> AsyncIterator[bytes]:
    """A thread of its own reads: a regular file cannot be waited for, and what never ends must not keep us."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)

    def read() -> None:
        data = b"-"
        while data:
            room.acquire()
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""
            try:
                loop.call_soon_threadsafe(queue.put_nowait, data)
            except RuntimeError:  # the command has ended, and the loop with it
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while data := await queue.get():
        room.release()
        yield data
