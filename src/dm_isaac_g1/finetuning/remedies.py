"""What could be freed on a full file system, ranked: bytes that removal really gives back, and what is lost by it.

Removal means deletion: a broken folder that is only set aside (renamed) frees nothing until it is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dm_isaac_g1.core import units
from dm_isaac_g1.core.forecasts import Forecast, Remedy
from dm_isaac_g1.core.runs import Checkpoint
from dm_isaac_g1.finetuning.checkpoints import Sizes, broken, deleted_next, in_rotation_order, resumable
from dm_isaac_g1.finetuning.timeline import Writer, sizes

_PLANNED = ("lower-limit", "weights-only")
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
        if (
            remedy.path is None
            and any(t.path is None and t.kind in _PLANNED for t in taken)
            and remedy.kind in _PLANNED
        ):
            continue  # two ways to save less free the same bytes
        taken.append(remedy)
        left -= remedy.bytes
    return tuple(taken) if left <= 0 else ()


def freed(checkpoint: Checkpoint) -> int:
    """Bytes that deleting the folder gives back: files with hard links elsewhere stay."""
    return max(0, checkpoint.size - checkpoint.shared)


def _of_running(writer: Writer, served: set[str]) -> list[Remedy]:
    """Of a run that goes on or is planned: broken folders, older checkpoints, and how it could save less."""
    found = [_broken(writer.run, c) for c in broken(writer.checkpoints, running=writer.rate is not None)]
    whole = [c for c in in_rotation_order(writer.checkpoints) if c.complete and not c.writing]
    keep = max((c for c in whole if resumable(c)), key=lambda c: c.step, default=None)
    soon = {c.path for c in deleted_next(writer.checkpoints, writer.plan.limit)}
    for checkpoint in whole:
        if keep is not None and checkpoint is not keep and checkpoint.path not in served:
            # What the next save deletes anyway is no loss.
            found.append(_old(writer.run, checkpoint, "low" if checkpoint.path in soon else "high", "checkpoint"))
    return found + (_of_planned(writer) if not writer.checkpoints and writer.step == 0 else [])


def _of_planned(writer: Writer) -> list[Remedy]:
    """A run that has not begun can still be told to keep fewer checkpoints, or to save the weights only."""
    known, plan = sizes(writer), writer.plan
    if known is None or plan.max_steps <= 0:
        return []
    saves = -(-plan.max_steps // max(1, plan.save_steps))
    kept = min(saves, plan.limit) if plan.limit and plan.limit > 0 else saves
    found = []
    if kept > 1:
        title = f"{writer.run}: keep 1 checkpoint instead of {kept} (save_total_limit 1)"
        found.append(
            Remedy(
                kind="lower-limit", title=title, bytes=_peak(saves, kept, known) - _peak(saves, 1, known), risk="low"
            )
        )
    small = Sizes(known.weights, known.weights, known.inodes, measured=False)
    title = f"{writer.run}: save weights without the optimizer's state; it cannot be resumed"
    less = _peak(saves, kept, known) - _peak(saves, kept, small)
    return [*found, Remedy(kind="weights-only", title=title, bytes=less, risk="high")]


def _peak(saves: int, kept: int, known: Sizes) -> int:
    """Most bytes that a whole run takes: one checkpoint more than it keeps, or the final model on top of them."""
    return max(min(saves, kept + 1) * known.checkpoint, min(saves, kept) * known.checkpoint + known.weights)


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
