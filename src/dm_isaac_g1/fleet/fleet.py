"""The fleet, live: opens the hosts of a profile and keeps the store's picture of them true.

    async with Fleet(profile, config) as fleet:
        with fleet.store.subscribe() as changes:
            while True:
                topics = await changes.changed()

A host that is away keeps its last picture; its monitors go on where they were when it returns. An exception in a
monitor costs that monitor a pause, nobody else anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.events import Alert, Event, Job
from dm_isaac_g1.core.runs import Diagnosis, JobInfo, JobState
from dm_isaac_g1.fleet import alerts
from dm_isaac_g1.fleet.following import Following
from dm_isaac_g1.fleet.glimpses import Glimpses
from dm_isaac_g1.fleet.hosts import Hosts
from dm_isaac_g1.fleet.keeper import Keeper, expected
from dm_isaac_g1.fleet.monitors.datasets import DatasetMonitor
from dm_isaac_g1.fleet.monitors.deployments import DeploymentMonitor
from dm_isaac_g1.fleet.monitors.disk import DiskMonitor
from dm_isaac_g1.fleet.monitors.hosts import watch_samples, watch_status
from dm_isaac_g1.fleet.monitors.jobs import watch_jobs
from dm_isaac_g1.fleet.store import RunView, Store

if TYPE_CHECKING:
    from types import TracebackType

    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.profile import Profile
    from dm_isaac_g1.remote.host import Host

log = logging.getLogger(__name__)

#: Ended runs that are read without being asked for: the newest so many.
RECENT = 2
#: Seconds between two looks of the alert rules at the picture.
ALERTS_EVERY = 1.0


class Fleet:
    """An async context manager. `only`: the names of the hosts to open, all of the profile's where it is None.

    `hosts`: hosts that somebody else opened and will close.
    """

    def __init__(
        self,
        profile: Profile,
        config: Config | None = None,
        *,
        only: Iterable[str] | None = None,
        recent: int = RECENT,
        hosts: Hosts | None = None,
    ) -> None:
        self.profile = profile
        self.config = config
        self.store = Store()
        self.hosts = hosts or Hosts(profile, config)
        self._owned = hosts is None
        self._names = tuple(self.hosts.check(name) for name in only) if only is not None else self.hosts.names
        self._recent = recent
        self._keeper = Keeper(self._tell)
        self._stack = AsyncExitStack()
        self._following: dict[str, Following] = {}
        self._disks: dict[str, DiskMonitor] = {}
        self._datasets: dict[str, DatasetMonitor] = {}
        #: Of the hosts that serve.
        self._deployments: dict[str, DeploymentMonitor] = {}
        self._diagnoses: dict[str, Diagnosis] = {}
        self._listed: set[str] = set()
        self._focus: str | None = None
        self._glimpses = Glimpses(self._host_of, self.apply, self._diagnosed)

    async def __aenter__(self) -> Fleet:
        await self._stack.__aenter__()
        try:
            if self._owned:
                await self._stack.enter_async_context(self.hosts)
            await self._stack.enter_async_context(self._keeper)
            for name in self._names:
                self._watch(await self.hosts.open(name))
            self._keeper.keep("alerts", self._watch_alerts)
            self._keeper.keep("glimpses", self._glimpses.watch)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def apply(self, event: Event) -> None:
        """Take an event into the picture, an action's as well as a monitor's."""
        self.store.apply(event)
        if isinstance(event, Job):
            self._choose()

    def focus(self, run: str | None) -> None:
        """The run that somebody looks at: it is followed whatever its state."""
        if run != self._focus:
            self._focus = run
            self._choose()

    def in_view(self, runs: Iterable[str]) -> None:
        """The runs whose rows somebody sees: of those that are not followed, the last figures are read once."""
        seen = [self.store.runs[id].job for id in runs if id in self.store.runs and id not in self._following]
        self._glimpses.want(job for job in seen if job.state.ended)

    def open_datasets(self, open_: bool) -> None:
        """Somebody looks at datasets from now on, or nobody does: they are looked at often, or seldom."""
        for monitor in self._datasets.values():
            monitor.open(open_)

    def look_at_datasets(self, host: str | None = None) -> None:
        """Look at datasets now, of one host or of all: something was made or changed there."""
        for name, monitor in self._datasets.items():
            if host is None or name == host:
                monitor.look()

    def near_dataset(self, host: str | None, path: str | None) -> None:
        """The dataset that somebody looks at from near; None: none."""
        for name, monitor in self._datasets.items():
            monitor.want(path if name == host else None)

    def open_deployments(self, open_: bool) -> None:
        """Somebody looks at what serves from now on, or nobody does: it is looked at often, or seldom."""
        for monitor in self._deployments.values():
            monitor.open(open_)

    def look_at_deployments(self, host: str | None = None) -> None:
        """Look at what serves now, on one host or on all: a deploy began, got on or ended there."""
        for name, monitor in self._deployments.items():
            if host is None or name == host:
                monitor.look()

    def _host_of(self, job: JobInfo) -> Host | None:
        view = self.store.hosts.get(job.host)
        up = view is not None and view.status.state == "up" and job.host in self._disks
        return self.hosts.opened(job.host) if up and job.id not in self._following else None

    def caught_up(self, run: str) -> bool:
        """Whether all that a run had to say at first is in the picture."""
        following = self._following.get(run)
        return following is not None and following.caught_up

    def judged(self, host: str) -> bool:
        """Whether the guard has spoken of a host's disks."""
        return host in self._disks and self._disks[host].judged

    async def settled(self, timeout: float = 15.0) -> bool:
        """Wait until the picture is complete: each host answered or is known to be away, its jobs are listed, its
        disks judged, and the runs that are followed are read. False when `timeout` seconds did not do."""
        try:
            async with asyncio.timeout(timeout):
                while not all(self._settled(name) for name in self._names):  # noqa: ASYNC110  many conditions
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self._judge(time.time())
            return False
        await self.judge()
        self._judge(time.time())
        return True

    async def judge(self) -> None:
        """Ask the guard of every host that is up again, now that more is known of its runs."""
        up = [name for name in self._disks if self.store.hosts[name].status.state == "up"]
        answers = await asyncio.gather(*(self._disks[name].judge() for name in up), return_exceptions=True)
        for name, answer in zip(up, answers, strict=True):
            if isinstance(answer, BaseException):
                self._tell(f"{name} disks", answer)

    def _settled(self, name: str) -> bool:
        view = self.store.hosts.get(name)
        if view is None or view.status.state == "connecting":
            return False
        if view.status.state != "up" or view.status.problem:
            return True
        sampled = view.sample is not None and bool(view.sample.gpus or view.sample.gpu_note)
        serving = self._deployments.get(name)
        if serving is not None and not serving.looked:
            return False
        disks = self._disks[name]
        followed = [each for each in self._following.values() if each.job.host == name]
        return sampled and name in self._listed and disks.judged and all(each.caught_up for each in followed)

    # What is watched

    def _watch(self, host: Host) -> None:
        name = host.name
        self.store.apply(host.status)
        disks = self._disks[name] = DiskMonitor(
            host,
            self.store,
            self.profile.defaults.thresholds,
            self.apply,
            measured=partial(self.hosts.background.__setitem__, name),
        )
        self._keeper.keep(f"{name} status", partial(watch_status, host, self.apply))
        self._keeper.keep(f"{name} samples", partial(watch_samples, host, self.apply))
        self._keeper.keep(
            f"{name} jobs",
            partial(watch_jobs, host, self.store.runs, self._diagnoses, self.store.apply, partial(self._list, name)),
        )
        self._keeper.keep(f"{name} disks", disks.watch)
        datasets = self._datasets[name] = DatasetMonitor(host, self.apply)
        self._keeper.keep(f"{name} datasets", datasets.watch)
        self._keeper.keep(f"{name} dataset", datasets.watch_near)
        made = self.profile.hosts[name]
        if "serve" in made.roles:
            serving = self._deployments[name] = DeploymentMonitor(host, made, self.apply)
            self._keeper.keep(f"{name} deployments", serving.watch)

    def _list(self, host: str) -> None:
        """A host's jobs are known, or some of them changed."""
        self._listed.add(host)
        self._choose()

    def _choose(self) -> None:
        """Follow what is to be followed: what runs, what somebody looks at, and the newest that ended."""
        runs = self.store.runs
        for id, following in self._following.items():
            if id in runs:
                following.update(runs[id].job)
        ended = [run for run in runs.values() if run.job.state.ended and run.job.host in self._listed]
        ended.sort(key=lambda run: run.job.spec.created, reverse=True)
        for run in runs.values():
            if not run.job.state.ended:
                self._follow(run)
        if self._focus in runs:
            self._follow(runs[self._focus])
        failed = [run for run in ended if run.job.state is JobState.FAILED and alerts.recent(run, time.time())]
        for run in ended[: self._recent] + failed[: self._recent]:
            self._follow(run)

    def _follow(self, run: RunView) -> None:
        if run.id in self._following or run.job.host not in self._disks:
            return
        name = run.job.host
        following = Following(
            self.hosts.opened(name),
            run.job,
            self._keeper,
            self.apply,
            saved=self._disks[name].look,
            diagnosed=self._diagnosed,
            clock_ahead=partial(self._clock_ahead, name),
        )
        self._following[run.id] = following
        run.followed = time.time()
        following.begin()

    def _diagnosed(self, job: JobInfo, found: Diagnosis) -> None:
        self._diagnoses[job.id] = found
        now = self.store.runs[job.id].job
        self.apply(Job(job=msgspec.structs.replace(now, diagnosis=now.diagnosis or found)))

    def _clock_ahead(self, host: str) -> float:
        """Seconds that the host's clock is ahead of this machine's, as the last sample told it."""
        view = self.store.hosts.get(host)
        return view.sample.t_wall - view.seen if view and view.sample else 0.0

    # Alerts

    async def _watch_alerts(self) -> None:
        while True:
            await asyncio.sleep(ALERTS_EVERY)
            self._judge(time.time())

    def _judge(self, now: float) -> None:
        holds = alerts.evaluate(self.store, self.profile.defaults.thresholds, now)
        ours: dict[str, Alert] = dict(self.store.alerts)
        for event in alerts.changes(ours, holds, now):
            self.store.apply(event)

    def _tell(self, name: str, error: BaseException) -> None:
        if expected(error):
            log.info("%s: %s", name, error)
        else:
            log.error("%s failed and is begun again", name, exc_info=error)
