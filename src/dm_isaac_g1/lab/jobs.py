"""Jobs on a lab host when the lab goes down: told who stopped them, so that they are not taken for failed."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from dm_isaac_g1.core.runs import StopRequest
from dm_isaac_g1.lab import processes
from dm_isaac_g1.lab.files import write_whole
from dm_isaac_g1.lab.layout import Layout

#: Set by a job's supervisor (remote/supervisor_program.py) for every process of the job.
_ID, _FOLDER = b"DM_G1_JOB=", b"DM_G1_JOB_DIR="
STOPPED_BY = "dm-g1 lab down"


def processes_of(layout: Layout, name: str) -> int:
    """How many processes of a host belong to jobs."""
    count = 0
    for pid in processes.of_host(layout, name):
        with contextlib.suppress(OSError):
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            count += any(entry.startswith(_ID) for entry in environ)
    return count


def ask_to_stop(layout: Layout, name: str) -> list[str]:
    """Write a stop request for every job with a live process; their ids. The processes are not touched here."""
    folders: dict[str, Path] = {}
    for pid in processes.of_host(layout, name):
        with contextlib.suppress(OSError):
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found = {key: e.removeprefix(key).decode() for e in environ for key in (_ID, _FOLDER) if e.startswith(key)}
            if len(found) == 2:  # seen as the job sees it: its file system may be its own
                folders[found[_ID]] = Path(f"/proc/{pid}/root{found[_FOLDER]}")
    request = msgspec.json.encode(StopRequest(mode="terminate", requested=time.time(), by=STOPPED_BY))
    for folder in folders.values():
        with contextlib.suppress(OSError):  # a full disk, or it just ended
            if not (folder / "stop.json").exists():
                write_whole(folder / "stop.json", request)
    return sorted(folders)
