"""Checks of one episode's index columns: timestamps, frame_index, episode_index, index, task_index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.problems import Finding
from dm_isaac_g1.data.validate.meta import shown
from dm_isaac_g1.data.validate.subject import Subject

#: Seconds that a timestamp may be off, as lerobot's tolerance_s.
TOLERANCE_S = 1e-4


class Piece(msgspec.Struct, frozen=True, eq=False):
    """An episode's rows. `columns`: (frames,) each, those that could be read. `start`: what `index` begins with; None:
    not known, since an episode before is missing or has another length than listed."""

    subject: Subject
    episode: Episode
    file: str
    frames: int
    columns: dict[str, NDArray[Any]]
    start: int | None

    def finding(self, code: str, what: str, frame: int | None = None, joint: str | None = None) -> Finding:
        return self.subject.finding(code, what, file=self.file, episode=self.episode.index, frame=frame, joint=joint)


def timestamps(piece: Piece) -> Iterator[Finding]:
    """timestamp = frame_index / fps, from 0 in every episode; float32 leaves seven digits."""
    given = piece.columns.get("timestamp")
    if given is None:
        return
    times = given.astype(np.float64)
    expected = np.arange(piece.frames) / piece.subject.info.fps
    tolerance = TOLERANCE_S + float(np.spacing(np.float32(abs(times).max(initial=0.0))))
    if abs(times[0]) > tolerance:
        yield piece.finding("timestamp-start", f"the first timestamp is {times[0]:.6g} s, expected 0", 0, "timestamp")
    off = np.abs(times - times[0] - expected) > tolerance
    if off.any():
        frame = int(off.argmax())
        what = (
            f"{int(off.sum())} timestamps are off frame / fps, the first is {times[frame]:.6g} s "
            f"where {times[0] + expected[frame]:.6g} s are expected at {piece.subject.info.fps:g} fps"
        )
        yield piece.finding("ragged-timestamps", what, frame, "timestamp")


def frame_index(piece: Piece) -> Iterator[Finding]:
    yield from _counts(piece, "frame_index", 0, "frame-index")


def episode_index(piece: Piece) -> Iterator[Finding]:
    given = piece.columns.get("episode_index")
    if given is not None and (wrong := given != piece.episode.index).any():
        frame = int(wrong.argmax())
        what = f"the episode_index column says {given[frame]} in the file of episode {piece.episode.index}"
        yield piece.finding("episode-index", what, frame, "episode_index")


def index(piece: Piece) -> Iterator[Finding]:
    given = piece.columns.get("index")
    if given is not None:
        yield from _counts(piece, "index", int(given[0]) if piece.start is None else piece.start, "index")


def task_index(piece: Piece) -> Iterator[Finding]:
    given = piece.columns.get("task_index")
    if given is None or piece.subject.tasks is None:
        return
    # Nearly always one task: np.unique would sort.
    used = [int(given[0])] if (given == given[0]).all() else [int(n) for n in np.unique(given)]
    for number in used:
        text = piece.subject.tasks.get(number)
        frame = int((given == number).argmax())
        if text is None:
            what = f"task_index is {number}, the list of tasks has {_some(piece.subject.tasks)}"
            yield piece.finding("unknown-task", what, frame, "task_index")
        elif piece.subject.listed and piece.episode.tasks and text not in piece.episode.tasks:
            what = f"rows say {shown(text)}, the list of episodes says {shown(piece.episode.tasks[0])}"
            yield piece.finding("task-differs", what, frame, "task_index")


def _counts(piece: Piece, column: str, start: int, code: str) -> Iterator[Finding]:
    given = piece.columns.get(column)
    if given is None:
        return
    wrong = given != np.arange(start, start + piece.frames)
    if wrong.any():
        frame = int(wrong.argmax())
        yield piece.finding(code, f"{column} is {given[frame]}, expected {start + frame}", frame, column)


def _some(tasks: dict[int, str]) -> str:
    numbers = [str(number) for number in sorted(tasks)]
    return ", ".join(numbers if len(numbers) <= 8 else [*numbers[:8], "..."])


CHECKS = (timestamps, frame_index, episode_index, index, task_index)
