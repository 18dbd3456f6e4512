"""The fleet without a screen: printed once, again and again, or as a stream of JSON lines."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from dm_isaac_g1.cli import views
from dm_isaac_g1.cli.globals import Globals
from dm_isaac_g1.cli.performing import run
from dm_isaac_g1.cli.serving_views import serving
from dm_isaac_g1.cli.table import table
from dm_isaac_g1.cli.writing import JsonWriter
from dm_isaac_g1.core.events import Event, Sample
from dm_isaac_g1.core.units import UNKNOWN, duration, speed

if TYPE_CHECKING:
    from dm_isaac_g1.fleet.fleet import Fleet
    from dm_isaac_g1.fleet.store import RunView, Store

#: Seconds that the first picture may take: a host that is away says so within its connect timeout.
FIRST = 20.0


def show_fleet(chosen: Globals, *, watch: bool, interval: float) -> int:
    """Print the fleet; with `watch` until interrupted. The exit code: 4 or 5 where no host could be asked."""
    return run(_show(chosen, watch, interval))


async def _show(chosen: Globals, watch: bool, interval: float) -> int:
    from dm_isaac_g1.cli.asking import asker
    from dm_isaac_g1.fleet.fleet import Fleet
    from dm_isaac_g1.fleet.hosts import Hosts

    profile, config = chosen.load()
    async with (
        Hosts(profile, config, ask=asker(json=chosen.json)) as hosts,
        Fleet(profile, config, hosts=hosts) as fleet,
    ):
        await hosts.admit()
        await fleet.settled(FIRST)
        if chosen.json:
            await _stream(fleet, watch, interval)
        else:
            await _print(fleet, watch, interval)
        return _code(fleet.store)


async def _print(fleet: Fleet, watch: bool, interval: float) -> None:
    while True:
        now = time.time()
        if watch:
            click.echo(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)))
        for line in lines(fleet.store, now):
            click.echo(line)
        if not watch:
            return
        click.echo("")
        await asyncio.sleep(interval)


async def _stream(fleet: Fleet, watch: bool, interval: float) -> None:
    from dm_isaac_g1.fleet.snapshot import snapshot

    out = JsonWriter()
    with fleet.store.subscribe(events=True) as changes:
        for event in snapshot(fleet.store):
            out.write(event)
        while watch:
            await asyncio.sleep(interval)
            await changes.changed()
            for event in thinned(changes.take_events()):
                out.write(event)


def thinned(events: list[Event]) -> list[Event]:
    """The events in order, of each host's samples only the last."""
    last = {event.sample.host: event for event in events if isinstance(event, Sample)}
    return [event for event in events if not isinstance(event, Sample) or event is last[event.sample.host]]


def _code(store: Store) -> int:
    """0 where any host answered, or there is none; else why the first did not."""
    states = [host.status.state for host in store.hosts.values()]
    if not states or "up" in states:
        return 0
    return 5 if "refused" in states else 4


def lines(store: Store, now: float) -> list[str]:
    """The picture as plain text: hosts, what serves, runs, checkpoints, the guard, alerts."""
    samples = {host.name: host.sample for host in store.hosts.values() if host.sample is not None}
    newest = sorted(store.runs.values(), key=lambda run: run.job.spec.created, reverse=True)
    blocks = [
        views.hosts([host.status for host in store.hosts.values()], samples, now),
        serving([host.deployment for host in store.hosts.values() if host.deployment is not None], now),
        runs(newest, now),
        checkpoints(newest, now),
        [line for host in store.hosts.values() for line in views.forecasts(host.forecasts)],
        [views.alert(alert) for alert in store.alerts.values()],
    ]
    out: list[str] = []
    for block in filter(None, blocks):
        out += [*([""] if out else []), *block]
    return out


def runs(listed: list[RunView], now: float, limit: int = 20) -> list[str]:
    """A line for each of the newest runs."""
    from dm_isaac_g1.fleet.runs import picture

    rows = []
    for run_ in listed[:limit]:
        at = picture(run_, now)
        rows.append(
            (
                run_.id,
                run_.job.host,
                at.phase,
                f"{at.step if at.step is not None else UNKNOWN}/{at.max_steps or UNKNOWN}",
                number(at.loss),
                speed(at.rate),
                duration(at.eta),
            )
        )
    more = [f"… and {len(listed) - limit} older"] if len(listed) > limit else []
    return [*table(("RUN", "HOST", "PHASE", "STEP", "LOSS", "SPEED", "ETA"), rows), *more]


def checkpoints(listed: list[RunView], now: float) -> list[str]:
    from dm_isaac_g1.core.events import Checkpoints

    found = [Checkpoints(host=run_.job.host, run=run_.id, checkpoints=run_.checkpoints) for run_ in listed]
    return views.checkpoints(found, now)


def number(value: float | None) -> str:
    """A loss as people compare it."""
    return UNKNOWN if value is None else f"{value:.4g}"
