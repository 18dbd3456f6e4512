"""Who listens on a port of this machine, as Linux' /proc says, for an error that helps."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from dm_isaac_g1.core.errors import DmG1Error, UsageError

_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h


class PortTaken(DmG1Error):
    """Another program listens on the port."""


def taken(bind: str, port: int) -> PortTaken:
    """The error, with the owner's name where it can be found out."""
    owner = owner_of(port)
    return PortTaken(
        f"port {port} is taken{f' by {owner}' if owner else ''}",
        where=bind,
        fix="stop what serves there, or choose another --port",
    )


def cannot(bind: str, port: int, number: int | None) -> UsageError:
    """The error for an address that is not this machine's, or a port that this user may not have."""
    return UsageError(f"cannot listen on {bind} port {port}: {os.strerror(number or errno.EINVAL)}")


def try_out(bind: str, port: int) -> None:
    """Before a model is loaded for minutes, only to find that its port is taken. Raises PortTaken, UsageError."""
    if "://" in bind:
        return
    with socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise taken(bind, port) from None
            raise cannot(bind, port, error.errno) from None


def owner_of(port: int) -> str | None:
    """ "python3 (pid 4711)" of who listens there; None where /proc does not say (another user's, not Linux)."""
    inodes = _listening(port)
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            return f"{''.join(char for char in name if char.isprintable())} (pid {process.name})"
    return None


def _listening(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in inodes for link in (process / "fd").iterdir())
    except OSError:
        return False
