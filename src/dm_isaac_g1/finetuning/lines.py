"""Bytes of a log into lines as a terminal would show them: split on LF, a carriage return starts the line again.

Progress bars redraw themselves with CR and may never end with LF; a log may hold a line of megabytes, broken UTF-8 or
escape sequences. The splitter is incremental, bounded in memory, and its output is what `events.Log` carries.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from dm_isaac_g1.remote.clean import clean

#: Longest line kept, in bytes; the rest of it is counted and left out (the file on the host keeps all).
MAX_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines in order. `replaced`: the first takes the place of the last one given (it was not finished)."""

    lines: tuple[str, ...] = ()
    replaced: bool = False

    def __bool__(self) -> bool:
        return bool(self.lines)


class LineSplitter:
    """Feed it the bytes of one log in order.

    The unfinished line at the end is given too, so that a progress bar is live; the next lines then say `replaced`.
    """

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max = max_line
        #: Bytes after the last separator, at most `max_line`, and how many more there were.
        self._open = b""
        self._over = 0
        #: The last segment of the unfinished line that ended with CR and shows something.
        self._shown = b""
        #: What was given of the unfinished line; None: nothing yet.
        self._given: str | None = None

    def feed(self, data: bytes) -> Lines:
        """The lines that `data` ends or changes."""
        if not data:
            return Lines()
        *ended, rest = data.split(b"\n")
        out: list[str] = []
        replaced = self._given is not None
        for index, raw in enumerate(ended):
            if index == 0:
                self._extend(raw)
                out.append(self._text(self._visible(), self._over))
                self._open, self._over, self._shown = b"", 0, b""
            elif b"\r" not in raw and len(raw) <= self._max:
                out.append(clean(raw.decode("utf-8", "replace")))
            else:
                self._extend(raw)
                out.append(self._text(self._visible(), self._over))
                self._open, self._over, self._shown = b"", 0, b""
        if ended:
            self._given = None
        self._extend(rest)
        shown = self._unfinished()
        if shown and shown != self._given:
            out.append(shown)
            self._given = shown
        elif replaced and not ended:
            return Lines()
        return Lines(tuple(out), replaced and bool(out))

    def _extend(self, raw: bytes) -> None:
        """Take bytes without LF into the unfinished line."""
        if b"\r" in raw:
            *segments, raw = raw.split(b"\r")
            segments[0] = self._open + segments[0][: self._max - len(self._open)]
            last = next((s for s in reversed(segments) if not s.isspace() and s), b"")
            self._shown = last[: self._max] or self._shown
            self._open, self._over = b"", 0
        room = self._max - len(self._open)
        self._open += raw[:room]
        self._over += max(0, len(raw) - room)

    def _visible(self) -> bytes:
        """What the unfinished line shows. A bar wiped with spaces stays until a line is written over it."""
        return self._shown if self._shown and (not self._open or self._open.isspace()) else self._open

    def _unfinished(self) -> str:
        if self._over and self._given is not None:
            return self._given  # cut already: its growth is told once, when it ends
        raw = self._visible()
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(raw)  # a split character waits for its rest
        return _marked(clean(text), self._over if raw is self._open else 0)

    @staticmethod
    def _text(raw: bytes, over: int) -> str:
        return _marked(clean(raw.decode("utf-8", "replace")), over)


def _marked(text: str, over: int) -> str:
    return f"{text} […{over:,} bytes more]" if over else text
