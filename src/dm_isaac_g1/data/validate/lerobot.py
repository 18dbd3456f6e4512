"""What lerobot insists on: 0.3.3 for v2.0 and v2.1, 0.4.4 for v3.0 (src/lerobot/datasets/lerobot_dataset.py, utils.py).

Tried with both: lists of any length, and float64 where float32 is said, they read as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dm_isaac_g1.data.columns import open_parquet, read_open, scalars
from dm_isaac_g1.data.info import INFO
from dm_isaac_g1.data.jsonfiles import read_json, read_jsonl
from dm_isaac_g1.data.problems import DataProblem, Finding
from dm_isaac_g1.data.stats.stale import EPISODES_STATS, STATS
from dm_isaac_g1.data.validate.groot import orphaned
from dm_isaac_g1.data.validate.pieces import TOLERANCE_S
from dm_isaac_g1.data.validate.subject import Subject

#: Keys that are read without asking; robot_type may be null.
_KEYS = ("codebase_version", "robot_type", "total_episodes", "total_frames", "total_tasks", "chunks_size", "fps")
_PATHS = ("data_path", "video_path")


def info(subject: Subject) -> Iterator[Finding]:
    raw = subject.info.raw
    paths = _PATHS if subject.info.cameras else _PATHS[:1]
    for key in (*_KEYS, *paths):
        if key not in raw or (key in paths and raw[key] is None):
            yield subject.finding("lerobot-info", f"no {key}", file=INFO)


def statistics(subject: Subject) -> Iterator[Finding]:
    """v2.1: a row for every episode. v2.0: meta/stats.json. v3.0 does without."""
    if subject.info.version == "2.0" and STATS not in subject.files:
        yield subject.finding("lerobot-stats", "No such file", file=STATS)
    if subject.info.version != "2.1":
        return
    if EPISODES_STATS not in subject.files:
        yield subject.finding("lerobot-episodes-stats", "No such file", file=EPISODES_STATS)
        return
    try:
        rows = read_jsonl(subject.root, EPISODES_STATS)
    except DataProblem as problem:
        yield subject.finding.of(problem, file=EPISODES_STATS)
        return
    there = {
        row.get("episode_index") for _, row in rows if isinstance(row, dict) and isinstance(row.get("stats"), dict)
    }
    for episode in subject.episodes:
        if episode.index not in there:
            what = f"has no statistics of episode {episode.index}"
            yield subject.finding("lerobot-episodes-stats", what, file=EPISODES_STATS, episode=episode.index)
    yield from _features_in(subject, rows)


def _features_in(subject: Subject, rows: list[tuple[int, Any]]) -> Iterator[Finding]:
    """lerobot merges the rows feature by feature, those that have it: a feature that some lack has wrong statistics.

    Of pictures it wants one row at least (lerobot-train writes ImageNet's statistics into them).
    """
    cameras = set(subject.info.cameras)
    known = [(n, set(row["stats"])) for n, row in rows if isinstance(row, dict) and isinstance(row.get("stats"), dict)]
    first = known[0][1] - cameras if known else set()
    for number, features in known:
        if features - cameras != first:
            differ = ", ".join(sorted((features - cameras) ^ first)[:4])
            what = f"speaks of other features than the first row ({differ})"
            yield subject.finding("lerobot-episodes-stats", what, file=f"{EPISODES_STATS}:{number}")
    missing = [key for key, feature in subject.info.features.items() if feature.is_float and key not in first]
    if first and missing:
        what = f"says nothing of {', '.join(missing[:4])}"
        yield subject.finding("lerobot-episodes-stats", what, file=EPISODES_STATS, joint=missing[0])
    for camera in subject.info.cameras:
        lacking = sum(camera not in features for _, features in known)
        if lacking:
            what = f"{lacking} of {len(known)} rows say nothing of the pictures of {camera}"
            yield subject.finding("lerobot-picture-stats", what, file=EPISODES_STATS, joint=camera)


def timestamps(subject: Subject) -> Iterator[Finding]:
    """check_timestamps_sync of 0.3.3: in float32, every step inside an episode."""
    if subject.info.version == "3.0" or subject.shared:
        return
    for episode in subject.episodes:
        if episode.file not in subject.files:
            continue
        try:
            path = subject.path_of(episode.file)
            with open_parquet(path, file=episode.file) as parquet:
                if parquet.metadata.num_rows > max(episode.length, 1) * 2:
                    continue  # said by the checks of rows
                table = read_open(parquet, ["timestamp"], path=path, file=episode.file)
            times = scalars(table, "timestamp", episode=episode.index, file=episode.file)
        except DataProblem:
            continue
        off = np.abs(np.diff(times.astype(np.float32)) - 1 / subject.info.fps) > TOLERANCE_S
        if off.any():
            frame = int(off.argmax()) + 1
            step = float(times[frame] - times[frame - 1])
            what = f"a step of {step:.6f} s, expected {1 / subject.info.fps:.6f} s"
            yield subject.finding("lerobot-timestamps", what, file=episode.file, episode=episode.index, frame=frame)


def task_numbers(subject: Subject) -> Iterator[Finding]:
    """0.4 takes the task by its place in the table, 0.3 by its number."""
    if subject.tasks is not None and list(subject.tasks) != list(range(len(subject.tasks))):
        what = f"numbers are {sorted(subject.tasks)[:8]}, expected 0 to {len(subject.tasks) - 1} in order"
        yield subject.finding("lerobot-tasks", what)


def orphans(subject: Subject) -> Iterator[Finding]:
    yield from orphaned(subject, "lerobot-orphan", "belongs to no episode, and lerobot reads its rows, too")


def old_stats(subject: Subject) -> Iterator[Finding]:
    """stats.json, where it is there, must be JSON for 0.4."""
    if subject.info.version == "3.0" and STATS in subject.files:
        try:
            read_json(subject.root, STATS)
        except DataProblem as problem:
            yield subject.finding.of(problem, file=STATS)


CHECKS = (info, statistics, timestamps, task_numbers, orphans, old_stats)
