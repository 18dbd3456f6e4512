"""Files that grow, sent as they grow. Part of the agent: stdlib only, Python 3.8 and later."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.remote.agent_questions import WINDOW, open_file, piece
from dm_isaac_g1.remote.agent_system import attempt, expand

if TYPE_CHECKING:
    from collections.abc import Callable


#: inotify(7).
IN_MODIFY, IN_ATTRIB, IN_MOVED_TO, IN_CREATE, IN_MOVE_SELF = 0x2, 0x4, 0x80, 0x100, 0x800
#: Bytes before the offset that must still be there: else the file was written anew below us.
KEPT = 64
#: How long a file that was renamed may still be written to before its successor is read.
GRACE = 1.0


class Follow:
    """One growing file: every byte once, through truncation, rotation and absence.

    `start`: where the reader is, as a `files.Position`. `send` gets the chunks; `watch` asks for a wake-up when
    something happens to a path. The reader's credit bounds what is under way.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        watch: Callable[[str, int], None],
        ident: int,
        path: str,
        start: dict[str, Any] | None = None,
        from_end: int | None = None,
    ) -> None:
        self.send, self.watch, self.ident, self.path = send, watch, ident, expand(path)
        self.start, self.from_end = start, from_end
        self.fd, self.offset, self.kept, self.credit = -1, 0, b"", WINDOW
        self.restarted = False
        self.leave = 0.0

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def step(self, now: float) -> None:
        """Send what is new, as far as the credit goes. Raises OSError for what cannot be read."""
        if self.fd < 0:
            try:
                self.begin()
            except (FileNotFoundError, NotADirectoryError):
                return
            self.tell(b"", tail=base64.b64encode(self.kept).decode())
        while self.credit > 0:
            back = len(self.kept)
            data = os.pread(self.fd, back + min(self.credit, 1 << 16), self.offset - back)
            if data[:back] != self.kept:
                self.anew()
                self.tell(b"")
            elif len(data) > back:
                self.offset += len(data) - back
                self.credit -= len(data) - back
                self.kept = data[-KEPT:]
                self.leave = 0.0
                self.tell(data[back:])
            elif not self.successor(now):
                return

    def begin(self) -> None:
        """Open where the reader left off: in the same file, in what rotation made of it, or anew."""
        self.watch(os.path.dirname(self.path), IN_MOVED_TO | IN_CREATE)
        size = os.stat(self.path).st_size
        start, self.start = self.start, None
        if start is None:
            self.open(self.path, max(0, size - self.from_end) if self.from_end is not None else 0)
            return
        with os.scandir(os.path.dirname(self.path)) as entries:
            heirs = [each.path for each in entries if each.inode() == start["inode"]]
        for path in [self.path, *heirs]:
            self.open(path, start["offset"])
            if self.continues(start):
                return
        self.open(self.path)
        self.anew()

    def continues(self, start: dict[str, Any]) -> bool:
        """Whether the open file is the one that the reader was in, as far as it had read it."""
        found = os.fstat(self.fd)
        if (found.st_dev, found.st_ino) != (start["dev"], start["inode"]) or found.st_size < start["offset"]:
            return False
        tail = os.pread(self.fd, start["span"], start["offset"] - start["span"])
        return not start["span"] or hashlib.sha256(tail).hexdigest() == start["digest"]

    def open(self, path: str, offset: int = 0) -> None:
        fd = open_file(path)
        self.close()
        self.fd, self.offset, self.leave = fd, offset, 0.0
        self.kept = os.pread(fd, min(offset, KEPT), max(0, offset - KEPT))
        # Through the descriptor: the file is watched, whatever its name becomes.
        self.watch(f"/proc/self/fd/{fd}", IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF)

    def anew(self) -> None:
        self.offset, self.kept, self.restarted = 0, b"", True

    def successor(self, now: float) -> bool:
        """At the end: go over to a file that took this one's name, once the old one has been quiet for a while."""
        found, mine = attempt(os.stat, self.path), os.fstat(self.fd)
        if found is None or (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
            self.leave = 0.0
            return False
        self.leave = self.leave or now + GRACE
        if now < self.leave:
            return False
        self.open(self.path)
        self.anew()
        self.tell(b"")
        return True

    def tell(self, data: bytes, **more: Any) -> None:
        row = piece(data, os.fstat(self.fd), self.offset)
        row.update(more, kind="chunk", id=self.ident, restarted=self.restarted)
        self.restarted = False
        self.send(row)
