"""What a lab host's jobs use, as /proc tells: the load and memory that the simulated GPU shows.

A process counts as one of the GPU's when it belongs to the host (its environment says so) and has torch's library
or ONNX Runtime's mapped: that is what would hold the GPU on the real machine.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LIBRARIES = (b"libtorch", b"onnxruntime_pybind")


class GpuProcess(NamedTuple):
    """`ticks`: CPU time so far in clock ticks; `memory`: resident MiB."""

    pid: int
    name: str
    ticks: int
    memory: int


class Watch:
    """Finds the host's GPU processes; what it learned of a pid is kept while that pid lives."""

    def __init__(self, host: str, root: str) -> None:
        self._wanted = {f"DM_G1_LAB={host}".encode(), f"DM_G1_LAB_ROOT={root}".encode()}
        self._strangers: set[int] = set()
        self._known: set[int] = set()

    def look(self) -> list[GpuProcess]:
        """All of them now, by pid."""
        pids = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208  start-up time counts
        self._strangers &= pids
        self._known &= pids
        return [p for pid in sorted(pids - self._strangers) if self._ours(pid) and (p := _read(pid)) is not None]

    def _ours(self, pid: int) -> bool:
        if pid in self._known:
            return True
        environ = _bytes(pid, "environ")
        if environ is None or not self._wanted.issubset(environ.split(b"\0")):
            # A process that is between fork and exec has its parent's environment, a kernel thread has none.
            if environ:
                self._strangers.add(pid)
            return False
        maps = _bytes(pid, "maps") or b""
        if any(library in maps for library in _LIBRARIES):
            self._known.add(pid)
            return True
        return False


def cpu_seconds(before: dict[int, int], now: list[GpuProcess]) -> float:
    """CPU time that the processes used since `before` ({pid: ticks}); a process that is new began at nothing."""
    return sum(max(0, p.ticks - before.get(p.pid, p.ticks)) for p in now) / _TICKS


def _read(pid: int) -> GpuProcess | None:
    stat, statm, command = _bytes(pid, "stat"), _bytes(pid, "statm"), _bytes(pid, "cmdline")
    if not stat or not statm:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    name = (command or b"").split(b"\0")[0].decode("utf-8", "replace") or "python3"
    return GpuProcess(pid, name, int(fields[11]) + int(fields[12]), int(statm.split()[1]) * _PAGE >> 20)


def _bytes(pid: int, what: str) -> bytes | None:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:  # noqa: PTH123  pathlib's import doubles our start-up time
            return file.read()
    except OSError:
        return None
