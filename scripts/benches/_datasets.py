"""Datasets for the bench `data`, written with the project's own writer: no video, motion that wanders as robots' does.

python _datasets.py hospitality FOLDER EPISODES FRAMES
    python _datasets.py groot|inspire53|combined|linked SOURCE FOLDER
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dm_isaac_g1.core.hands import SIDES
from dm_isaac_g1.core.robot import (
    ACTION_23,
    BODY,
    BODY_PARTS,
    INSPIRE_53,
    STATE_31,
    BodyJoint,
    Layout,
    dataset_name,
)
from dm_isaac_g1.data.columns import matrix, scalars
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import ACTION, DEFAULT_COLUMNS, INFO, STATE, new_info
from dm_isaac_g1.data.stats.episode import episodes_stats_row
from dm_isaac_g1.data.writing import (
    arrow_table,
    episode_row,
    stats_row,
    write_json,
    write_meta,
    write_parquet,
)

#: Column -> (frames, width) or (frames,).
Columns = dict[str, np.ndarray]

FPS = 30
TASKS = ("Fold the towel on the table.", "Put the folded towel into the basket.")


def _names(*parts: str) -> list[str]:
    return [dataset_name(joint.name) for part in parts for joint in BODY_PARTS[part]]


#: Columns of Unitree's hospitality datasets (G1_Fold_Towel, G1_Clean_Table, ...), as their meta/info.json has them.
COLUMNS: dict[str, list[str]] = {}
for _place in ("observation", "action"):
    for _side in ("left", "right"):
        COLUMNS[f"{_place}.{_side}_arm"] = _names(f"{_side}_arm")
    for _side in ("left", "right"):
        COLUMNS[f"{_place}.{_side}_gripper"] = [f"k{_side.capitalize()}Gripper"]
    for _side in ("left", "right"):
        _k = f"k{_side.capitalize()}EE"
        COLUMNS[f"{_place}.{_side}_ee"] = [_k + axis for axis in ("X", "Y", "Z", "R", "P", "Y")]
COLUMNS["observation.body"] = [dataset_name(joint.name) for joint in BODY]
COLUMNS["action.body"] = ["VX", "VY", "AngZ", "RobotYaw", "RobotPitch", "RobotRoll", "Height"]


def write_hospitality(root: Path, *, episodes: int, frames: int, seed: int = 0) -> Path:
    """A hospitality dataset (LeRobot v2.1) of `episodes` with `frames` each, in the new folder `root`."""
    features: dict[str, dict[str, Any]] = {
        name: {"dtype": "float32", "shape": [len(names)], "names": names} for name, names in COLUMNS.items()
    }
    info = new_info(
        version="2.1",
        robot_type="G1_ALL",
        fps=FPS,
        features=features,
        episodes=episodes,
        frames=episodes * frames,
        tasks=len(TASKS),
    )
    random = np.random.default_rng(seed)
    rows = []
    for number in range(episodes):
        columns = _columns(random, number, frames)
        path = root / "data" / f"chunk-{number // 1000:03d}" / f"episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        # As the Hub's files are: lerobot writes with pyarrow's defaults, a dictionary for every column.
        pq.write_table(arrow_table(columns, info["features"]), path)
        rows.append(stats_row(number, episodes_stats_row(columns)))
    listed = [episode_row(number, [TASKS[number % len(TASKS)]], frames) for number in range(episodes)]
    write_meta(root, info=info, episodes=listed, tasks=dict(enumerate(TASKS)), stats=rows)
    return root


def _columns(random: np.random.Generator, number: int, frames: int) -> Columns:
    columns: Columns = {}
    for name, names in COLUMNS.items():
        wander = np.sin(random.standard_normal((frames, len(names)), dtype=np.float32).cumsum(axis=0) * 0.02)
        if name.endswith("gripper"):
            wander = 2.7 + 2.7 * wander  # 0 closed, 5.4 open
        elif name in _RANGES:
            low, high = _RANGES[name]
            wander = (low + high) / 2 + 0.45 * (high - low) * wander
        columns[name] = (wander[:, 0] if len(names) == 1 else wander).astype(np.float32)
    # An arm's target runs a little ahead of it.
    for side in ("left", "right"):
        arm = columns[f"observation.{side}_arm"]
        noise = random.standard_normal(arm.shape, dtype=np.float32) * np.float32(0.002)
        columns[f"action.{side}_arm"] = np.roll(arm, -3, axis=0) + noise
    whole = np.arange(frames)
    return columns | {
        "timestamp": (whole / FPS).astype(np.float32),
        "frame_index": whole,
        "episode_index": np.full(frames, number),
        "index": whole + number * frames,
        "task_index": np.full(frames, number % len(TASKS)),
    }


def _limits(joints: Sequence[BodyJoint]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([joint.low for joint in joints]), np.array([joint.high for joint in joints])


_RANGES = {"observation.body": _limits(BODY)} | {
    f"observation.{side}_arm": _limits(BODY_PARTS[f"{side}_arm"]) for side in ("left", "right")
}


def write_groot(source: Path, root: Path) -> Path:
    """The hospitality dataset `source` as GR00T's 31/23, in the new folder `root`. By hand: see `data convert`."""

    def parts(columns: Columns) -> Columns:
        hands = {kind: [columns[f"{kind}.{side}_gripper"] for side in SIDES] for kind in ("observation", "action")}
        arms = [columns[f"action.{side}_arm"] for side in SIDES]
        return {
            STATE: np.concatenate([columns["observation.body"], *hands["observation"]], axis=1),
            ACTION: np.concatenate([*arms, *hands["action"], columns["action.body"]], axis=1),
        }

    return _write_converted(source, root, parts, STATE_31, ACTION_23)


