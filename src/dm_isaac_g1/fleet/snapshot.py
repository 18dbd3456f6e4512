"""The live picture as events: what a script that reads JSON lines needs to build the same picture."""

from __future__ import annotations

from collections.abc import Iterator

from dm_isaac_g1.core.columns import Columns
from dm_isaac_g1.core.events import (
    Checkpoints,
    Datasets,
    Deployments,
    Event,
    Forecasts,
    Job,
    MetricColumns,
    Metrics,
    Sample,
)
from dm_isaac_g1.core.runs import MetricPoint
from dm_isaac_g1.fleet.curves import Curves
from dm_isaac_g1.fleet.store import RunView, Store


def snapshot(store: Store) -> Iterator[Event]:
    """Hosts, jobs, last points, checkpoints, forecasts, datasets, what serves, and alerts, in that order."""
    for host in store.hosts.values():
        yield host.status
        if host.sample is not None:
            yield Sample(at=host.seen, sample=host.sample)
    for run in sorted(store.runs.values(), key=lambda each: each.job.spec.created, reverse=True):
        yield Job(job=run.job)
        if run.curves.by_name:
            yield Metrics(host=run.job.host, run=run.id, points=last_points(run.curves), progress=run.progress)
        if run.checkpoints:
            yield Checkpoints(host=run.job.host, run=run.id, checkpoints=run.checkpoints)
    for host in store.hosts.values():
        if host.forecasts:
            yield Forecasts(host=host.name, forecasts=host.forecasts)
        if host.datasets is not None:
            yield Datasets(host=host.name, datasets=host.datasets)
    serving = tuple(host.deployment for host in store.hosts.values() if host.deployment is not None)
    if serving:
        yield Deployments(deployments=serving)
    yield from store.alerts.values()


def last_points(curves: Curves) -> tuple[MetricPoint, ...]:
    """The newest point of each curve."""
    return tuple(
        _point(name, curve.steps[-1], curve.values[-1], curve.walls[-1])
        for name, curve in curves.by_name.items()
        if curve
    )


def all_points(run: RunView) -> MetricColumns:
    """Every point of every curve, and where the run is: a copy, as columns."""
    columns = {
        name: Columns(curve.steps[:], curve.values[:], curve.walls[:]) for name, curve in run.curves.by_name.items()
    }
    return MetricColumns(host=run.job.host, run=run.id, columns=columns, progress=run.progress)


def _point(name: str, step: int, value: float, wall: float) -> MetricPoint:
    return MetricPoint(name=name, step=step, value=value, wall=None if wall != wall else wall)
