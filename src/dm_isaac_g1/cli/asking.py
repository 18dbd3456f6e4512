"""A password asked for at the terminal, without showing what is typed.

`getpass` would block the event loop: other hosts' connections would run out of time while somebody types, and Ctrl-C
could not end it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

#: Bytes of a line that a terminal hands over at most (N_TTY's buffer, termios(3)).
LONGEST = 4096


def asker(*, json: bool) -> Callable[[str], Awaitable[str | None]] | None:
    """How to ask the user; None where nobody sits at a terminal, or a script reads what we write."""
    return hidden if not json and sys.stdin.isatty() and sys.stderr.isatty() else None


async def hidden(question: str) -> str | None:
    """What the user types after `question`; None for an empty line or the end of input."""
    import termios

    loop = asyncio.get_running_loop()
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = termios.tcgetattr(terminal)
    silent[3] = (silent[3] & ~termios.ECHO) | termios.ICANON
    typed: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        if not typed.done():
            try:
                typed.set_result(os.read(terminal, LONGEST))
            except OSError:
                typed.set_result(b"")

    try:
        # Flushed: what was typed before the question was not meant for it.
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        sys.stderr.write(question)
        sys.stderr.flush()
        loop.add_reader(terminal, read)
        line = await typed
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        sys.stderr.write("\n")
        sys.stderr.flush()
    return line.decode(errors="replace").rstrip("\r\n") or None
