"""One run's saves to come and the space each takes, as transformers' Trainer does them: write, then rotate.

The order of `Trainer._save_checkpoint` (4.51 and 5.23): the model, the optimizer, `trainer_state.json`; **only then**
the oldest folders are deleted; GR00T's callbacks copy their files after that; at the end of the training a last
checkpoint at `max_steps` (whether or not `save_steps` divides it), then `save_model()` at the root of the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dm_isaac_g1.core.runs import Checkpoint, SavePlan
from dm_isaac_g1.finetuning.checkpoints import Order, Sizes, counted, in_rotation_order, learned

#: Bytes a step that the log and the event file grow by where nothing else is known: a redrawn bar, and a line of
#: metrics with its three 55-byte events every tenth step.
GROWTH = 150.0
#: Files of a checkpoint where none was seen yet: GR00T N1.6 writes 20 and some (shards, states, processor, configs).
INODES = 40
#: Bytes a second that a save is taken to write at where none was measured. Slow, so that saves overlap rather than not.
SAVE_RATE = 100e6
#: Saves looked ahead at most, and for a run without an end.
HORIZON, ENDLESS = 5000, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A run that saves on the file system: one that runs, or one that is planned (`step` 0 and nothing there yet)."""

    run: str
    plan: SavePlan
    step: int = 0
    #: Steps a second (`finetuning.rates`); None: not known yet.
    rate: float | None = None
    #: The rate is a guess on the slow side, for what others write meanwhile: no time of a save is told from it.
    rate_assumed: bool = False
    #: All of the output folder, broken and best ones too.
    checkpoints: tuple[Checkpoint, ...] = ()
    #: How long a save takes, seconds; None: not measured.
    save_seconds: float | None = None
    #: Bytes a step besides checkpoints: log and event file.
    growth: float = GROWTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """One save. Times in seconds from now (None: rate unknown); space in use relative to now, bytes and inodes."""

    run: str
    step: int
    kind: Literal["checkpoint", "final"]
    start: float | None
    end: float | None
    before: int
    peak: int
    after: int
    inodes_peak: int
    inodes_after: int
    #: A size is not known: the space counts nothing of it.
    unknown: bool = False
    #: The times are a guess on the slow side (`Writer.rate_assumed`).
    assumed: bool = False


@dataclass(slots=True)
class _Folder:
    name: str
    #: What deleting it gives back: files with other hard links stay.
    freed: int
    inodes: int


def sizes(writer: Writer) -> Sizes | None:
    """Measured from the run's checkpoints, else the plan's estimate; None: neither."""
    measured = learned(writer.checkpoints)
    if measured:
        return measured
    plan = writer.plan
    if plan.checkpoint_bytes is None:
        return None
    weights = plan.checkpoint_bytes if plan.weights_bytes is None else plan.weights_bytes
    return Sizes(plan.checkpoint_bytes, weights, INODES, measured=False)


def save_time(writer: Writer) -> float:
    """Seconds that a save takes: as measured, else as long as its size would take on a slow disk."""
    if writer.save_seconds is not None:
        return writer.save_seconds
    known = sizes(writer)
    return known.checkpoint / SAVE_RATE if known else 0.0


def timeline(writer: Writer) -> list[Save]:
    """All saves to come, in order. Where the two orders of rotation differ, each takes what is worse."""
    by_step = _simulated(writer, "step")
    if in_rotation_order(writer.checkpoints, "step") == in_rotation_order(writer.checkpoints, "mtime"):
        return by_step
    return [_worse(a, b) for a, b in zip(by_step, _simulated(writer, "mtime"), strict=True)]


def _worse(a: Save, b: Save) -> Save:
    if a == b:
        return a
    return Save(
        run=a.run,
        step=a.step,
        kind=a.kind,
        start=a.start,
        end=a.end,
        before=max(a.before, b.before),
        peak=max(a.peak, b.peak),
        after=max(a.after, b.after),
        inodes_peak=max(a.inodes_peak, b.inodes_peak),
        inodes_after=max(a.inodes_after, b.inodes_after),
        unknown=a.unknown,
        assumed=a.assumed,
    )


