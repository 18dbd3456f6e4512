"""Writing episodes as LeRobot v2.1, as lerobot 0.3.3 reads it, with GR00T's modality.json and statistics beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dm_isaac_g1.core.robot import Layout

STATE, ACTION = "observation.state", "action"


def write(
    folder: Path, episodes: Sequence[tuple[Any, Any]], *, state: Layout, action: Layout, fps: int, task: str
) -> None:
    """Write `episodes`, pairs of (frames, state.width) and (frames, action.width), into the empty `folder`.

    Raises DataProblem (NaN, infinite), OSError. Needs pyarrow.
    """
    import numpy as np

    from dm_isaac_g1.data.info import DATA_V2, new_info
    from dm_isaac_g1.data.stats.compute import compute_stats
    from dm_isaac_g1.data.writing import episode_row, write_json, write_meta, write_parquet

    lengths = [len(states) for states, _ in episodes]
    info = new_info(
        version="2.1",
        robot_type="Unitree_G1",
        fps=fps,
        features={
            STATE: {"dtype": "float32", "shape": [state.width], "names": list(state.names)},
            ACTION: {"dtype": "float32", "shape": [action.width], "names": list(action.names)},
        },
        episodes=len(lengths),
        frames=sum(lengths),
        tasks=1,
    )
    for number, (states, actions) in enumerate(episodes):
        count, start = lengths[number], sum(lengths[:number])
        path = folder / DATA_V2.format(episode_chunk=0, episode_index=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            STATE: states,
            ACTION: actions,
            "timestamp": (np.arange(count) / fps).astype(np.float32),
            "frame_index": np.arange(count),
            "episode_index": np.full(count, number),
            "index": np.arange(start, start + count),
            "task_index": np.zeros(count, np.int64),
        }
        write_parquet(path, columns, info["features"])
    rows = (episode_row(number, [task], count) for number, count in enumerate(lengths))
    write_meta(folder, info=info, episodes=rows, tasks={0: task})
    annotation = {"human.task_description": {"original_key": "task_index"}}
    modality = {"state": state.modality(), "action": action.modality(), "annotation": annotation}
    write_json(folder / "meta" / "modality.json", modality)
    compute_stats(folder)
