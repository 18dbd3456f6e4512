"""A policy that knows a dataset by heart: it finds the frame by the state it is shown, and answers what was recorded.

It reads parquet by itself, not through the package's `data`: a mistake there must not hide itself here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dm_isaac_g1.inference.evaluation.results import Taken


class Recorded:
    """Answers `horizon` actions from the frame whose state it is shown, the last one held; `wrong`: added to them."""

    def __init__(self, root: Path, *, horizon: int = 16, wrong: float = 0.0, cameras: tuple[str, ...] = ()) -> None:
        modality = json.loads((root / "meta" / "modality.json").read_text())
        self.groups = {kind: {n: (g["start"], g["end"]) for n, g in modality[kind].items()} for kind in modality_kinds}
        self.horizon, self.wrong = horizon, wrong
        self.cameras = cameras
        self.states, self.actions = [], []
        for path in sorted(root.glob("data/**/*.parquet")):
            table = pq.read_table(path)
            self.states.append(np.array(table["observation.state"].to_pylist(), np.float32))
            self.actions.append(np.array(table["action"].to_pylist(), np.float32))
        self.seen: list[dict[str, Any]] = []

    @property
    def taken(self) -> Taken:
        return Taken(
            state=tuple(self.groups["state"]),
            action=tuple(self.groups["action"]),
            cameras=self.cameras,
            language="annotation.human.task_description",
            horizon=self.horizon,
        )

    def get_action(self, observation: dict[str, Any], options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.seen.append(observation)
        episode, frame = self.where(observation["state"])
        rows = self.actions[episode]
        chunk = rows[np.minimum(np.arange(frame, frame + self.horizon), len(rows) - 1)] + np.float32(self.wrong)
        return {name: chunk[None, :, start:end] for name, (start, end) in self.groups["action"].items()}, {}

    def where(self, state: dict[str, Any]) -> tuple[int, int]:
        """Episode and frame with exactly this state."""
        for episode, rows in enumerate(self.states):
            same = np.ones(len(rows), bool)
            for name, (start, end) in self.groups["state"].items():
                value = state[name]
                assert value.dtype == np.float32 and value.shape == (1, 1, end - start), (name, value.shape)
                same &= (rows[:, start:end] == value[0, 0]).all(axis=1)
            if same.any():
                return episode, int(np.argmax(same))
        raise AssertionError("a state that was never recorded")


modality_kinds = ("state", "action")
