"""One episode converted: a pure function of the plan and the source's files, in any order, in any process.

The same inputs give the same bytes, so that episodes may be spread over processes or machines, and done again.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.core.hands import SIDES
from dm_isaac_g1.data.carry import carried, check_order
from dm_isaac_g1.data.convert.handmaps import beyond, to_inspire
from dm_isaac_g1.data.convert.layouts import hand_names
from dm_isaac_g1.data.convert.plans import ConversionPlan, Job, Piece, Target
from dm_isaac_g1.data.dataset import Dataset, wrongly_listed
from dm_isaac_g1.data.problems import DataError, DataProblem, Finding
from dm_isaac_g1.data.storing import Stored, store
from dm_isaac_g1.data.versions.kept import Pictures

Columns = dict[str, NDArray[Any]]

#: What may be wrong with one episode of many, beside values that are no numbers.
_ALONE = {"wrong-width", "length-differs", "task-differs", "unknown-task", "video-short", "video-long"}


class EpisodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a converted episode beyond its files.

    `clipped`: value of a hand -> frames in which it was beyond its range. `grippers`: name -> lowest and highest raw
    value.
    """

    stored: Stored
    clipped: dict[str, int]
    grippers: dict[str, tuple[float, float]]
    findings: tuple[Finding, ...]


def convert_episode(plan: ConversionPlan, job: Job, out: Path, pictures: Pictures | None = None) -> EpisodeRecord:
    """Write the episode's parquet file and videos below `out`. `pictures`: statistics of the source's cameras.

    Raises DataProblem with episode, frame and joint; OSError.
    """
    dataset = _opened(plan.root, plan.fingerprint)
    findings: list[Finding] = []
    try:
        located = dataset.locate(job.episode.index)
        if (wrong := wrongly_listed(job.episode, located)) is not None:
            findings.append(wrong)
        source = carried(dataset, located, findings.append, plan.columns)
        _check(plan, source, dataset, job)
        columns, clipped, grippers = converted(plan, source, job, dataset.fps)
        stored = store(
            out,
            job.number,
            columns,
            {name: feature for name, feature in plan.features.items() if feature["dtype"] != "video"},
            tasks=plan.tasks,
            dataset=dataset,
            videos={camera: located.videos[key] for camera, key in plan.cameras.items()},
            pictures={camera: (pictures or {})[key] for camera, key in plan.cameras.items() if key in (pictures or {})},
        )
    except DataProblem as problem:
        alone = isinstance(problem, DataError) or problem.finding.code in _ALONE
        if alone and problem.finding.fix is None:
            problem = problem.with_fix(f"--drop-episode {job.episode.index} leaves it out")
        raise problem.within(plan.root, job.episode.index) from None
    return EpisodeRecord(stored=stored, clipped=clipped, grippers=grippers, findings=tuple(findings))


_kept = threading.local()


def _opened(root: Path, fingerprint: str) -> Dataset:
    """Open once in each thread; `fingerprint`: anew when its files changed."""
    if getattr(_kept, "key", None) != (root, fingerprint):
        _kept.dataset, _kept.key = Dataset.open(root), (root, fingerprint)
    dataset: Dataset = _kept.dataset
    return dataset


def _check(plan: ConversionPlan, source: Columns, dataset: Dataset, job: Job) -> None:
    seen = {name: values for name, values in source.items() if not (plan.retime and name == "timestamp")}
    anew = "--retime writes them anew from the frame rate"
    fixes = {"ragged-timestamps": anew, "timestamp-start": anew, "wrong-number": "--renumber writes them anew"}
    try:
        check_order(seen, dataset, job.episode, numbers=not plan.renumber)
    except DataProblem as problem:
        fix = fixes.get(problem.finding.code)
        if problem.finding.place.joint == "frame_index":  # rows in disorder: new numbers would hide it
            fix = f"--drop-episode {job.episode.index} leaves it out"
        raise problem.with_fix(fix) from None


def converted(
    plan: ConversionPlan, source: Columns, job: Job, fps: float
) -> tuple[Columns, dict[str, int], dict[str, tuple[float, float]]]:
    """The output's columns from the source's; how often a hand's values were clipped; the grippers' raw ranges."""
    frames = job.episode.length
    clipped: dict[str, int] = {}
    columns: Columns = {t.column: _filled(plan, t, source, frames, clipped) for t in plan.targets}
    count = np.arange(frames, dtype=np.int64)
    timestamp = (count / fps).astype(np.float32) if plan.retime else source["timestamp"]
    columns |= {
        "timestamp": timestamp,
        "frame_index": count,
        "episode_index": np.full(frames, job.number, np.int64),
        "index": count + job.start,
        "task_index": source["task_index"],
    }
    grippers = dict(_gripper_ranges(plan, source)) if plan.hand == "gripper" else {}
    return columns, clipped, grippers


def _filled(
    plan: ConversionPlan, target: Target, source: Columns, frames: int, clipped: dict[str, int]
) -> NDArray[np.float32]:
    out = np.empty((frames, len(target.names)), np.float32)
    for piece in target.pieces:
        part = out[:, piece.start : piece.end]
        if piece.column is None:
            part[:] = np.array(piece.constants, np.float32)
        elif piece.hand is None or piece.side is None:
            part[:] = _taken(source, piece)
        else:
            values = _taken(source, piece)
            to_inspire(values, piece.hand, piece.side, plan.hands, part)
            counts = beyond(values, piece.hand, piece.side, plan.hands)
            for name, number in zip(hand_names(piece.hand, piece.side), counts.tolist(), strict=True):
                if number:
                    clipped[f"{target.column}: {name}"] = number
    return out


def _taken(source: Columns, piece: Piece) -> NDArray[Any]:
    """(frames, values) of the source at the piece's places; a view where they follow one another."""
    values = source[str(piece.column)]
    if values.ndim == 1:
        values = values[:, None]
    first, last = piece.places[0], piece.places[-1]
    if piece.places == tuple(range(first, last + 1)):
        return values[:, first : last + 1]
    return values[:, list(piece.places)]


def _gripper_ranges(plan: ConversionPlan, source: Columns) -> Any:
    for target in plan.targets:
        for piece in target.pieces:
            side = next((s for s in SIDES if piece.group.startswith(s) and "hand" in piece.group), None)
            if side is not None and piece.column is not None:
                values = _taken(source, piece)
                yield f"{target.column}: {side}_gripper", (float(values.min()), float(values.max()))
