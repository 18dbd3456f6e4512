"""A host without a network: real files on this machine through the agent's own questions, jobs and samples by hand."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.core import profile as profiles
from dm_isaac_g1.core.events import HostStatus
from dm_isaac_g1.core.runs import Checkpoint, JobExit, JobInfo, JobSpec, JobState, SavePlan
from dm_isaac_g1.core.samples import Disk, Gpu, HostSample, Memory
from dm_isaac_g1.remote.agent_questions import OPS
from dm_isaac_g1.remote.files import FileChunk, FileStat, Found, Position
from dm_isaac_g1.remote.wire import DatasetRows

GB = 10**9


def sample(host: str = "ws", seq: int = 0, **more: Any) -> HostSample:
    """A healthy sample; `gpu` replaces fields of its GPU."""
    gpu = Gpu(index=0, name="NVIDIA RTX PRO 6000", util=50.0, temp_c=60.0, sm_mhz=2000.0, sm_max_mhz=2600.0)
    gpu = msgspec.structs.replace(gpu, **more.pop("gpu", {}))
    given = {
        "t_mono": time.monotonic(),
        "t_wall": time.time(),
        "gpus": (gpu,),
        "gpu_state": "ok",
        "memory": Memory(total=64 * GB, available=32 * GB, free=GB),
    }
    return HostSample(host=host, seq=seq, **(given | more))


def spec(id: str = "20261120T120000-run-0a0a0a", **more: Any) -> JobSpec:
    given = {"name": "run", "kind": "train", "argv": ("true",), "cwd": "/", "created": 1.0}
    return JobSpec(id=id, **(given | more))


def job(id: str = "20261120T120000-run-0a0a0a", *, host: str = "ws", folder: str = "/nowhere", **more: Any) -> JobInfo:
    state = more.pop("state", JobState.RUNNING)
    inside = {key: more.pop(key) for key in ("name", "output_dir", "events_dir", "save", "created") if key in more}
    given: dict[str, Any] = {"started": time.time(), "ended": time.time() if state.ended else None}
    if state is JobState.FAILED:
        given["exit"] = JobExit(code=1, signal=None, ended=time.time())
    return JobInfo(host=host, spec=spec(id, **inside), folder=folder, state=state, **(given | more))


PLAN = SavePlan(save_steps=100, max_steps=1000, limit=2, checkpoint_bytes=30_000_000, weights_bytes=12_000_000)


def ask(op: str, *args: Any) -> Any:
    """What the agent answers."""
    return OPS[op](*args)


class FakeFiles:
    """Files of this machine. `reads` counts the bytes that `follow` gave, by path; `pieces` what `read` gave."""

    def __init__(self) -> None:
        self.reads: dict[str, int] = {}
        self.pieces: list[tuple[str, int]] = []
        self.fail: Exception | None = None
        self.disk: Disk | None = None
        #: How often datasets were looked at, and of how many the texts were told.
        self.looks = self.texts = 0

    def _check(self) -> None:
        if self.fail is not None:
            raise self.fail

    async def stat(self, path: str) -> FileStat | None:
        self._check()
        found = ask("stat", path)
        return msgspec.convert(found, FileStat) if found else None

    async def find(self, path: str, pattern: str, depth: int = 3) -> list[Found]:
        self._check()
        return msgspec.convert(ask("find", path, pattern, depth), list[Found])

    async def list(self, path: str) -> Any:
        return [msgspec.defstruct("Entry", ["name", "kind"])(each["name"], each["kind"]) for each in ask("list", path)]

    async def read(self, path: str, offset: int = 0, size: int = 65536) -> FileChunk:
        self._check()
        said = ask("read", path, offset, size)
        data = base64.b64decode(said["data"])
        self.pieces.append((path, len(data)))
        return self._chunk(data, said)

    @staticmethod
    def _chunk(data: bytes, said: dict[str, Any], restarted: bool = False) -> FileChunk:
        at = Position(dev=said["dev"], inode=said["inode"], offset=said["offset"])
        return FileChunk(data=data, position=at, size=said["size"], restarted=restarted)

    async def follow(
        self, path: str, *, start: Position | None = None, from_end: int | None = None
    ) -> AsyncIterator[FileChunk]:
        offset = start.offset if start else 0
        while True:
            self._check()
            found = ask("stat", path)
            restarted = found is not None and found["size"] < offset
            if restarted:
                offset = 0
            if found and found["size"] > offset:
                said = ask("read", path, offset, 65536)
                data = base64.b64decode(said["data"])
                offset = said["offset"]
                self.reads[path] = self.reads.get(path, 0) + len(data)
                yield self._chunk(data, said, restarted)
            else:
                await asyncio.sleep(0.01)

    async def checkpoints(self, folder: str, *, ended: bool = False) -> tuple[Checkpoint, ...]:
        self._check()
        if not Path(folder).is_dir():
            return ()
        names = Checkpoint.__struct_fields__
        rows = ask("checkpoints", folder, ended)
        return tuple(Checkpoint(**{name: row[name] for name in names if name in row}) for row in rows)

    async def datasets(self, folder: str, known: Any = {}) -> DatasetRows:  # noqa: B006
        self._check()
        self.looks += 1
        stamps = {path: row.known for path, row in known.items() if row.texts is not None}
        answer = msgspec.convert(ask("datasets", folder, stamps), DatasetRows)
        self.texts += sum(row.texts is not None for row in answer.rows)
        return answer

    async def disks(self, paths: dict[str, str]) -> tuple[Disk, ...]:
        self._check()
        if self.disk is not None:
            return (msgspec.structs.replace(self.disk, paths=tuple(paths)),)
        return tuple(msgspec.convert(row, Disk) for row in ask("disks", paths))


class FakeJobs:
    """Jobs by hand: `put` one, and whoever watches sees it."""

    def __init__(self) -> None:
        self.all: dict[str, JobInfo] = {}
        self._news: asyncio.Event = asyncio.Event()

    def put(self, job: JobInfo) -> None:
        self.all[job.id] = job
        self._news.set()

    async def list(self) -> Any:
        return list(self.all.values())

    async def changes(self, interval: float = 1.0) -> AsyncIterator[Any]:
        while True:
            self._news.clear()
            yield list(self.all.values())
            await self._news.wait()


class FakeHost:
    """Up from the beginning, unless told otherwise."""

    def __init__(self, root: Path, name: str = "ws", *, state: str = "up") -> None:
        self.name, self.root = name, root
        self.profile = profiles.Host(ssh=name, roles=("train",))
        self.status = HostStatus(host=name, state=state, since=time.time() - 60, problem=None)  # type: ignore[arg-type]
        self.files, self.jobs = FakeFiles(), FakeJobs()
        self._statuses: asyncio.Queue[HostStatus] = asyncio.Queue()
        self._samples: asyncio.Queue[HostSample] = asyncio.Queue()
        self.sampled = 0

    async def __aenter__(self) -> FakeHost:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def ready(self, timeout: float | None = None) -> None:
        pass

    def path(self, which: str) -> str:
        return str(self.root) if which == "workspace" else str(self.root / which)

    def say(self, state: str) -> None:
        self.status = HostStatus(host=self.name, state=state, since=time.time())  # type: ignore[arg-type]
        self._statuses.put_nowait(self.status)

    def give(self, sample: HostSample) -> None:
        self._samples.put_nowait(sample)

    async def statuses(self) -> AsyncIterator[HostStatus]:
        yield self.status
        while True:
            yield await self._statuses.get()

    async def samples(self) -> AsyncIterator[HostSample]:
        while True:
            yield await self._samples.get()
            self.sampled += 1


def new_job(root: Path, id: str = "20261120T120000-run-0a0a0a", log: bytes = b"", **more: Any) -> JobInfo:
    """A job whose folder and log are there."""
    folder = root / "jobs" / id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log").write_bytes(log)
    return job(id, folder=str(folder), **more)


def checkpoint(folder: Path, step: int, size: int = 20_000, *, complete: bool = True) -> Path:
    """A checkpoint folder as a trainer leaves it."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"w" * size)
    (path / "optimizer.pt").write_bytes(b"o" * size)
    if complete:
        (path / "trainer_state.json").write_text("{}")
    return path
