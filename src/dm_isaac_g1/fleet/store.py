"""The live picture: one store fed by events, read by the console and the command line.

`Store.apply` is the only way in. Readers subscribe and are told which topics changed since they last looked; a
burst of 50,000 log lines is one such change. Nothing here does I/O or knows the screen.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.datasets import DatasetDetail, DatasetSummary
from dm_isaac_g1.core.deployments import Deployment, Traffic
from dm_isaac_g1.core.forecasts import Forecast
from dm_isaac_g1.core.runs import Checkpoint, JobInfo, TrainProgress
from dm_isaac_g1.core.samples import HostSample
from dm_isaac_g1.fleet.curves import Curves
from dm_isaac_g1.fleet.logs import LogBuffer

#: Samples kept for the history bars: ten minutes at one a second.
HISTORY = 600
#: Looks at a disk kept, and seconds between two of them at least: an hour. Disks of a host that are remembered.
DISK_HISTORY, DISK_EVERY, DISKS = 360, 10.0, 16
#: Looks at a server's traffic kept: twenty minutes while its room is open.
SERVED = 240
#: Moves of a run's bar kept, for its speed and for noticing that it stands still.
TICKS = 256


@dataclass(slots=True)
class HostView:
    """A host as last seen. `sample` stays when the host goes away; `status.state` says it is old."""

    name: str
    status: ev.HostStatus
    sample: HostSample | None = None
    seen: float = 0.0
    #: When it last came back after having been away; 0: it was never away.
    returned: float = 0.0
    gpu_history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    memory_history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    vram_history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    cpu_history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    #: Used share in percent by device, newest last, and the host's time of the last look.
    disk_history: dict[int, deque[float]] = field(default_factory=dict)
    disks_seen: float | None = None
    forecasts: tuple[Forecast, ...] = ()
    #: When the guard said so: what it says of times counts from then.
    judged_at: float = 0.0
    #: None: they were not looked at yet.
    datasets: tuple[DatasetSummary, ...] | None = None
    #: What serves there; None: it was not looked at yet, or the host serves nothing.
    deployment: Deployment | None = None
    #: What its server said of its requests, and when, for each look that heard it, the newest last.
    traffic_history: deque[tuple[float, Traffic]] = field(default_factory=lambda: deque(maxlen=SERVED))

    def serve(self, deployment: Deployment, at: float) -> None:
        """Take in what serves, and what its server says of its requests."""
        self.deployment = deployment
        if deployment.traffic is not None:
            self.traffic_history.append((at, deployment.traffic))

    def take(self, sample: HostSample, now: float) -> None:
        """Take a sample in, and its figures into the histories."""
        self.sample, self.seen = sample, now
        gpu = sample.gpus[0] if sample.gpus else None
        if gpu is not None and gpu.util is not None:
            self.gpu_history.append(gpu.util)
        if gpu is not None and gpu.mem_used is not None and gpu.mem_total:
            self.vram_history.append(100 * gpu.mem_used / gpu.mem_total)
        if sample.cpu is not None:
            self.cpu_history.append(sample.cpu)
        if sample.memory:
            self.memory_history.append(100 * sample.memory.used / max(1, sample.memory.total))
        # A host that was started anew counts its seconds from the beginning.
        since = None if self.disks_seen is None else sample.t_mono - self.disks_seen
        if sample.disks and (since is None or not 0 <= since < DISK_EVERY):
            self.disks_seen = sample.t_mono
            before, self.disk_history = self.disk_history, {}
            for disk in sample.disks[:DISKS]:
                past = self.disk_history[disk.dev] = before.get(disk.dev) or deque(maxlen=DISK_HISTORY)
                past.append(100 * (disk.total - disk.avail) / max(1, disk.total))


@dataclass(slots=True)
class RunView:
    """A job, and for a training its curves, checkpoints and log."""

    job: JobInfo
    curves: Curves = field(default_factory=Curves)
    log: LogBuffer = field(default_factory=LogBuffer)
    checkpoints: tuple[Checkpoint, ...] = ()
    progress: TrainProgress = field(default_factory=TrainProgress)
    #: (seconds since the epoch, step) whenever the bar was seen to move, newest last.
    ticks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=TICKS))
    #: When the phase was last seen to change.
    phase_since: float = 0.0
    #: When we began to read its log (seconds since the epoch); 0: we have not.
    followed: float = 0.0

    @property
    def id(self) -> str:
        return self.job.id

    def advance(self, progress: TrainProgress, at: float) -> None:
        """Take in where the training is, as seen at `at`."""
        if progress.step is not None and progress.step != self.progress.step:
            self.ticks.append((at, progress.step))
        if progress.phase != self.progress.phase or not self.phase_since:
            self.phase_since = at
        self.progress = progress


class Store:
    """Hosts, runs, alerts and forecasts as they are now."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostView] = {}
        self.runs: dict[str, RunView] = {}
        self.alerts: dict[str, ev.Alert] = {}
        #: Datasets that were looked at from near, by host and path.
        self.details: dict[tuple[str, str], DatasetDetail] = {}
        self._subscriptions: set[Subscription] = set()

    def apply(self, event: ev.Event) -> None:
        """Take one event into the picture and mark what it changed."""
        topics = self._take(event)
        for subscription in self._subscriptions:
            subscription.mark(topics, event)

    def subscribe(self, *, events: bool = False) -> Subscription:
        """A subscription to changed topics; with `events` also to each event itself, for JSON lines."""
        subscription = Subscription(self, keep=events)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    def _take(self, event: ev.Event) -> Iterable[str]:
        match event:
            case ev.Sample(sample=sample):
                self._host(sample.host).take(sample, time.time())
                return (f"host:{sample.host}",)
            case ev.HostStatus(host=name):
                host = self._host(name)
                if event.state == "up" and host.status.state != "up" and host.sample is not None:
                    host.returned = event.at
                host.status = event
                return (f"host:{name}", "hosts")
            case ev.Forecasts(host=name, forecasts=forecasts):
                host = self._host(name)
                host.forecasts, host.judged_at = forecasts, event.at
                return (f"disk:{name}",)
            case ev.Datasets(host=name, datasets=datasets):
                self._host(name).datasets = datasets
                there = {each.path for each in datasets}
                for key in [key for key in self.details if key[0] == name and key[1] not in there]:
                    del self.details[key]
                return ("datasets",)
            case ev.Dataset(detail=detail):
                self.details[detail.host, detail.path] = detail
                return ("dataset",)
            case ev.Deployments(deployments=deployments):
                for deployment in deployments:
                    self._host(deployment.host).serve(deployment, event.at)
                return ("deployments",)
            case ev.Job(job=job):
                run = self.runs.get(job.id)
                if run is None:
                    self.runs[job.id] = RunView(job)
                    return (f"run:{job.id}", "runs")
                run.job = job
                return (f"run:{job.id}", "runs")
            case ev.Metrics(run=id, points=points):
                if (run := self.runs.get(id)) is not None:
                    # Only a log tells the progress too, and its times are rough; event files tell points alone.
                    run.curves.extend(points, rough=event.progress is not None)
                    if event.progress is not None:
                        run.advance(event.progress, event.at)
                return (f"run:{id}", f"curves:{id}") if points else (f"run:{id}",)
            case ev.MetricColumns(run=id, columns=columns):
                if (run := self.runs.get(id)) is not None:
                    for name, each in columns.items():
                        run.curves.extend_columns(name, each.steps, each.values, each.walls)
                    if event.progress is not None:
                        run.advance(event.progress, event.at)
                return (f"run:{id}", f"curves:{id}")
            case ev.Checkpoints(run=id, checkpoints=checkpoints):
                if (run := self.runs.get(id)) is not None:
                    run.checkpoints = checkpoints
                return (f"run:{id}", f"checkpoints:{id}")
            case ev.Log(source=id):
                if (run := self.runs.get(id)) is not None:
                    run.log.extend(event)
                return (f"log:{id}",)
            case ev.Alert(key=key):
                if event.cleared:
                    self.alerts.pop(key, None)
                else:
                    self.alerts[key] = event
                return ("alerts",)
        return ()

    def _host(self, name: str) -> HostView:
        if name not in self.hosts:
            self.hosts[name] = HostView(name, ev.HostStatus(host=name, state="connecting", since=time.time()))
        return self.hosts[name]


class Subscription:
    """What changed since the last look."""

    def __init__(self, store: Store, *, keep: bool) -> None:
        self._store = store
        self._topics: set[str] = set()
        self._events: list[ev.Event] | None = [] if keep else None
        self._wake = asyncio.Event()

    def mark(self, topics: Iterable[str], event: ev.Event) -> None:
        self._topics.update(topics)
        if self._events is not None:
            self._events.append(event)
        self._wake.set()

    async def changed(self) -> frozenset[str]:
        """Wait for a change; all topics that changed since the last call."""
        await self._wake.wait()
        self._wake.clear()
        topics, self._topics = frozenset(self._topics), set()
        return topics

    def take_events(self) -> list[ev.Event]:
        """The events since the last call (subscriptions with `events=True`)."""
        taken, self._events = self._events or [], []
        return taken

    def close(self) -> None:
        self._store.unsubscribe(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
