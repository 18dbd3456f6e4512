"""What is followed of one run: its log, its event files, its checkpoints; and once it failed, why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from dm_isaac_g1.core.events import Event
from dm_isaac_g1.core.runs import Diagnosis, JobInfo, JobState
from dm_isaac_g1.fleet.monitors.checkpoints import CheckpointMonitor
from dm_isaac_g1.fleet.monitors.event_files import EventFilesMonitor
from dm_isaac_g1.fleet.monitors.log import LogMonitor

if TYPE_CHECKING:
    from dm_isaac_g1.fleet.keeper import Keeper
    from dm_isaac_g1.remote.host import Host


class Following:
    """One run, followed by monitors that the keeper keeps. A run that has ended is read once to its end.

    `saved` is called when a checkpoint came, went or is being written; `diagnosed` with the cause of a failure.
    """

    def __init__(
        self,
        host: Host,
        job: JobInfo,
        keeper: Keeper,
        apply: Callable[[Event], None],
        *,
        saved: Callable[[], None],
        diagnosed: Callable[[JobInfo, Diagnosis], None],
        clock_ahead: Callable[[], float],
    ) -> None:
        self.job = job
        self._host = host
        self._ended = asyncio.Event()
        self._diagnosed = diagnosed
        self._names: list[str] = []
        self._keeper = keeper
        self.checkpoints: CheckpointMonitor | None = None
        if job.spec.output_dir is not None:
            self.checkpoints = CheckpointMonitor(host, job, apply, ended=self._ended, saved=saved)
        self.log = LogMonitor(host, job, apply, ended=self._ended, saving=self._look, clock_ahead=clock_ahead)
        self.events: EventFilesMonitor | None = None
        if job.spec.events_dir is not None:
            self.events = EventFilesMonitor(host, job, apply, ended=self._ended)
        self.update(job)

    def begin(self) -> None:
        """Start the monitors."""
        self._keep("log", self._read_log)
        if self.events is not None:
            self._keep("events", self.events.follow)
        if self.checkpoints is not None:
            self._keep("checkpoints", self.checkpoints.watch)

    def update(self, job: JobInfo) -> None:
        """The job as it is now."""
        self.job = job
        if job.state.ended:
            self._ended.set()

    @property
    def finished(self) -> bool:
        """Everything was read, and nothing more will come."""
        return self._ended.is_set() and not any(name in self._keeper for name in self._names)

    @property
    def caught_up(self) -> bool:
        """All that there was to read at first has been read."""
        if self._ended.is_set():
            return self.finished
        return (
            self.log.caught_up.is_set()
            and (self.checkpoints is None or self.checkpoints.looked)
            and (self.events is None or self.events.caught_up)
        )

    def _keep(self, what: str, work: Callable[[], object]) -> None:
        name = f"{self.job.id} {what}"
        self._names.append(name)
        self._keeper.keep(name, work)  # type: ignore[arg-type]

    def _look(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.look()

    async def _read_log(self) -> None:
        await self.log.follow()
        job = self.job
        if job.state is not JobState.FAILED or job.diagnosis is not None:
            return
        from dm_isaac_g1.finetuning.diagnosis import diagnose

        found = diagnose(self.log.tail(), job.exit)
        if found is not None:
            self._diagnosed(job, found)
