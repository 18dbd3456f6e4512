"""What the server says on stderr: bounded, whatever clients send."""

from __future__ import annotations

import sys
import threading
import time

#: Of one line; and lines in `every_s` seconds, all together.
_LINE_MAX, _LINES = 2000, 50


class Log:
    """The same line at most every `every_s` seconds, with how often it came meanwhile. Used by both threads."""

    def __init__(self, every_s: float = 10.0) -> None:
        self._every = every_s
        self._lock = threading.Lock()
        #: Line -> when it was said, and how often it was not since.
        self._said: dict[str, tuple[float, int]] = {}
        self._began, self._lines = 0.0, 0

    def say(self, text: str, *, details: str = "") -> None:
        """`details`: a traceback, said along with it."""
        now = time.monotonic()
        with self._lock:
            last, unsaid = self._said.get(text, (now - self._every, 0))
            if now - last < self._every:
                self._said[text] = (last, unsaid + 1)
                return
            if now - self._began >= self._every:
                self._began, self._lines = now, 0
            self._lines += 1
            if self._lines > _LINES:
                return
            if len(self._said) > 4 * _LINES:
                self._said.clear()
            self._said[text] = (now, 0)
            more = f" ({unsaid} more times)" if unsaid else ""
            if self._lines == _LINES:
                more += " (and what else there is to say in these seconds is left out)"
            lines = [f"{time.strftime('%Y-%m-%d %H:%M:%S')} {plain(text)}{more}"]
            lines += ["  " + plain(line) for line in details.splitlines()[-40:]]
            sys.stderr.write("".join(line + "\n" for line in lines))
            sys.stderr.flush()


def plain(text: str) -> str:
    """On one line; nothing of a client's that a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)[:_LINE_MAX]
