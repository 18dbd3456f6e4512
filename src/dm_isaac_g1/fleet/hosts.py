"""The hosts of a profile, opened when first needed and closed together."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, JobNotFound, UsageError
from dm_isaac_g1.fleet.admission import Admission, Ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.profile import Profile, Role
    from dm_isaac_g1.core.runs import JobInfo
    from dm_isaac_g1.remote.host import Host

#: Seconds to wait for a host to come up before an action on it gives up; connecting itself has shorter limits.
READY = 20.0
#: Lengths of a job id's parts: YYYYmmddTHHMMSS-<name>-<6hex>.
TIME, SUFFIX = 15, 6
#: Stands for the newest job of all hosts.
LAST = "last"


class Hosts:
    """Host by name, each opened once. An async context manager that owns them all.

    `ask`: how to ask the user for the password of a host that takes one.
    """

    def __init__(self, profile: Profile, config: Config | None = None, *, ask: Ask | None = None) -> None:
        self.profile = profile
        self.config = config
        self._admission = Admission(config, ask)
        #: What others write on a host's file systems, bytes a second by device, where the fleet has measured it.
        self.background: dict[str, dict[int, float]] = {}
        self._open: dict[str, Host] = {}
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Hosts:
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._open.clear()
        await self._stack.__aexit__(*exc)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.profile.hosts)

    def check(self, name: str) -> str:
        """The name, if the profile has such a host. Raises UsageError."""
        if name in self.profile.hosts:
            return name
        near = difflib.get_close_matches(name, self.names, 1)
        known = ", ".join(self.names) or "none"
        hint = f"did you mean {near[0]}?" if near else f"hosts there: {known}"
        raise UsageError(f"no host {name!r} in profile {self.profile.name}", fix=hint)

    def name_for(self, name: str | None, role: Role) -> str:
        """The host named, or the profile's host for `role`. Raises UsageError when there is none, or no telling."""
        if name is not None:
            return self.check(name)
        if role == "train" and self.profile.defaults.train_host:
            return self.check(self.profile.defaults.train_host)
        fit = [each for each, host in self.profile.hosts.items() if role in host.roles]
        if not fit:
            raise UsageError(f"no host of profile {self.profile.name} has the role {role}", fix="say which with --host")
        return fit[0]

    async def open(self, name: str) -> Host:
        """The host, connecting in the background. Raises UsageError for a name that is not there."""
        self.check(name)
        async with self._lock:
            if name not in self._open:
                from dm_isaac_g1.remote.host import open_host

                made = self.profile.hosts[name]
                host = open_host(name, made, ssh_config=self.profile.ssh_config, secrets=self._admission.passwords)
                self._open[name] = await self._stack.enter_async_context(host)
            return self._open[name]

    def opened(self, name: str) -> Host:
        """A host that was opened before. Raises KeyError."""
        return self._open[name]

    async def up(self, name: str, timeout: float = READY) -> Host:
        """The host, connected. Raises UsageError, HostUnreachable, HostUntrusted, AuthFailed.

        The user is asked once for what would open it; that time is not counted.
        """
        host = await self.open(name)
        while True:
            try:
                await host.ready(timeout)
                return host
            except AuthFailed as refused:
                if not await self._admission.let_in(host, refused):
                    raise

    async def admit(self) -> None:
        """Ask now for all that hosts still need, before a picture of them is taken."""

        async def knock(name: str) -> None:
            with contextlib.suppress(DmG1Error, TimeoutError):
                await self.up(name)

        if self._admission.asks:
            await asyncio.gather(*map(knock, self.names))

    async def jobs(self, names: Iterable[str] | None = None) -> tuple[list[JobInfo], dict[str, DmG1Error]]:
        """All jobs of the hosts, newest first, and why some hosts did not answer."""
        chosen = list(names) if names is not None else list(self.names)

        async def of(name: str) -> list[JobInfo] | DmG1Error:
            try:
                return await (await self.up(name)).jobs.list()
            except DmG1Error as error:
                return error

        found = dict(zip(chosen, await asyncio.gather(*(of(name) for name in chosen)), strict=True))
        jobs = [job for answer in found.values() if isinstance(answer, list) for job in answer]
        jobs.sort(key=lambda job: job.spec.created, reverse=True)
        return jobs, {name: answer for name, answer in found.items() if isinstance(answer, DmG1Error)}

    async def find_job(self, id: str) -> tuple[Host, JobInfo]:
        """The job of that id (or `short` for it, or LAST) and its host. Raises JobNotFound, UsageError.

        The first host that has the whole id settles it: a host that is away costs nothing then.
        """
        if not id:
            raise UsageError("an empty job id", fix="`dm-g1 train list` shows the jobs there are")
        if id == LAST:
            return await self._newest_job()
        begun: list[JobInfo] = []
        silent: dict[str, DmG1Error] = {}
        asking = [asyncio.ensure_future(self.jobs([name])) for name in self.names]
        try:
            for answer in asyncio.as_completed(asking):
                jobs, errors = await answer
                silent |= errors
                for job in jobs:
                    if job.id == id:
                        return await self.up(job.host), job
                    if short(id, job.id):
                        begun.append(job)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if len(begun) > 1:
            raise UsageError(f"{id!r} stands for {len(begun)} jobs", fix=", ".join(job.id for job in begun[:4]))
        if begun:
            return await self.up(begun[0].host), begun[0]
        if silent and len(silent) == len(self.names):
            raise next(iter(silent.values()))
        raise self._no_job(f"no job {id!r}", silent, "`dm-g1 train list` shows the jobs there are")

    async def _newest_job(self) -> tuple[Host, JobInfo]:
        """The newest job of the hosts that answer. Raises JobNotFound, or why the only host did not answer."""
        jobs, silent = await self.jobs()
        if jobs:
            return await self.up(jobs[0].host), jobs[0]
        if silent and len(silent) == len(self.names):
            raise next(iter(silent.values()))
        raise self._no_job("no job yet", silent, "`dm-g1 train start` starts one")

    def _no_job(self, what: str, silent: Mapping[str, DmG1Error], fix: str) -> JobNotFound:
        asked = ", ".join(name for name in self.names if name not in silent) or "any host"
        unheard = f" ({', '.join(silent)} did not answer)" if silent else ""
        return JobNotFound(f"{what} on {asked}{unheard}", fix=fix)


def short(text: str, id: str) -> bool:
    """Whether `text` may stand for a job's id: its last six digits, or a beginning with all of its time."""
    return id.endswith(f"-{text}") if len(text) == SUFFIX else len(text) >= TIME and id.startswith(text)
