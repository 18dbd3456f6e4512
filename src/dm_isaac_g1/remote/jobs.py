"""Jobs of one host: start, list, stop, and see them change. A job's folder on the host holds all that is known.

Any console, or none, may come back later: nothing here remembers more than the last answer. What is read comes from
the agent's op "jobs" (`remote.agent_jobs`), what is changed is done by `remote.hands`; a job is run and stopped by
its own supervisor (`remote.supervisor_program`), whether or not anybody is connected.
"""

from __future__ import annotations

import asyncio
import getpass
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.errors import DockerUnavailable, HostUnreachable, JobNotFound, RefusedError, UsageError
from dm_isaac_g1.core.runs import Diagnosis, JobExit, JobInfo, JobSpec, JobState, StopRequest
from dm_isaac_g1.remote import hands
from dm_isaac_g1.remote.clean import clean_tree
from dm_isaac_g1.remote.runtime import Runtime

StopMode = Literal["checkpoint", "interrupt", "terminate", "kill"]
Record = Mapping[str, Any]
# Inside the class, `list` is its method.
list_ = list
Listing = list[JobInfo]

JOB_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[A-Za-z0-9][A-Za-z0-9._-]{0,79}-[0-9a-f]{6}")
_SECRET_NAME = re.compile(r"(^|_)(TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY)S?$", re.IGNORECASE)
#: A folder without a state this long after it appeared is not about to start any more.
STARTING_S = 60.0
#: Files that make a checkpoint complete, where it is not transformers' trainer_state.json alone: GR00T N1.6 copies
#: its configuration after the state, wandb_config.json last.
MARKERS: dict[str, tuple[str, ...]] = {"groot-n1.6": ("trainer_state.json", "wandb_config.json")}
#: torchrun kills its workers itself 30 s after an interrupt; a Python that saves on its way out may need longer.
INTERRUPT_TORCHRUN_S, INTERRUPT_PYTHON_S = 30.0, 120.0
LOST = {
    "reboot": "the host was rebooted",
    "restart": "the container was restarted",
    "process": "its processes are gone and left no exit",
    None: "its supervisor never started",
}


def new_job_id(name: str, now: float) -> str:
    """YYYYmmddTHHMMSS-<name>-<6hex>: sorts by time (UTC), is safe as a file name, and unique."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:40].rstrip("-._") or "job"
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{plain}-{secrets.token_hex(3)}"


def interrupt_wait(argv: Sequence[str]) -> float:
    """Seconds between the interrupt and the next rung of the stop ladder."""
    names = [word.rpartition("/")[2] for word in argv]
    if "torchrun" in names or "torch.distributed.run" in names:
        return INTERRUPT_TORCHRUN_S
    return INTERRUPT_PYTHON_S if any(name.startswith("python") for name in names) else INTERRUPT_TORCHRUN_S


def derive_state(
    *,
    state: Record | None,
    exit: JobExit | None,
    stop: StopRequest | None,
    gone: str | None,
    age: float,
    stop_file: bool = False,
) -> JobState:
    """Where a job is, from what its folder says.

    `gone`: why its processes cannot be there any more (None: they are). `age`: seconds since the folder appeared.
    An exit before any signal of ours is the job's own, even while a stop was being waited for: a full disk during
    the last save is a failure, and the last step of a training a success.
    """
    if exit is not None:
        unknown = exit.code is None and exit.signal is None
        if stop is not None and (exit.signalled or (stop_file and exit.code == 0)):
            return JobState.STOPPED
        if unknown:
            return JobState.LOST
        return JobState.SUCCEEDED if exit.code == 0 else JobState.FAILED
    if state is None:
        return JobState.QUEUED if age < STARTING_S else JobState.LOST
    if gone is not None:
        return JobState.LOST
    return JobState.QUEUED if state.get("state") == "starting" else JobState.RUNNING


def read_record(host: str, id: str, folder: str, record: Record, now: float) -> JobInfo:
    """A job as seen now, from the agent's record. What makes no sense is reported in `diagnosis`, never raised."""
    problems = [str(record["problem"])] if record.get("problem") else []

    def value(key: str, kind: type[Any]) -> Any:
        if record.get(key) is None:
            return None
        try:
            return msgspec.convert(record[key], kind)
        except msgspec.ValidationError as error:
            problems.append(f"{'job' if key == 'spec' else key}.json: {error}")
            return None

    spec = value("spec", JobSpec)
    if spec is not None and spec.id != id:
        problems.append(f"job.json is of another job, {spec.id[:100]!r}")
        spec = None
    state = record.get("state") if isinstance(record.get("state"), dict) else None
    exit, stop = value("exit", JobExit), value("stop", StopRequest)
    gone = record.get("gone")
    where = derive_state(
        state=state,
        exit=exit,
        stop=stop,
        gone=gone,
        age=now - _number(record.get("born"), now),
        stop_file=bool(spec and spec.stop_file),
    )
    diagnosis = None
    if problems:
        diagnosis = Diagnosis(code="malformed", cause=f"the job's folder is damaged: {problems[0]}"[:500])
    elif exit is not None and exit.error:
        diagnosis = Diagnosis(code="start", cause=f"it could not be started: {exit.error}"[:500])
    elif where is JobState.LOST:
        diagnosis = Diagnosis(code="lost", cause=LOST.get(gone, LOST["process"]) if state else LOST[None])
    known = state or {}
    child = known.get("child")
    return JobInfo(
        host=host,
        spec=spec or JobSpec(id=id, name=id, kind="command", argv=(), cwd=""),
        folder=folder,
        state=where,
        started=_number(known.get("started"), None),
        ended=exit.ended if exit else _number(record.get("heartbeat"), None) if where is JobState.LOST else None,
        pid=child if isinstance(child, int) else None,
        exit=exit,
        stop=stop,
        rung=str(known["rung"]) if known.get("rung") and not where.ended else None,
        log_bytes=int(_number(record.get("log_bytes"), 0)),
        restarts=int(_number(known.get("restarts"), 0)),
        diagnosis=diagnosis,
    )


