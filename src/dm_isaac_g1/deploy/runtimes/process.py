"""A model served by a supervised process, where the host's commands run: on it, or in the profile's container.

Each server is a job (`remote.jobs`) with a supervisor that outlives us, starts it again when it crashes, and stops it
beginning with SIGTERM, so that the request in flight is answered. What a job serves stands in its labels.
"""

from __future__ import annotations

import asyncio
import posixpath
import time
from typing import Any

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, RefusedError, RemoteFailed
from dm_isaac_g1.core.profile import DockerRuntime
from dm_isaac_g1.core.runs import JobInfo, JobSpec, JobState
from dm_isaac_g1.deploy.runtimes import mounts, switching
from dm_isaac_g1.deploy.runtimes.served import (
    MODEL,
    PORT,
    RELEASE,
    ROLE,
    STOP_S,
    TXN,
    Home,
    Launch,
    Served,
    State,
    Switched,
)
from dm_isaac_g1.remote import around, engine, hands
from dm_isaac_g1.remote.clean import clean_bytes
from dm_isaac_g1.remote.host import Host
from dm_isaac_g1.remote.jobs import new_job_id

#: Seconds until a crashed server is started again; doubled by each crash.
RESTART_S = 1.0
#: Jobs of servers that ended, kept for their logs.
ENDED_KEPT = 5
WORDS = 20
LOOPBACK = "127.0.0.1"
#: Seconds that a server gets to end once it was told to, with those until we hear of it.
ENDS_S = STOP_S + 30


