"""What a test of a server found, as plain values, and the JSON file that keeps it."""

from __future__ import annotations

import json
import math
import os
import secrets
from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.errors import DmG1Error

#: How many steps of a trajectory count. n1.6, gr00t/eval/open_loop_eval.py: no more than it has. n1.5,
#: gr00t/utils/eval.py of eval_policy: as many as asked for; past the end the last row is held.
Definition = Literal["n1.6", "n1.5"]


class EvaluationError(DmG1Error):
    """A server, or a dataset, with which there is nothing to measure."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says it takes and gives: names of groups, and moments relative to now."""

    state: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    language: str | None = None
    action: tuple[str, ...] = ()
    #: Steps of action in one answer.
    horizon: int = 0
    state_steps: tuple[int, ...] = (0,)
    video_steps: tuple[int, ...] = (0,)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A server at one look. `model` and `kind` are known of servers of ours only. Milliseconds."""

    #: HOST:PORT as the user knows it.
    server: str
    dialect: str
    ping_ms: float
    takes: Taken
    #: Group -> values, as the first answer had them.
    gives: dict[str, int] = {}
    #: Steps in that answer.
    steps: int = 0
    #: The first get_action: it may load, compile and allocate.
    first_ms: float | None = None
    model: str | None = None
    kind: str | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """get_action under load. Milliseconds, of calls that were answered; None: none was."""

    clients: int
    seconds: float
    calls: int
    #: Calls that were answered, a second.
    per_second: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    mean: float | None = None
    least: float | None = None
    most: float | None = None
    #: What went wrong -> how often.
    errors: dict[str, int] = {}

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


class JointError(msgspec.Struct, frozen=True, kw_only=True):
    """One value of the action over time: recorded against predicted, in the dataset's own units."""

    group: str
    name: str
    mse: float
    mae: float
    #: The largest absolute error.
    worst: float


class Trajectory(msgspec.Struct, frozen=True, kw_only=True):
    """One episode. `mse` and `mae` over all its steps and values together."""

    episode: int
    length: int
    steps: int
    mse: float
    mae: float
    joints: tuple[JointError, ...]


class OpenLoop(msgspec.Struct, frozen=True, kw_only=True):
    """Predicted against recorded actions. `mse` and `mae`: the plain mean of the trajectories', however long each."""

    dataset: str
    definition: Definition
    #: At most so many of each trajectory; and of each answer, before the next observation is sent.
    steps: int
    action_horizon: int
    groups: tuple[str, ...]
    mse: float
    mae: float
    trajectories: tuple[Trajectory, ...]
    #: Mean of the trajectories'; `worst` is the largest.
    joints: tuple[JointError, ...]


def plain(value: Any) -> Any:
    """`value` as JSON has it: structs as objects, what is not finite as null."""
    return _finite(msgspec.to_builtins(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def write_json(path: Path, data: Any) -> None:
    """`data` in `path`: beside, synced, then renamed. Raises EvaluationError."""
    text = json.dumps(plain(data), indent=2, allow_nan=False) + "\n"
    write_whole(path, text.encode())


def write_whole(path: Path, data: bytes) -> None:
    """A whole file or none. Raises EvaluationError."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise EvaluationError(f"cannot be written: {error.strerror}", where=str(path)) from None
