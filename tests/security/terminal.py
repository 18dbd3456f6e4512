"""A pseudo-terminal that keeps every byte it gets."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence

#: What Textual itself says: colours, cursor, modes, its questions about them, the pointer's shape.
TEXTUAL = re.compile(rb"\x1b\]22;[a-z-]*\x07|\x1b\[[?<>=]?[0-9;:]*[$]?[mHhlpcutnqKABCDGJ]|\x1b[78=>]")
#: What our command line says: erase to the end of the line.
COMMAND_LINE = re.compile(rb"\r\x1b\[K")
HIDDEN = "\u202e\u202c\u200b\ufeff\u2066\u2028"
#: A sequence that only a payload holds (`hostile.PAYLOADS`).
THEIRS = re.compile(rb"\x1b\[\??(?:7777|66;66)|\x1b\[2J|\x1b\]52|\x1b\]0;|\x1bc")


def told(data: bytes, allowed: re.Pattern[bytes] | None) -> list[str]:
    """What a terminal was told that is not of the `allowed` grammar."""
    found = [f"theirs: {hit.group()!r} in {_around(data, hit.start())}" for hit in THEIRS.finditer(data)]
    left = allowed.sub(b"", data) if allowed else data
    for number in (*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F):
        at = left.find(bytes([number]))
        if at >= 0:
            found.append(f"control {number:#x} in {_around(left, at)}")
    for char in set(left.decode(errors="replace")):
        if 0x80 <= ord(char) < 0xA0 or char in HIDDEN:
            found.append(f"{char!a} in {_around(left, left.find(char.encode()))}")
    return found


def _around(data: bytes, at: int) -> str:
    return repr(data[max(0, at - 40) : at + 40])


class Terminal:
    """A program on a pseudo-terminal of 160 by 48."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))

        def own() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        # Terminal sizes in variables, as test runners set them, would outdo the terminal's own.
        env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, preexec_fn=own)
        os.close(slave)
        self.seen = b""

    def type(self, keys: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._master, keys)

    def watch(self, seconds: float, until: bytes | None = None) -> bool:
        """Read for so long, or until something was seen (or the program ended)."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if until is not None and until in self.seen:
                return True
            if select.select([self._master], [], [], min(left, 0.1))[0]:
                try:
                    data = os.read(self._master, 1 << 16)
                except OSError:
                    data = b""
                if not data:
                    return until is None or until in self.seen
                self.seen += data
        return until is None

    def end(self, seconds: float = 15.0) -> int:
        """Wait for its end; the exit code."""
        self.watch(seconds)
        return self.process.wait(5)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextlib.contextmanager
def terminal(argv: Sequence[str]) -> Iterator[Terminal]:
    made = Terminal(argv)
    try:
        yield made
    finally:
        made.close()