def _number(value: object, default: Any) -> Any:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return value if good else default


class Jobs:
    """The jobs of one host. `ask` is the agent's (`Host.ask`), `root` says where the folders lie (after connecting)."""

    def __init__(
        self,
        host: str,
        runtime: Runtime,
        ask: Callable[..., Awaitable[Any]],
        root: Callable[[], str],
        *,
        python: str = "python3",
    ) -> None:
        self._host = host
        self._runtime = runtime
        self._ask = ask
        self._root = root
        self._python = python
        self._versions: dict[str, str] = {}
        self._known: dict[str, JobInfo] = {}
        self._one_at_a_time = asyncio.Lock()

    async def start(self, spec: JobSpec, *, waits: Mapping[str, float] | None = None) -> JobInfo:
        """Start a job; returns it running (or ended, if it was quick).

        `waits`: other times for the stop ladder (`supervisor_program.PLAN`). Raises UsageError for a spec that makes
        no sense, RefusedError for one that would put a secret on the host, RemoteFailed when it could not be started
        (nothing is left then), HostUnreachable.
        """
        self._check(spec)
        if not spec.client:
            spec = msgspec.structs.replace(spec, client=f"{getpass.getuser()}@{socket.gethostname()}")
        plan = {
            "argv": list(self._runtime.command(spec.argv)),
            "interrupt_s": interrupt_wait(spec.argv),
            **({"markers": list(MARKERS[spec.trainer])} if spec.trainer in MARKERS else {}),
            **(waits or {}),
        }
        await self._do("job_create", {"spec": msgspec.to_builtins(spec), "plan": plan})
        return await self.get(spec.id)

    @staticmethod
    def _check(spec: JobSpec) -> None:
        if not JOB_ID.fullmatch(spec.id):
            raise UsageError(f"{spec.id[:140]!r} is not a job id", fix="make one with new_job_id()")
        if not spec.argv:
            raise UsageError("a job needs a command", where=spec.id)
        if not spec.cwd.startswith("/"):
            raise UsageError(f"the job's folder {spec.cwd!r} is not absolute", where=spec.id)
        for name in spec.env:
            if _SECRET_NAME.search(name):
                raise RefusedError(
                    f"{name} looks like a secret, and a job's settings lie on the host in plain text",
                    where=spec.id,
                    fix="put it where the program on the host reads it itself",
                )

    async def list(self) -> Listing:
        """All jobs of the host, oldest first. A damaged folder is listed with a diagnosis."""
        async with self._one_at_a_time:
            root = self._root()
            answer = await self._ask("jobs", root=root, have=self._versions)
            answer = answer if isinstance(answer, dict) else {}
            now = _number(answer.get("now"), time.time())
            names, fresh = answer.get("ids"), answer.get("jobs")
            ids = [name for name in names if isinstance(name, str)] if isinstance(names, list_) else []
            for raw, record in fresh.items() if isinstance(fresh, dict) else ():
                if isinstance(record, dict):
                    id = str(clean_tree(raw))
                    self._known[raw] = read_record(self._host, id, f"{root}/{id}", clean_tree(record), now)  # type: ignore[arg-type]
                    self._versions[raw] = str(record.get("v"))
            for raw in set(self._known) - set(ids):
                del self._known[raw], self._versions[raw]
            return [self._known[name] for name in ids if name in self._known]

    async def get(self, id: str) -> JobInfo:
        """One job. Raises JobNotFound."""
        for job in await self.list():
            if job.id == id:
                return job
        raise JobNotFound(f"no job {id!r}", where=self._runtime.where, fix="`dm-g1 train list` shows them all")

    async def stop(self, id: str, mode: StopMode, by: str) -> StopRequest:
        """Ask a job to stop, beginning at `mode`'s rung; its supervisor does the rest.

        Returns the request that stands: an earlier one, unless this is harsher. Raises JobNotFound, RefusedError
        when the job has ended by itself.
        """
        answer = await self._do("job_stop", {"id": id, "mode": mode, "by": by})
        return msgspec.convert(answer, StopRequest)

    async def _do(self, op: hands.Op, args: dict[str, Any]) -> Any:
        return await hands.do(self._runtime, op, {"root": self._root(), **args}, python=self._python)

    async def changes(self, interval: float = 1.0) -> AsyncIterator[Listing]:
        """All jobs first, then those that changed (a job whose folder was removed just stops appearing).

        Goes on while the host or its container is away.
        """
        shown: dict[str, JobInfo] | None = None
        while True:
            try:
                now = {job.id: job for job in await self.list()}
            except (HostUnreachable, DockerUnavailable):
                await asyncio.sleep(interval)
                continue
            if shown is None or now != shown:
                yield [job for id, job in now.items() if shown is None or shown.get(id) != job]
                shown = now
            await asyncio.sleep(interval)
