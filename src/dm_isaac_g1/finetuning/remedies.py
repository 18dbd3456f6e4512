"""What could be freed on a full file system, ranked: bytes that removal really gives back, and what is lost by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dm_isaac_g1.core import units
from dm_isaac_g1.core.forecasts import Forecast, Remedy
from dm_isaac_g1.core.runs import Checkpoint
from dm_isaac_g1.finetuning.checkpoints import broken, in_rotation_order, resumable
from dm_isaac_g1.finetuning.timeline import Writer, sizes

_RISK = {"none": 0, "low": 1, "high": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaimable:
    """Something that another part found: an unused revision in the Hub's cache, dangling images of Docker."""

    kind: str
    title: str
    bytes: int
    path: str | None = None


def remedies(
    running: Sequence[Writer] = (),
    ended: Sequence[tuple[str, Sequence[Checkpoint]]] = (),
    *,
    hf_cache: Iterable[Reclaimable] = (),
    docker: Iterable[Reclaimable] = (),
    in_service: Iterable[str] = (),
) -> tuple[Remedy, ...]:
    """All that could be freed on the file system, least risk first, then most bytes.

    `running`: the runs that save there; `ended`: (run, its checkpoints) of those that no longer do. `in_service`:
    paths of checkpoints that a deployment uses: never offered.
    """
    served = set(in_service)
    found: list[Remedy] = []
    for writer in running:
        found += _of_running(writer, served)
    for run, checkpoints in ended:
        found += _of_ended(run, [c for c in checkpoints if c.path not in served])
    for each in hf_cache:
        found.append(Remedy(kind="hf-cache", title=each.title, bytes=each.bytes, risk="low", path=each.path))
    for each in docker:
        found.append(Remedy(kind="docker", title=each.title, bytes=each.bytes, risk="low", path=each.path))
    useful = (r for r in found if r.bytes > 0)
    return tuple(sorted(useful, key=lambda r: (_RISK[r.risk], -r.bytes, r.title)))


def enough(word: Forecast, offered: Sequence[Remedy]) -> tuple[Remedy, ...]:
    """The first of the offered remedies that together free what the failing save lacks; empty where all do not."""
    taken: list[Remedy] = []
    left = word.missing
    for remedy in offered:
        if left <= 0:
            break
        taken.append(remedy)
        left -= remedy.bytes
    return tuple(taken) if left <= 0 else ()


def freed(checkpoint: Checkpoint) -> int:
    """Bytes that deleting the folder gives back: files with hard links elsewhere stay."""
    return max(0, checkpoint.size - checkpoint.shared)


def _of_running(writer: Writer, served: set[str]) -> list[Remedy]:
    found = [_broken(writer.run, c) for c in broken(writer.checkpoints, running=True)]
    there = [c for c in in_rotation_order(writer.checkpoints) if c.complete and not c.writing and c.path not in served]
    known = sizes(writer)
    limit = writer.plan.limit
    keeps = limit if limit and limit > 0 else None
    if known and (keeps is None or keeps > 1):
        later = max(0, len(there) - 1)
        title = f"{writer.run}: keep the newest checkpoint only" + (f" instead of {keeps}" if keeps else "")
        found.append(Remedy(kind="lower-limit", title=title, bytes=sum(freed(c) for c in there[:later]), risk="high"))
    keep = max((c for c in there if resumable(c)), key=lambda c: c.step, default=None)
    for checkpoint in there:
        if checkpoint is not keep and keep is not None:
            found.append(_old(writer.run, checkpoint, "high", "checkpoint"))
    return found


def _of_ended(run: str, checkpoints: Sequence[Checkpoint]) -> list[Remedy]:
    """Of a run that ended: its broken folders, all but its last checkpoint, and that one's optimizer state."""
    found = [_broken(run, c) for c in broken(checkpoints)]
    whole = [c for c in in_rotation_order(checkpoints) if c.complete and not c.writing]
    for checkpoint in whole[:-1]:
        found.append(_old(run, checkpoint, "low", "old-run"))
    for checkpoint in whole[-1:]:
        optimizer = checkpoint.size - checkpoint.weights - checkpoint.shared
        if checkpoint.full and checkpoint.weights and optimizer > 0:
            title = f"{run}: optimizer state of its last checkpoint ({checkpoint.name}); it stays servable"
            found.append(Remedy(kind="weights-only", title=title, bytes=optimizer, risk="high", path=checkpoint.path))
    return found


def _broken(run: str, checkpoint: Checkpoint) -> Remedy:
    title = f"{run}: incomplete {checkpoint.name}, of no use to anyone"
    return Remedy(kind="quarantine", title=title, bytes=freed(checkpoint), risk="none", path=checkpoint.path)


def _old(run: str, checkpoint: Checkpoint, risk: str, kind: str) -> Remedy:
    linked = f" ({units.size(checkpoint.shared)} more are linked elsewhere and stay)" if checkpoint.shared else ""
    return Remedy(
        kind="old-run" if kind == "old-run" else "checkpoint",
        title=f"{run}: {checkpoint.name}{linked}",
        bytes=freed(checkpoint),
        risk="low" if risk == "low" else "high",
        path=checkpoint.path,
    )
