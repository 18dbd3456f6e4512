"""Jobs, runs, metrics and checkpoints as values: what stands in a job's folder and goes over the wire."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec


class JobState(StrEnum):
    """Where a job is. FAILED carries a diagnosis; LOST: its process is gone and left no exit (host rebooted)."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)


class SavePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a trainer saves: what the disk guard needs to know before the first save.

    `checkpoint_bytes` and `weights_bytes` are estimates (None: unknown). `final_save`: the weights are written
    once more at the end, at the root of the output folder.
    """

    save_steps: int
    max_steps: int
    #: transformers' save_total_limit; None or 0 keeps all.
    limit: int | None = None
    checkpoint_bytes: int | None = None
    weights_bytes: int | None = None
    final_save: bool = True
    #: A callback also writes checkpoint-N-best-* folders.
    best_saves: bool = False


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """job.json: all that is known when a job starts. Never holds a secret: `env` is for plain settings."""

    id: str
    name: str
    kind: Literal["train", "command"]
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str] = {}
    trainer: str | None = None
    recipe: dict[str, Any] | None = None
    output_dir: str | None = None
    #: TensorBoard folder, where the trainer writes one.
    events_dir: str | None = None
    #: The trainer saves and ends when this file appears (relative to the job's folder); None: it cannot.
    stop_file: str | None = None
    save: SavePlan | None = None
    created: float = 0.0
    user: str = ""
    client: str = ""
    #: The guard said no and the user said --force.
    forced: str | None = None
    #: What the job is for, where that is more than its command: which release a server serves, by which deploy.
    labels: dict[str, str] = {}


class JobExit(msgspec.Struct, frozen=True, kw_only=True):
    """exit.json, written by the supervisor: beside, then renamed."""

    code: int | None
    signal: int | None
    ended: float
    #: Free bytes for an ordinary user on the output's file system when the job ended (None: unknown).
    avail: int | None = None
    #: Processes of the job that the supervisor had to kill after the main one ended.
    reaped: int = 0
    #: The stop ladder had sent a signal before the job ended: its exit is ours, not its own.
    signalled: bool = False
    #: Why the command could not be started.
    error: str | None = None


class StopRequest(msgspec.Struct, frozen=True, kw_only=True):
    """stop.json: who wants the job to stop, and how gently it begins."""

    mode: Literal["checkpoint", "interrupt", "terminate", "kill"]
    requested: float
    by: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed, for people: a stable code, the cause, the line that shows it, and what to do."""

    code: str
    cause: str
    evidence: str = ""
    fix: str = ""


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A job as seen now. `rung` is the stop ladder's current step while a stop is under way."""

    host: str
    spec: JobSpec
    folder: str
    state: JobState
    started: float | None = None
    ended: float | None = None
    pid: int | None = None
    exit: JobExit | None = None
    stop: StopRequest | None = None
    rung: str | None = None
    log_bytes: int = 0
    #: How often it crashed and was started again, where it should never end.
    restarts: int = 0
    diagnosis: Diagnosis | None = None

    @property
    def id(self) -> str:
        return self.spec.id


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One logged value. `step` is the trainer's global step, `wall` seconds since the epoch (None: unknown)."""

    name: str
    step: int
    value: float
    wall: float | None = None


class TrainProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a training is by its own log: the bar's step, the phase, and whether it has become NaN."""

    step: int | None = None
    max_steps: int | None = None
    #: "starting", "caching", "training", "saving", "finished" or "failed" (finetuning.trainlog.Phase).
    phase: str = "starting"
    #: The first step whose metrics were NaN, also the NaN that prints as 0.0, and whether the last ones are.
    nan_step: int | None = None
    nan_now: bool = False


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that a trainer saved. Sizes are allocated bytes (st_blocks), hard links counted once."""

    path: str
    step: int
    size: int
    complete: bool
    mtime: float
    #: Files with the optimizer's state are there: training can go on from it.
    full: bool = True
    best: bool = False
    #: Size or mtime still moves: being written now.
    writing: bool = False
    weights: int = 0
    inodes: int = 0
    #: Of `size`, bytes in files that have hard links outside the folder: deleting it does not free them.
    shared: int = 0

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]
