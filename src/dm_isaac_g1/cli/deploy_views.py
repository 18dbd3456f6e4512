"""What deploys look like as plain text: a plan, and what was deployed before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from dm_isaac_g1.cli.table import table
from dm_isaac_g1.core.deployments import HistoryEntry, Release
from dm_isaac_g1.core.units import UNKNOWN, duration, size


def shown(action: str, data: Mapping[str, Any]) -> list[str]:
    """What a result shows before its sentence. Raises ValueError, TypeError for data that makes no sense."""
    if action == "deploy.start":
        return [str(line) for line in data["lines"]] if data.get("dry_run") else []
    entries = msgspec.convert(data["history"], tuple[HistoryEntry, ...])
    releases = msgspec.convert(data["releases"], tuple[Release, ...])
    now = time.time()
    blocks = [history(entries, now), kept(releases, data.get("current"), now)]
    return [line for block in blocks if block for line in ([""] if block is not blocks[0] else []) + block]


def history(entries: tuple[HistoryEntry, ...], now: float) -> list[str]:
    """A line for each deploy, newest first, and why those that failed did."""
    rows, reasons = [], []
    for each in entries:
        rows.append(
            (
                f"{duration(max(0.0, now - each.at))} ago",
                each.what,
                each.release,
                each.outcome,
                duration(each.outage_s) if each.outage_s is not None else UNKNOWN,
                duration(each.seconds),
                size(each.bytes_sent) if each.bytes_sent else UNKNOWN,
                each.by,
            )
        )
        if each.reason:
            reasons.append(f"{each.release} ({each.outcome}): {each.reason}")
    head = ("WHEN", "WHAT", "RELEASE", "ENDED", "OUTAGE", "TOOK", "SENT", "BY")
    return [*table(head, rows, right=frozenset({4, 5, 6})), *reasons]


def kept(releases: tuple[Release, ...], current: Any, now: float) -> list[str]:
    """The releases on the host; a rollback can go to each."""
    rows = [
        (
            f"{each.id} *" if each.id == current else each.id,
            each.kind,
            str(each.step) if each.step is not None else UNKNOWN,
            size(each.bytes),
            f"{duration(max(0.0, now - each.created))} ago",
            each.source or UNKNOWN,
        )
        for each in releases
    ]
    return table(("ON THE HOST", "KIND", "STEP", "SIZE", "COPIED", "FROM"), rows, right=frozenset({2, 3}))
