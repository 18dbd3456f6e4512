"""Processes, as /proc tells: who is alive, and who belongs to a lab host."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from dm_isaac_g1.lab.environment import HOST_ENV, ROOT_ENV
from dm_isaac_g1.lab.layout import Layout


class Identity(msgspec.Struct, frozen=True):
    """A process that cannot be mistaken for a later one with its number: start time in clock ticks, and this boot."""

    pid: int
    started: int
    boot: str


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When the process started (proc(5), field 22); None where it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name may hold blanks and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def identify(pid: int) -> Identity:
    """Raises ProcessLookupError where there is no such process."""
    started = start_ticks(pid)
    if started is None:
        raise ProcessLookupError(pid)
    return Identity(pid, started, boot_id())


def alive(who: Identity) -> bool:
    return who.boot == boot_id() and start_ticks(who.pid) == who.started


def of_host(layout: Layout, name: str) -> Iterator[int]:
    """Every live process of a host's commands: they carry the host's name and the lab's folder in their environment."""
    wanted = {f"{HOST_ENV}={name}".encode(), f"{ROOT_ENV}={layout.root}".encode()}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            environ = Path(entry.path, "environ").read_bytes().split(b"\0")
            if wanted.issubset(environ) and start_ticks(int(entry.name)) is not None:
                yield int(entry.name)


def end(pids: Iterable[int], *, patience: float) -> int:
    """Ask to end (SIGTERM), wait up to `patience` seconds, then kill. Returns how many there were."""
    started = {pid: start_ticks(pid) for pid in pids}
    left = {pid for pid, ticks in started.items() if ticks is not None}
    count = len(left)
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = {pid for pid in left if start_ticks(pid) == started[pid]}
    return count