class ProcessRuntime:
    """See `served.ServeRuntime`."""

    kind = "process"
    title = "process"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._port = host.profile.port
        self._serve = host.profile.serve

    async def home(self) -> Home:
        models = self._host.path("models")
        container = await self._container()
        if container is None:
            return Home(self._host.host_runtime, models)
        return Home(self._host.host_runtime, mounts.outside(mounts.read(container), models, where=self._host.name))

    async def around(self) -> around.Around:
        return await around.around(self._host.runtime, self._port)

    async def check(self, launch: Launch) -> tuple[str, ...]:
        problems = []
        found = await self.current()
        if found is not None and found.foreign:
            problems.append(_foreign(found))
        container = await self._container()
        if container is not None:
            try:
                mounts.inside(mounts.read(container), launch.release.path, where=self._host.name)
            except RefusedError as error:
                problems.append(error.line())
            if engine.address(container) and self._serve.bind == LOOPBACK:
                problems.append(
                    "the container has a network of its own, and nobody outside would reach a server on its "
                    f"{LOOPBACK}; set `serve: {{bind: 0.0.0.0}}` for the host"
                )
        return tuple(problems)

    async def current(self) -> Served | None:
        jobs = await self._jobs("main")
        listening = (await self.around()).listening
        if listening:
            mine = next((job for job in jobs if job.id in {each.job for each in listening}), None)
            if mine is not None:
                return await self._served(mine, "serving")
            first = listening[0]
            return Served(
                id=f"pid {first.pid}" if first.pid else "",
                title=first.title,
                port=self._port,
                address=await self._address(first.address),
                foreign=True,
            )
        if jobs:
            return await self._served(jobs[-1], "loading")
        return None

    async def start_candidate(self, launch: Launch) -> Served:
        known = await self.candidate(launch.txn)
        if known is not None and known.state != "down":
            return known
        spare = (await self.around()).spare
        if spare is None:
            raise RefusedError(f"no free port above {self._port} for the candidate", where=self._host.name)
        spec = await self._spec(launch, "candidate", spare)
        job = await self._host.jobs.start(spec, waits={"terminate_s": STOP_S})
        return await self._served(job, "loading")

    async def candidate(self, txn: str) -> Served | None:
        jobs = [job for job in await self._jobs("candidate", ended=True) if job.spec.labels.get(TXN) == txn]
        if not jobs:
            return None
        return await self._served(jobs[-1], "down" if jobs[-1].state.ended else "loading")

    async def last_words(self, id: str) -> str:
        for job in await self._host.jobs.list():
            if job.id == id:
                try:
                    said = await self._host.files.read(f"{job.folder}/log", offset=-4096)
                except DmG1Error:
                    return ""
                lines = [clean_bytes(line) for line in said.data.splitlines() if line.strip()]
                return "\n".join(lines[-WORDS:])
        return ""

    async def drop_candidate(self, txn: str) -> None:
        jobs = [job for job in await self._jobs("candidate", ended=True) if job.spec.labels.get(TXN) == txn]
        for job in jobs:
            if not job.state.ended:
                await self._host.jobs.stop(job.id, "terminate", f"deploy {txn}")
                await self._ended(job.id)
        await self._remove(jobs)

    async def switch(self, launch: Launch) -> Switched:
        begun, ended = await switching.outcome(self._there(), launch.txn, "switch")
        if ended is not None:
            return ended
        now = None if begun else await self.current()
        if now is not None and now.foreign:
            raise RefusedError(_foreign(now), where=self._host.name, fix="stop it there, then deploy again")
        old = [job.id for job in await self._jobs("main")]
        spec = await self._spec(launch, "main", self._port)
        plan = {
            **self._plan(launch.txn),
            "old": old,
            "back": now.id if now is not None else (old[-1] if old else None),
            "new": {"spec": msgspec.to_builtins(spec), "plan": self._job_plan(spec)},
        }
        return await self._perform(launch.txn, "switch", plan)

    async def restore(self, txn: str) -> Switched:
        # What served is for the switch's own record to say: a job that ended may have been rejected, or stopped by
        # its user.
        undoes = posixpath.basename(switching.folder(self._there(), txn, "switch"))
        return await self._perform(txn, "restore", {**self._plan(txn), "undoes": undoes})

    async def settle(self, txn: str, keep: int) -> None:
        """Nothing runs beside what serves; of those that ended, the last few keep their logs."""
        await self.drop_candidate(txn)
        ended = [job for job in await self._jobs("main", ended=True) if job.state.ended]
        await self._remove(ended[: -max(keep, ENDED_KEPT)])

    # What a server is as a job.

    async def _spec(self, launch: Launch, role: str, port: int) -> JobSpec:
        container = await self._container()
        path = launch.release.path
        if container is not None:
            path = mounts.inside(mounts.read(container), path, where=self._host.name)
        command = launch.command(path, port, self._serve.bind)
        return JobSpec(
            id=new_job_id(f"serve-{launch.release.name}", time.time()),
            name=f"serve {launch.release.id}",
            kind="command",
            argv=tuple(command.argv),
            cwd=command.cwd or self._host.path("workspace"),
            env=dict(command.env),
            client=f"deploy {launch.txn}",
            labels={
                RELEASE: launch.release.id,
                TXN: launch.txn,
                ROLE: role,
                PORT: str(port),
                MODEL: path,
            },
        )

    def _job_plan(self, spec: JobSpec) -> dict[str, Any]:
        return {
            "argv": list(self._host.runtime.command(spec.argv)),
            "terminate_s": STOP_S,
            "restart_s": RESTART_S,
        }

    def _plan(self, txn: str) -> dict[str, Any]:
        return {
            "driver": "process",
            "root": self._host.path("jobs"),
            "address": _reachable(self._serve.bind),
            "port": self._port,
            "load_s": self._serve.load_s,
            "stop_s": STOP_S,
            "by": f"deploy {txn}",
        }

    async def _perform(self, txn: str, what: switching.What, plan: dict[str, Any]) -> Switched:
        longest = 2 * (self._serve.load_s + plan["stop_s"])
        return await switching.perform(self._there(), txn, what, plan, longest=longest)

    def _there(self) -> Home:
        """Where the exchange is performed: where the servers run, whose processes it must see, beside their jobs.

        The models may be mounted there read-only.
        """
        return Home(self._host.runtime, self._host.path("jobs"))

    async def _container(self) -> engine.Json | None:
        """The container that commands run in; None: there is none."""
        runtime = self._host.profile.runtime
        if not isinstance(runtime, DockerRuntime):
            return None
        return await self._host.engine().inspect(runtime.docker.container) or {}

    async def _jobs(self, role: str, *, ended: bool = False) -> list[JobInfo]:
        """Our servers' jobs, oldest first; those of the profile's port, for those that are no candidates."""
        jobs = [
            job
            for job in await self._host.jobs.list()
            if job.spec.labels.get(ROLE) == role
            and (role != "main" or job.spec.labels.get(PORT) == str(self._port))
            and (ended or job.state in (JobState.RUNNING, JobState.QUEUED))
        ]
        return sorted(jobs, key=lambda job: job.started or 0.0)

    async def _served(self, job: JobInfo, state: State) -> Served:
        labels = job.spec.labels
        return Served(
            id=job.id,
            title=self.title,
            port=int(labels.get(PORT) or self._port),
            address=await self._address(self._serve.bind),
            state=state,
            release=labels.get(RELEASE, ""),
            path=labels.get(MODEL, ""),
            since=job.started,
            txn=labels.get(TXN, ""),
            restarts=job.restarts,
        )

    async def _address(self, bind: str) -> str:
        """Where the host itself reaches what binds there: in a container on a network of its own, by its address."""
        address = _reachable(bind)
        if address != LOOPBACK:
            return address
        return engine.address(await self._container() or {}) or address

    async def _ended(self, id: str) -> None:
        try:
            async with asyncio.timeout(ENDS_S):
                async for jobs in self._host.jobs.changes(0.1):
                    if any(job.id == id and job.state.ended for job in jobs):
                        return
        except TimeoutError:
            what = f"the server {id} was told to stop and still runs"
            raise RemoteFailed(what, where=self._host.name, fix="end its processes there") from None

    async def _remove(self, jobs: list[JobInfo]) -> None:
        if jobs:
            await hands.do(
                self._host.runtime,
                "remove",
                {"paths": [job.folder for job in jobs], "roots": [self._host.path("jobs")]},
            )


def _reachable(bind: str) -> str:
    """An address at which a server that binds to `bind` is reached on its own machine."""
    return {"0.0.0.0": LOOPBACK, "::": "::1", "*": LOOPBACK}.get(bind, bind)  # noqa: S104  compared, not bound


def _foreign(found: Served) -> str:
    return f"port {found.port} belongs to {found.title}, which no deploy put there"
