"""Writing episodes as LeRobot v2.1, as lerobot 0.3.3 reads it, with GR00T's modality.json and stats.json beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dm_isaac_g1.core.robot import Layout

STATE, ACTION = "observation.state", "action"


def write(
    folder: Path, episodes: Sequence[tuple[Any, Any]], *, state: Layout, action: Layout, fps: int, task: str
) -> None:
    """Write `episodes`, pairs of (frames, state.width) and (frames, action.width), into the empty `folder`.

    Raises OSError. Needs pyarrow.
    """
    import numpy as np

    (folder / "meta").mkdir()
    (folder / "data" / "chunk-000").mkdir(parents=True)
    features = _features(state, action)
    every: list[dict[str, Any]] = []
    index = 0
    for number, (states, actions) in enumerate(episodes):
        count = len(states)
        columns = {
            STATE: states,
            ACTION: actions,
            "timestamp": (np.arange(count) / fps).astype(np.float32),
            "frame_index": np.arange(count, dtype=np.int64),
            "episode_index": np.full(count, number, dtype=np.int64),
            "index": np.arange(index, index + count, dtype=np.int64),
            "task_index": np.zeros(count, dtype=np.int64),
        }
        _write_parquet(folder / "data" / "chunk-000" / f"episode_{number:06d}.parquet", columns, features)
        every.append(columns)
        index += count
    meta = folder / "meta"
    _write_json(meta / "info.json", _info(every, features, fps))
    _write_lists(meta, every, task)
    together = {n: np.concatenate([c[n] for c in every]) for n in (STATE, ACTION, "timestamp")}
    _write_json(meta / "stats.json", {name: _statistics(v, quantiles=True) for name, v in together.items()})
    annotation = {"human.task_description": {"original_key": "task_index"}}
    _write_json(
        meta / "modality.json", {"state": state.modality(), "action": action.modality(), "annotation": annotation}
    )


def _write_parquet(path: Path, columns: dict[str, Any], features: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        if values.ndim == 2
        else pa.array(values)
        for name, values in columns.items()
    }
    table = pa.table(arrays).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, compression="snappy", use_dictionary=["episode_index", "task_index"])


def _info(every: list[dict[str, Any]], features: dict[str, Any], fps: int) -> dict[str, Any]:
    return {
        "codebase_version": "v2.1",
        "robot_type": "Unitree_G1",
        "total_episodes": len(every),
        "total_frames": sum(len(columns[STATE]) for columns in every),
        "total_tasks": 1,
        "total_videos": 0,
        "total_chunks": 1,
        "chunks_size": 1000,
        "fps": fps,
        "splits": {"train": f"0:{len(every)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
        "features": features,
    }


def _write_lists(meta: Path, every: list[dict[str, Any]], task: str) -> None:
    lengths = [len(columns[STATE]) for columns in every]
    _write_lines(meta / "tasks.jsonl", [{"task_index": 0, "task": task}])
    _write_lines(
        meta / "episodes.jsonl", [{"episode_index": i, "tasks": [task], "length": n} for i, n in enumerate(lengths)]
    )
    _write_lines(
        meta / "episodes_stats.jsonl",
        [
            {"episode_index": i, "stats": {name: _statistics(v) | {"count": [len(v)]} for name, v in columns.items()}}
            for i, columns in enumerate(every)
        ],
    )


def _features(state: Layout, action: Layout) -> dict[str, Any]:
    whole = {"dtype": "int64", "shape": [1], "names": None}
    return {
        STATE: {"dtype": "float32", "shape": [state.width], "names": list(state.names)},
        ACTION: {"dtype": "float32", "shape": [action.width], "names": list(action.names)},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), whole),
    }


def _statistics(values: Any, *, quantiles: bool = False) -> dict[str, list[float]]:
    """In float64: float32 sums drift. Quantiles as numpy's linear ones, as GR00T's generate_stats has them."""
    import numpy as np

    rows = values.reshape(len(values), -1).astype(np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    if quantiles:
        found["q01"], found["q99"] = np.quantile(rows, [0.01, 0.99], axis=0)
    return {name: value.tolist() for name, value in found.items()}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=4, allow_nan=False) + "\n")


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
