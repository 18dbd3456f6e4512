"""Carrying an episode from one dataset into another: its columns checked and in LeRobot's layout, its videos placed.

Values stay as they are; only their container changes (lists of any kind become fixed-size lists, doubles become floats
where info.json says float32). Whatever is missing, null, of another width or not finite is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dm_isaac_g1.data.columns import integers, matrix, missing_column, scalars
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import Clip, Episode
from dm_isaac_g1.data.info import INFO, Feature
from dm_isaac_g1.data.linking import place_file
from dm_isaac_g1.data.problems import DataError, DataProblem, Finding, IntegrityError, Place

#: How far apart timestamps may be from 1/fps, in seconds: what lerobot 0.3.3 tolerates (tolerance_s).
TOLERANCE_S = 1e-4
RETIME = "`dm-g1 data repair --retime` sets them from the frame rate"
RENUMBER = "`dm-g1 data combine` with this dataset alone writes it with new numbers"

Placed = Literal["linked", "reflinked", "copied", "remuxed", "encoded"]
Note = Callable[[Finding], None]


def carried(dataset: Dataset, episode: Episode, note: Note, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """Column -> values of an episode, in the order of the features: (frames, width) and (frames,) of the feature's
    dtype; texts and images as Arrow arrays. Views of the file's memory where that is possible.

    `columns`: only these. `note`: is told of casts and of columns that info.json does not know. Raises DataProblem.
    """
    table = dataset.read(episode.index, columns)
    chosen = dataset.info.columns if columns is None else columns
    for column in chosen:
        if column not in dataset.info.features:
            raise missing_column(column, dataset.info.columns, file=INFO)
    features = {column: dataset.info.features[column] for column in chosen}
    for column in table.column_names:
        if column not in features:
            what = f"column {column} is not among the features of meta/info.json and is left out"
            note(Finding(code="unknown-column", severity="warning", what=what, place=Place(episode.file, joint=column)))
    return {column: _values(table, column, feature, episode, note) for column, feature in features.items()}


def _values(table: pa.Table, column: str, feature: Feature, episode: Episode, note: Note) -> Any:
    where: dict[str, Any] = {"episode": episode.index, "file": episode.file}
    if not feature.is_numeric:
        return _other(table, column, where)
    if feature.shape == (1,) or feature.shape == ():
        values = scalars(table, column, **where) if feature.is_float else integers(table, column, **where)
    else:
        values = matrix(table, column, feature.width, names=feature.labels(column), **where)
    wanted = np.dtype(feature.dtype)
    if values.dtype == wanted:
        return values
    if feature.is_float and values.dtype.kind == "f":
        what = f"column {column} holds {values.dtype}, cast to {wanted} as meta/info.json says"
        note(Finding(code="cast", severity="note", what=what, place=Place(episode.file, joint=column)))
        with np.errstate(over="ignore"):
            cast = values.astype(wanted)
        if not np.isfinite(cast).all():
            frame = int(np.argwhere(~np.isfinite(cast))[0][0])
            what = f"column {column} holds {values.dtype} beyond the range of {wanted}"
            raise DataError("not-finite", what, frame=frame, joint=column, **where)
        return cast
    cast = values.astype(wanted)
    if not np.array_equal(cast, values):
        what = f"column {column} holds {values.dtype} that are no {wanted}, as meta/info.json says"
        raise DataError("wrong-dtype", what, joint=column, **where)
    return cast


def _other(table: pa.Table, column: str, where: Mapping[str, Any]) -> Any:
    """A column of texts or images as it is, where all of it is there and texts are texts."""
    if column not in table.column_names:
        raise missing_column(column, table.column_names, file=where["file"])
    found = table.column(column)
    if found.null_count:
        raise DataError("null", f"column {column} has {found.null_count} empty frames", joint=column, **where)
    try:
        found.validate(full=True)
    except pa.ArrowInvalid as error:
        what = f"column {column} is broken: {' '.join(str(error).split())}"
        raise DataError("not-text", what, joint=column, **where) from None
    return found


def check_order(columns: Mapping[str, Any], dataset: Dataset, episode: Episode, *, numbers: bool = True) -> None:
    """Frames count from 0, timestamps are frame / fps, tasks are those listed of the episode; `numbers`: the
    episode's own and its frames' global ones are right, too.

    Raises IntegrityError naming the frame.
    """
    count = np.arange(episode.length)
    expected = {"frame_index": count}
    if numbers:
        expected |= {"episode_index": np.full(episode.length, episode.index), "index": count + episode.start}
    for column, right in expected.items():
        if column in columns and (wrong := np.flatnonzero(columns[column] != right)).size:
            frame = int(wrong[0])
            what = f"{column} is {columns[column][frame]} in frame {frame}, expected {right[frame]}"
            fix = None if column == "frame_index" else RENUMBER
            raise _disorder("wrong-number", what, episode, frame, column, fix)
    if "timestamp" in columns:
        # Each by itself, not steps alone: what a step may be off would add up to frames. float32 has seven digits.
        times = columns["timestamp"].astype(np.float64)
        tolerance = TOLERANCE_S + float(np.spacing(np.float32(np.abs(times).max(initial=0.0))))
        if (wrong := np.flatnonzero(~(np.abs(times - count / dataset.fps) <= tolerance))).size:
            frame = int(wrong[0])
            what = f"timestamp is {times[frame]:.6f} s in frame {frame}, expected {frame / dataset.fps:.6f} s"
            code = "timestamp-start" if frame == 0 else "ragged-timestamps"
            raise _disorder(code, what, episode, frame, "timestamp", RETIME)
    if "task_index" in columns:
        _check_tasks(columns["task_index"], dataset, episode)


def _check_tasks(values: Any, dataset: Dataset, episode: Episode) -> None:
    """Every frame's task is listed, and is one of those listed of its episode. Raises IntegrityError."""
    # One task is the rule, and ten times faster to see.
    for number in [int(values[0])] if (values == values[0]).all() else np.unique(values).tolist():
        text = dataset.tasks.get(number)
        if text is not None and (not episode.tasks or text in episode.tasks):
            continue
        frame = int(np.flatnonzero(values == number)[0])
        if text is None:
            what = f"task_index is {number} in frame {frame}, and no such task is listed"
            raise _disorder("unknown-task", what, episode, frame, "task_index")
        # So look sets that were merged without rewriting task_index: readers take another set's instruction.
        what = f"rows say {text!r} (task {number}), the list of episodes says {episode.tasks[0]!r}"
        raise _disorder("task-differs", what, episode, frame, "task_index")


