"""What was put into service on a host before, and what one learns from it: where a rollback goes, how long things take.

Pure. The entries are the lines of the host's deploys.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dm_isaac_g1.core.deployments import HistoryEntry, Outcome, Release
from dm_isaac_g1.deploy.record import Record

#: Transfers below it say nothing of the line: starting them takes longer.
WORTH = 20_000_000
#: Bytes a second assumed where none was measured: a gigabit line, 118 MB/s, with SSH in it.
ASSUMED_RATE = 100e6


def entry(record: Record, outcome: Outcome, *, now: float, outage_s: float | None, reason: str | None) -> HistoryEntry:
    """The line of a deploy that has ended."""
    return HistoryEntry(
        id=record.id,
        at=now,
        what="rollback" if record.what == "rollback" else "resume" if record.resumed else "deploy",
        release=record.release.id,
        previous=record.previous.id if record.previous else None,
        outcome=outcome,
        outage_s=None if outage_s is None else round(outage_s, 3),
        seconds=round(max(0.0, now - record.began), 3),
        bytes_sent=record.bytes_sent,
        copy_s=record.copy_s,
        load_s=record.load_s,
        by=record.by,
        reason=reason,
    )


def before(history: Sequence[HistoryEntry], releases: Iterable[Release], current: str | None) -> Release | None:
    """The release that served before `current`, as far as it is still there. `history`: newest first."""
    there = {release.id: release for release in releases}
    done = [each for each in history if each.outcome == "done"]
    last = next(
        (place for place, each in enumerate(done) if each.release == current), 0 if current is None else len(done)
    )
    for each in done[last:]:
        for id in (each.release, each.previous):
            if id is not None and id != current and id in there:
                return there[id]
    return None


def rate(history: Iterable[HistoryEntry]) -> float | None:
    """Bytes a second of the newest transfer that was worth measuring."""
    for each in history:
        if each.copy_s and each.bytes_sent and each.bytes_sent >= WORTH:
            return each.bytes_sent / each.copy_s
    return None


def load_s(history: Iterable[HistoryEntry], releases: Iterable[Release], kind: str, size: int) -> float | None:
    """Seconds that the newest model of that kind and about that size took to load; None: none was measured."""
    there = {release.id: release for release in releases}
    for each in history:
        known = there.get(each.release)
        if each.load_s is None or known is None or known.kind != kind:
            continue
        if size / 2 <= max(known.bytes, 1) <= size * 2:
            return each.load_s
    return None
