"""Who has a TCP port on this machine, as /proc tells."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path

#: /proc/net/tcp: the state of a socket that listens.
_LISTEN = "0A"


def taken(port: int) -> bool:
    """Whether somebody listens there, on loopback or everywhere."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def held_by(port: int, pids: Iterable[int]) -> bool:
    """Whether one of these processes listens there."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path) in sockets:  # noqa: PTH115  a socket is no path
                        return True
    return False


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for row in Path(table).read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found