def write_inspire53(source: Path, root: Path) -> Path:
    """The same with 53 values a frame, of which the hands' only have the right size. By hand: see `data convert`."""
    pose = np.linspace(0.1, 0.3, (INSPIRE_53.width - len(BODY)) // 2, dtype=np.float32)

    def parts(columns: Columns) -> Columns:
        hands = {
            kind: [columns[f"{kind}.{side}_gripper"] * pose for side in SIDES] for kind in ("observation", "action")
        }
        body = columns["observation.body"]
        return {
            STATE: np.concatenate([body, *hands["observation"]], axis=1),
            ACTION: np.concatenate([body, *hands["action"]], axis=1),
        }

    return _write_converted(source, root, parts, INSPIRE_53, INSPIRE_53)


def _write_converted(
    source: Path, root: Path, parts: Callable[[Columns], Columns], state: Layout, action: Layout
) -> Path:
    features: dict[str, dict[str, Any]] = {
        STATE: {"dtype": "float32", "shape": [state.width], "names": list(state.names)},
        ACTION: {"dtype": "float32", "shape": [action.width], "names": list(action.names)},
    }
    dataset = Dataset.open(source)
    info = new_info(
        version="2.1",
        robot_type="Unitree_G1",
        fps=FPS,
        features=features,
        episodes=len(dataset.episodes),
        frames=dataset.frames,
        tasks=len(TASKS),
    )
    rows = []
    for episode in dataset.episodes:
        table = dataset.read(episode.index)
        columns = parts({name: matrix(table, name, len(names)) for name, names in COLUMNS.items()})
        columns |= {name: scalars(table, name) for name in DEFAULT_COLUMNS}
        path = root / episode.file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(path, columns, info["features"])
        rows.append(stats_row(episode.index, episodes_stats_row(columns)))
    listed = [episode_row(episode.index, episode.tasks, episode.length) for episode in dataset.episodes]
    write_meta(root, info=info, episodes=listed, tasks=dataset.tasks, stats=rows)
    annotation = {"human.task_description": {"original_key": "task_index"}}
    modality = {"state": state.modality(), "action": action.modality(), "annotation": annotation}
    write_json(root / "meta" / "modality.json", modality)
    return root


def write_combined(source: Path, root: Path) -> Path:
    """The v2.1 dataset `source` with all rows in one parquet file, as some tools leave it."""
    dataset = Dataset.open(source)
    path = root / "data" / "chunk-000" / "file-000.parquet"
    path.parent.mkdir(parents=True)
    with pq.ParquetWriter(path, dataset.read(0).schema) as writer:
        for episode in dataset.episodes:
            writer.write_table(dataset.read(episode.index))
    shutil.copytree(source / "meta", root / "meta")
    write_json(root / INFO, dataset.info.raw | {"data_path": "data/chunk-000/file-000.parquet"})
    return root


def linked(source: Path, root: Path) -> Path:
    """`source` again under another name, without its bytes."""
    shutil.copytree(source, root, copy_function=os.link)
    return root


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "hospitality":
        write_hospitality(Path(rest[0]), episodes=int(rest[1]), frames=int(rest[2]))
    else:
        made = {"groot": write_groot, "inspire53": write_inspire53, "combined": write_combined, "linked": linked}
        made[what](Path(rest[0]), Path(rest[1]))
