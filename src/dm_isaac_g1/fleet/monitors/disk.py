"""The disk guard, kept up to date: asked every few seconds, and at once when a checkpoint comes or goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from dm_isaac_g1.core.events import Event, Forecasts
from dm_isaac_g1.core.forecasts import Remedy
from dm_isaac_g1.core.profile import Thresholds
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.background import BackgroundRate
from dm_isaac_g1.finetuning.remedies import freed
from dm_isaac_g1.finetuning.timeline import Writer
from dm_isaac_g1.fleet import guarding
from dm_isaac_g1.fleet.folders import all_folders

if TYPE_CHECKING:
    from dm_isaac_g1.fleet.store import RunView, Store
    from dm_isaac_g1.remote.host import Host

#: Seconds between two looks, and between two searches for what could be freed (which walks all output folders).
EVERY, HELP_EVERY = 10.0, 60.0
#: The same while a run is young: its speed is only being learned, and what was said a moment ago is wrong already.
EVERY_YOUNG, YOUNG = 2.0, 120.0


class DiskMonitor:
    """Watches the file systems of one host. `judged`: the guard has spoken at least once.

    `measured` is called with what others write there, bytes a second by device, whenever that was measured.
    """

    def __init__(
        self,
        host: Host,
        store: Store,
        thresholds: Thresholds,
        apply: Callable[[Event], None],
        *,
        measured: Callable[[dict[int, float]], None] = lambda rates: None,
    ) -> None:
        self.judged = False
        self._measured = measured
        self._host, self._store, self._thresholds, self._apply = host, store, thresholds, apply
        self._asked = asyncio.Event()
        self._helps: dict[int, tuple[Remedy, ...]] = {}
        self._rates: dict[int, BackgroundRate] = {}
        self._helped = 0.0

    def look(self) -> None:
        """Look again now: something was saved or removed."""
        self._asked.set()
        self._helped = 0.0

    async def watch(self) -> None:
        """Look for ever. Raises what looking raises; call again to go on."""
        while True:
            self._asked.clear()
            await self._host.ready()
            await self.judge()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause(time.time())):
                    await self._asked.wait()

    async def judge(self) -> None:
        """Ask the guard now. Raises what asking the host raises."""
        now = time.time()
        runs = {run.id: run for run in self._running()}
        earlier = guarding.speeds(self._here())
        outputs = {id: run.job.spec.output_dir for id, run in runs.items() if run.job.spec.output_dir}
        disks, lies = await guarding.look_at_disks(self._host, outputs)
        writers: dict[int, list[Writer]] = {}
        for id, disk in lies.items():
            writer = guarding.writer(runs[id], now, earlier.get(runs[id].job.spec.trainer))
            if writer is not None:
                writers.setdefault(disk.dev, []).append(writer)
        others = self._others(disks, lies, runs)
        said = guarding.judge(self._host.name, disks, writers, self._thresholds, background=others)
        if guarding.needs_help(said):
            await self._find_help(now, writers)
            said = guarding.judge(
                self._host.name, disks, writers, self._thresholds, background=others, helps=self._helps
            )
        known = self._store.hosts.get(self._host.name)
        if known is None or known.forecasts != said:
            self._apply(Forecasts(host=self._host.name, forecasts=said))
        self.judged = True

    def _pause(self, now: float) -> float:
        young = any(0 <= now - (run.job.started or 0.0) < YOUNG for run in self._running())
        return EVERY_YOUNG if young else EVERY

    def _here(self) -> list[RunView]:
        return [run for run in self._store.runs.values() if run.job.host == self._host.name]

    def _running(self) -> list[RunView]:
        return [run for run in self._here() if not run.job.state.ended]

    def _others(self, disks: Iterable[Disk], lies: Mapping[str, Disk], runs: Mapping[str, RunView]) -> dict[int, float]:
        """How fast others fill each file system, bytes a second."""
        view = self._store.hosts.get(self._host.name)
        if view is None or view.sample is None:
            return {}
        t_mono = view.sample.t_mono + time.time() - view.seen
        for disk in disks:
            here = [runs[id] for id, where in lies.items() if where.dev == disk.dev]
            own = sum(freed(each) for run in here for each in run.checkpoints)
            saving = any(run.progress.phase == "saving" or any(c.writing for c in run.checkpoints) for run in here)
            self._rates.setdefault(disk.dev, BackgroundRate()).add(t_mono, disk.avail, own, saving=saving)
        rates = {dev: rate.rate() for dev, rate in self._rates.items() if rate.known}
        self._measured(rates)
        return rates

    async def _find_help(self, now: float, writers: Mapping[int, list[Writer]]) -> None:
        if now - self._helped < HELP_EVERY:
            return
        jobs = [run.job for run in self._here()]
        self._helps = await guarding.what_helps(self._host, await all_folders(self._host, jobs), writers)
        self._helped = now
