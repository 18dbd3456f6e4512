"""A run's event file and log from a host's disk through SSH into the store, as the fleet's own monitors read them.

    python _through.py EVENT_FILE LOG

Prints one JSON line: CPU seconds of this process (the console's side), and the longest that its event loop was held up.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.profile import Host, Paths
from dm_isaac_g1.core.runs import JobInfo, JobSpec, JobState
from dm_isaac_g1.fleet.monitors.event_files import EventFilesMonitor
from dm_isaac_g1.fleet.monitors.log import LogMonitor
from dm_isaac_g1.fleet.store import Store
from dm_isaac_g1.remote.host import open_host
from remote import sshd

ID = "20260101T000000-bench-000000"


async def read(store: Store, monitor: Any, caught_up: Callable[[], bool]) -> dict[str, Any]:
    """Follow until all is in the store."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.005)
            late.append(time.monotonic() - begun - 0.005)

    watching = asyncio.create_task(watch())
    cpu, begun = time.process_time(), time.monotonic()
    following = asyncio.create_task(monitor.follow())
    while not caught_up():  # noqa: ASYNC110  whatever says so
        await asyncio.sleep(0.02)
    cpu, wall = time.process_time() - cpu, time.monotonic() - begun
    for task in (watching, following):
        task.cancel()
    await asyncio.gather(watching, following, return_exceptions=True)
    points = {name: len(curve) for name, curve in store.runs[ID].curves.by_name.items()}
    return {"cpu": cpu, "wall": wall, "held_up_ms": 1000 * max(late), "points": points}


async def main(client: Path, folder: Path, events: Path, log: Path) -> dict[str, Any]:
    (folder / "runs").mkdir()
    (folder / "runs" / events.name).symlink_to(events)
    (folder / "job").mkdir()
    (folder / "job" / "log").symlink_to(log)
    spec = JobSpec(id=ID, name="bench", kind="train", argv=("true",), cwd="/", events_dir=str(folder / "runs"))
    job = JobInfo(host="bench", spec=spec, folder=str(folder / "job"), state=JobState.RUNNING)
    store, ended = Store(), asyncio.Event()
    profile = Host(ssh="bench", paths=Paths(workspace=str(folder), caches=str(folder)), python=sys.executable)
    async with open_host("bench", profile, ssh_config=str(client)) as host:
        await host.ready(30)
        store.apply(ev.Job(job=job))
        files = EventFilesMonitor(host, job, store.apply, ended=ended)
        found = {"events": await read(store, files, lambda: files.caught_up)}
        store.runs.clear()
        store.apply(ev.Job(job=job))
        lines = LogMonitor(host, job, store.apply, ended=ended)
        found["log"] = await read(store, lines, lines.caught_up.is_set)
    return found | {"rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="dm-g1-bench-") as temporary, sshd(Path(temporary)) as alias:
        print(json.dumps(asyncio.run(main(alias, Path(temporary), *map(Path, sys.argv[1:])))))
