"""What a run's checkpoints mean: which rotation deletes next, which can be resumed or served, how big the next will be.

Rotation is transformers' own, not what one would expect: it counts every folder that its pattern matches, incomplete
and `-best-` ones included, deletes the oldest **after** the new one is written, and never the newest. Up to 4.51 the
oldest is the lowest number (`_sorted_checkpoints`, `use_mtime=False`), in 5 the oldest mtime (`rotate_checkpoints`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from dm_isaac_g1.core.runs import Checkpoint

#: transformers' `_re_checkpoint`-like match of rotation: a name with anything after the number still counts.
_COUNTED = re.compile(r"checkpoint-([0-9]+)")
#: Complete checkpoints that sizes are learned from.
_LEARN_FROM = 3
#: What a quarantined folder is called: no trainer's pattern matches it.
QUARANTINE = "broken-"

Order = Literal["step", "mtime"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes and inodes of the next checkpoint: all of it, its weights alone, how much it grows from save to save."""

    checkpoint: int
    weights: int
    inodes: int
    #: Learned from checkpoints that are there, not estimated.
    measured: bool


def counted(checkpoint: Checkpoint) -> bool:
    """Whether rotation counts the folder: `tmp-checkpoint-*` and `broken-checkpoint-*` it does not."""
    return _COUNTED.match(checkpoint.name) is not None


def in_rotation_order(checkpoints: Iterable[Checkpoint], order: Order = "step") -> list[Checkpoint]:
    """The folders that rotation counts, the first to go first."""
    kept = [c for c in checkpoints if counted(c)]
    key = (lambda c: (c.mtime, c.path)) if order == "mtime" else (lambda c: (c.step, c.path))
    return sorted(kept, key=key)


def deleted_next(checkpoints: Iterable[Checkpoint], limit: int | None, order: Order = "step") -> list[Checkpoint]:
    """What goes after the next save: that one counts, too. Nothing without a limit."""
    if not limit or limit < 0:
        return []
    there = in_rotation_order(checkpoints, order)
    return there[: max(0, len(there) + 1 - limit)]


def resumable(checkpoint: Checkpoint) -> bool:
    """A training can go on from it: complete, with the optimizer's state, and a name that the trainer looks for."""
    return checkpoint.complete and checkpoint.full and not checkpoint.writing and _plain(checkpoint)


def servable(checkpoint: Checkpoint) -> bool:
    """A policy server can load it: complete, with weights."""
    return checkpoint.complete and not checkpoint.writing


def resumes_from(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """What `get_last_checkpoint` would hand to the trainer: the highest number, complete or not."""
    return max((c for c in checkpoints if _plain(c)), key=lambda c: c.step, default=None)


def broken(checkpoints: Iterable[Checkpoint], *, running: bool = False) -> list[Checkpoint]:
    """Incomplete folders that nobody writes any more: to be renamed (quarantined) or deleted.

    While the run is `running` its newest folder may be between two files: it is left alone.
    """
    there = list(checkpoints)
    newest = max((c.mtime for c in there), default=0.0)
    return [c for c in there if not c.complete and not c.writing and not (running and c.mtime >= newest)]


def quarantined_path(checkpoint: Checkpoint) -> str:
    """Where a broken folder is renamed to."""
    folder, _, name = checkpoint.path.rpartition("/")
    return f"{folder}/{QUARANTINE}{name}" if folder else f"{QUARANTINE}{name}"


def learned(checkpoints: Sequence[Checkpoint]) -> Sizes | None:
    """The next checkpoint's size from the last complete ones that nobody writes; None where there is none.

    The median of three, or the newest with its growth (`trainer_state.json` grows with the log) where that is more.
    """
    done = [c for c in checkpoints if c.complete and c.full and not c.writing and not c.best and _plain(c)]
    done = sorted(done, key=lambda c: c.step)[-_LEARN_FROM:]
    if not done:
        return None
    size = median(c.size for c in done)
    if len(done) > 1:
        size = max(size, done[-1].size + max(0, done[-1].size - done[-2].size))
    size = max(size, done[-1].size)
    weights = max(c.weights for c in done)
    return Sizes(
        checkpoint=int(size),
        weights=weights or int(size),
        inodes=max(c.inodes for c in done),
        measured=True,
    )


def _plain(checkpoint: Checkpoint) -> bool:
    """`checkpoint-N` and nothing after it: what `get_last_checkpoint` looks at."""
    return re.fullmatch(r"checkpoint-[0-9]+", checkpoint.name) is not None
