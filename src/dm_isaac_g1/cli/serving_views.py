"""What serves where as plain text: a line for each host that serves."""

from __future__ import annotations

from collections.abc import Iterable

from dm_isaac_g1.cli.table import table
from dm_isaac_g1.core.deployments import Deployment
from dm_isaac_g1.core.units import UNKNOWN, duration


def serving(deployments: Iterable[Deployment], now: float) -> list[str]:
    """A table of hosts, and under it what is wrong or not finished."""
    rows, notes = [], []
    for each in deployments:
        traffic = each.traffic
        rows.append(
            (
                f"{each.host}:{each.port}",
                each.state,
                each.current.id if each.current is not None else UNKNOWN,
                duration(float(round(max(0.0, now - each.since)))) if each.since else UNKNOWN,
                f"{traffic.per_second:.1f}/s" if traffic is not None else UNKNOWN,
                _milliseconds(traffic.p50_ms if traffic is not None else None),
                _milliseconds(traffic.p99_ms if traffic is not None else None),
                str(each.clients) if each.clients is not None else UNKNOWN,
            )
        )
        problem = each.problem or (each.health.problem if each.health is not None else None)
        if problem:
            notes.append(f"{each.host}: {problem}")
        if each.unfinished is not None:
            notes.append(
                f"{each.host}: a deploy of {each.unfinished.release} stands at its step {each.unfinished.step}"
            )
    return [*table(("SERVES", "STATE", "RELEASE", "SINCE", "REQUESTS", "P50", "P99", "CLIENTS"), rows), *notes]


def _milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f} ms"