def _disorder(
    code: str, what: str, episode: Episode, frame: int, column: str, fix: str | None = None
) -> IntegrityError:
    return IntegrityError(code, what, file=episode.file, episode=episode.index, frame=frame, joint=column, fix=fix)


def place_clip(dataset: Dataset, clip: Clip, target: Path, *, frames: int) -> Placed:
    """An episode's video as a file of its own: the source linked where it is all the episode's, else cut out of it.

    `frames` of the episode; folders are made. Raises IntegrityError (missing, too short, broken), SchemaError (a link
    leads out of the dataset), OSError.
    """
    from dm_isaac_g1.data.remux import cut
    from dm_isaac_g1.data.video import probe

    source = dataset.path_of(clip.file)
    try:
        found = probe(source).frames
        if clip.end is not None and (clip.start > 0 or found != frames):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # of an earlier try: perhaps a hard link of the input
            return cut(source, target, clip.start, clip.end, dataset.fps, frames)
    except DataProblem as problem:
        raise problem.in_file(clip.file).within(dataset.root) from None
    if found != frames:
        code = "video-short" if found < frames else "video-long"
        what = f"the video has {found} frames, its episode {frames}"
        raise IntegrityError(code, what, file=clip.file, dataset=str(dataset.root))
    return place_file(source, target, inside=dataset.boundary)