def _simulated(writer: Writer, order: Order) -> list[Save]:
    plan, known = writer.plan, sizes(writer)
    size = known.checkpoint if known else 0
    weights = known.weights if known else (plan.weights_bytes or 0)
    files = max(1, known.inodes) if known else INODES
    best = weights if plan.best_saves else 0
    duration = save_time(writer)
    still = in_rotation_order([c for c in writer.checkpoints if not c.writing], order)
    folders = [_Folder(c.name, c.size - c.shared, c.inodes) for c in still]
    used, inodes, clock, at = best, 0, 0.0, writer.step
    saves: list[Save] = []

    def save(step: int, need: int, more: int, folder: _Folder, kind: Literal["checkpoint", "final"]) -> None:
        nonlocal used, inodes, clock, at
        passed = max(0, step - at)
        used += int(passed * writer.growth)
        start = end = None
        if writer.rate:
            clock += passed / writer.rate
            start = clock
            clock += duration
            end = clock
        at = max(at, step)
        before = used
        used += need
        inodes += more
        peak, inodes_peak = used, inodes
        if kind == "checkpoint":
            for gone in _rotated(folders, folder, plan.limit):
                used -= gone.freed
                inodes -= gone.inodes
        saves.append(
            Save(
                run=writer.run,
                step=step,
                kind=kind,
                start=start,
                end=end,
                before=before,
                peak=peak,
                after=used,
                inodes_peak=inodes_peak,
                inodes_after=inodes,
                unknown=known is None and (kind == "checkpoint" or plan.weights_bytes is None),
                assumed=writer.rate_assumed,
            )
        )

    for half in (c for c in writer.checkpoints if c.writing):
        # What is there already is gone from `avail`; a staged tmp-checkpoint-N is renamed when it is done.
        name = half.name.removeprefix("tmp-")
        if name.startswith("checkpoint-"):
            rest = max(0, size - half.size)
            folder = _Folder(name, max(half.size, size) - half.shared, max(half.inodes, files))
            save(half.step, rest, max(0, files - half.inodes), folder, "checkpoint")
    for step in _schedule(writer):
        save(step, size, files, _Folder(f"checkpoint-{step}", size, files), "checkpoint")
    if plan.final_save and plan.max_steps > 0 and len(saves) < HORIZON:
        save(max(plan.max_steps, writer.step), weights, files, _Folder("", 0, 0), "final")
    return saves


def _rotated(folders: list[_Folder], new: _Folder, limit: int | None) -> list[_Folder]:
    """Add the new folder and take out what rotation deletes, a folder of the same name among it: it is written over."""
    gone = [f for f in folders if f.name == new.name]
    folders[:] = [f for f in folders if f.name != new.name]
    folders.append(new)
    if limit and limit > 0:
        surplus = max(0, len(folders) - limit)
        gone += folders[:surplus]
        del folders[:surplus]
    return gone


def _schedule(writer: Writer) -> Iterator[int]:
    """Steps at which a checkpoint is still to be written."""
    plan, now = writer.plan, writer.step
    being_written = {c.step for c in writer.checkpoints if c.writing}
    there = being_written | {c.step for c in writer.checkpoints if counted(c) and not c.best and c.complete}
    end = plan.max_steps if plan.max_steps > 0 else now + ENDLESS * max(1, plan.save_steps)
    every = plan.save_steps if plan.save_steps > 0 else end
    first = -(-max(now, 1) // every) * every
    if first == now and now in there:
        first += every
    written = range(first, end + 1, every)[:HORIZON]
    # A checkpoint of a step to come is an older run's, and will be written over.
    yield from (step for step in written if step not in being_written)
    last = plan.max_steps > 0 and end % every != 0 and len(written) < HORIZON
    if last and end not in being_written and (end > now or (end == now and end not in there)):
        yield end
