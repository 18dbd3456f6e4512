"""Small LeRobot v2.1 datasets for tests, whole or broken in one place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def make(folder: Path, *, episodes: int = 3, frames: int = 40, state: int = 5, action: int = 3, seed: int = 0) -> Path:
    """Smooth random motions: the action is the state's first columns a moment later."""
    random = np.random.default_rng(seed)
    (folder / "meta").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    for number in range(episodes):
        phase = random.uniform(0, 6, state)
        t = np.arange(frames + 1)[:, None] / 15
        values = np.sin(t + phase).astype(np.float32)
        write_episode(folder, number, values[:-1], values[1:, :action])
    info = {
        "codebase_version": "v2.1",
        "fps": 30,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "features": {
            "observation.state": {"dtype": "float32", "shape": [state], "names": [f"s{i}" for i in range(state)]},
            "action": {"dtype": "float32", "shape": [action], "names": [f"a{i}" for i in range(action)]},
        },
    }
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    rows = [{"episode_index": i, "tasks": ["swing"], "length": frames} for i in range(episodes)]
    (folder / "meta" / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_episode(folder: Path, number: int, state, action, *, kind: str = "fixed") -> None:
    """`kind`: "fixed" and "list" are how tools write vectors; "wide" writes doubles."""

    def column(values):
        values = np.asarray(values, dtype=np.float64 if kind == "wide" else np.float32)
        if kind == "fixed":
            return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return pa.array(values.tolist(), pa.list_(pa.float64() if kind == "wide" else pa.float32()))

    path = folder / "data" / "chunk-000" / f"episode_{number:06d}.parquet"
    pq.write_table(pa.table({"observation.state": column(state), "action": column(action)}), path)


def edit_info(folder: Path, **changes) -> None:
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
