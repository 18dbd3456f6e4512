"""Events: what an action or a monitor reports. A typed value here, one JSON line on the wire.

The JSON schema of these lines is published by `dm-g1 schema`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.columns import Columns
from dm_isaac_g1.core.datasets import DatasetDetail, DatasetSummary
from dm_isaac_g1.core.deployments import Deployment, Step
from dm_isaac_g1.core.forecasts import Forecast
from dm_isaac_g1.core.runs import Checkpoint, JobInfo, MetricPoint, TrainProgress
from dm_isaac_g1.core.samples import HostSample

Severity = Literal["info", "warning", "critical"]
AlertKind = Literal[
    "disk",
    "stall",
    "nan",
    "host-away",
    "host-refused",
    "stuck-clock",
    "temperature",
    "job-failed",
    "gpu",
    "serving",
    "deploy",
]

#: Points in one `metrics` line at most: about a megabyte.
POINTS_A_LINE = 10_000


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Base of all events. `at`: seconds since the epoch, by the clock of whoever reports."""

    at: float = msgspec.field(default_factory=time.time)


class Progress(Event, frozen=True, kw_only=True, tag="progress"):
    """A step of an action: `done` of `total` in `unit` (total None: not known), or a sentence alone."""

    text: str
    done: float | None = None
    total: float | None = None
    unit: str = ""
    #: It is only worth saying while one waits ("Connecting to ..."): no finding, gone with the next.
    transient: bool = False
    #: Of a deploy: the step that it is at.
    step: Step | None = None


class Log(Event, frozen=True, kw_only=True, tag="log"):
    """Lines of a log, in order. `replaced`: the first line takes the place of the last one sent (a progress bar)."""

    host: str
    source: str
    lines: tuple[str, ...]
    replaced: bool = False
    #: Lines left out because the reader was too slow.
    dropped: int = 0
    #: The last line has no end yet: the next event may replace it.
    unfinished: bool = False


class Metrics(Event, frozen=True, kw_only=True, tag="metrics"):
    """New points of a run's curves, and where it is."""

    host: str
    run: str
    points: tuple[MetricPoint, ...]
    #: Where the training is now; None where the source of the points does not say.
    progress: TrainProgress | None = None


class MetricColumns(Event, frozen=True, kw_only=True, tag="metric-columns"):
    """Many points of a run's curves at once, by metric name. Only within this process: `wire` makes `Metrics` of it."""

    host: str
    run: str
    columns: dict[str, Columns]
    progress: TrainProgress | None = None

    def metrics(self) -> Iterator[Metrics]:
        """The same points as `Metrics`, curve by curve, POINTS_A_LINE in each at most; at least one, if empty."""
        points: list[MetricPoint] = []

        def gathered() -> Metrics:
            return Metrics(at=self.at, host=self.host, run=self.run, points=tuple(points), progress=self.progress)

        told = False
        for name, column in self.columns.items():
            for step, value, wall in zip(column.steps, column.values, column.walls, strict=True):
                points.append(MetricPoint(name=name, step=step, value=value, wall=None if wall != wall else wall))
                if len(points) == POINTS_A_LINE:
                    yield gathered()
                    told = True
                    points.clear()
        if points or not told:
            yield gathered()


class Sample(Event, frozen=True, kw_only=True, tag="sample"):
    """A host at one moment."""

    sample: HostSample


class HostStatus(Event, frozen=True, kw_only=True, tag="host"):
    """A host came, went or refused."""

    host: str
    state: Literal["connecting", "up", "away", "refused", "off"]
    since: float
    problem: str | None = None


class Job(Event, frozen=True, kw_only=True, tag="job"):
    """A job as it is now: sent when it appears and whenever it changes."""

    job: JobInfo


class Checkpoints(Event, frozen=True, kw_only=True, tag="checkpoints"):
    """All checkpoints of a run."""

    host: str
    run: str
    checkpoints: tuple[Checkpoint, ...]


class Datasets(Event, frozen=True, kw_only=True, tag="datasets"):
    """All datasets of a host."""

    host: str
    datasets: tuple[DatasetSummary, ...]


class Dataset(Event, frozen=True, kw_only=True, tag="dataset"):
    """One dataset from near."""

    detail: DatasetDetail


class Deployments(Event, frozen=True, kw_only=True, tag="deployments"):
    """What serves on the hosts that serve, each once; those that are not in it are unchanged."""

    deployments: tuple[Deployment, ...]


class Forecasts(Event, frozen=True, kw_only=True, tag="forecasts"):
    """The guard's word on every file system of a host that matters."""

    host: str
    forecasts: tuple[Forecast, ...]


class Alert(Event, frozen=True, kw_only=True, tag="alert"):
    """Something the user should know. The same `key` again updates it; `cleared` ends it."""

    key: str
    kind: AlertKind
    severity: Severity
    host: str
    title: str
    run: str | None = None
    detail: str = ""
    fix: str = ""
    since: float = 0.0
    cleared: bool = False


class Result(Event, frozen=True, kw_only=True, tag="result"):
    """How an action ended, last of its events: a sentence for people, data for scripts."""

    text: str
    data: dict[str, Any] = {}
    #: The process's exit code: the action did its work, and what it was about (a command, a run) may have failed.
    code: int = 0


class Failure(Event, frozen=True, kw_only=True, tag="failure"):
    """An action ended with an error; `code` is the process's exit code."""

    what: str
    where: str | None = None
    fix: str | None = None
    code: int = 1


AnyEvent = (
    Progress
    | Log
    | Metrics
    | Sample
    | HostStatus
    | Job
    | Checkpoints
    | Datasets
    | Dataset
    | Deployments
    | Forecasts
    | Alert
    | Result
    | Failure
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def wire(event: Event) -> Iterator[Event]:
    """What goes over the wire for an event: itself, or the `Metrics` that columns stand for."""
    if isinstance(event, MetricColumns):
        yield from event.metrics()
    else:
        yield event


def encode(event: Event) -> bytes:
    """One JSON line, without its newline. JSON has no NaN: a value that is not a finite number becomes null."""
    return _encoder.encode(event)


def decode(line: bytes | str) -> AnyEvent:
    """The event of one JSON line; null as a point's value is NaN. Raises msgspec.DecodeError or its ValidationError."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError:
        plain = msgspec.json.decode(line)
        for point in plain.get("points", ()) if isinstance(plain, dict) and plain.get("event") == "metrics" else ():
            if isinstance(point, dict) and point.get("value", 0) is None:
                point["value"] = float("nan")
        event: AnyEvent = msgspec.convert(plain, AnyEvent)
        return event
