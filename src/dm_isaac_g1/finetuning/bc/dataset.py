"""Reading a LeRobot v2.1 (or v2.0) dataset for behaviour cloning: states and actions of every episode, nothing made up.

`data` reads it. Whatever is missing, of the wrong width or not a number is an error that names file and column; it is
never filled with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.data.episodes import read_episodes
from dm_isaac_g1.data.info import ACTION, INFO, STATE, Feature, Info, read_info
from dm_isaac_g1.data.problems import DataProblem, SchemaError
from dm_isaac_g1.data.work import Work

_CONVERT = "convert it first: `dm-g1 data convert --format v2.1`"

Floats = NDArray[np.float32]


class DatasetError(DmG1Error):
    """A dataset that cannot be trained on; `where` is the file."""


class Episode(msgspec.Struct, frozen=True):
    """state (frames, state_dim) and action (frames, action_dim), float32."""

    state: Floats
    action: Floats


class Demonstrations(msgspec.Struct, frozen=True, kw_only=True):
    """All episodes of one or more datasets with the same columns."""

    episodes: tuple[Episode, ...]
    fps: float
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]

    @property
    def frames(self) -> int:
        return sum(len(e.state) for e in self.episodes)

    def statistics(self) -> dict[str, NDArray[np.float64]]:
        """Mean and spread of every column over all frames, in float64 (float32 sums drift, see NVIDIA's stats)."""
        found: dict[str, NDArray[np.float64]] = {}
        for name in ("state", "action"):
            rows = np.concatenate([getattr(e, name) for e in self.episodes]).astype(np.float64)
            found[f"{name}_mean"] = rows.mean(axis=0)
            found[f"{name}_std"] = rows.std(axis=0)
        return found


def load(folders: Sequence[Path]) -> Demonstrations:
    """All episodes of `folders`. Raises DatasetError; also where the folders do not go together."""
    if not folders:
        raise DatasetError("no dataset given", fix="name one with --dataset")
    parts = [_load_one(folder) for folder in folders]
    first = parts[0]
    for folder, part in zip(folders[1:], parts[1:], strict=True):
        for what in ("fps", "state_names", "action_names"):
            if getattr(part, what) != getattr(first, what):
                raise DatasetError(f"{what.replace('_', ' ')} differ from those of {folders[0]}", where=str(folder))
    return msgspec.structs.replace(first, episodes=tuple(e for part in parts for e in part.episodes))


def _load_one(folder: Path) -> Demonstrations:
    try:
        from dm_isaac_g1.data.columns import matrix
        from dm_isaac_g1.data.dataset import Dataset
    except ImportError:
        raise DatasetError("pyarrow is not installed", fix="pip install 'dm-isaac-g1[train]'") from None
    try:
        info = read_info(folder)
        features = {column: _feature(info, column) for column in (STATE, ACTION)}
        # Not Dataset.open: tasks are not needed here, and sets without a list of them can be trained on.
        dataset = Dataset(folder, info, read_episodes(folder, info), tasks={}, work=Work())
        episodes = []
        for episode in dataset.episodes:
            table = dataset.read(episode.index, (STATE, ACTION))
            state, action = (
                np.array(matrix(table, column, feature.width, file=episode.file, dtype=np.float32))
                for column, feature in features.items()
            )
            episodes.append(Episode(state, action))
    except DataProblem as problem:
        finding = problem.finding
        where = folder / finding.place.file if finding.place.file else folder
        raise DatasetError(finding.what, where=str(where), fix=finding.fix) from None
    return Demonstrations(
        episodes=tuple(episodes),
        fps=info.fps,
        state_names=features[STATE].labels(STATE),
        action_names=features[ACTION].labels(ACTION),
    )


def _feature(info: Info, column: str) -> Feature:
    """Raises SchemaError where the dataset is none that bc reads."""
    if info.version == "3.0":
        raise SchemaError("unknown-version", "LeRobot v3.0, bc reads v2.0 and v2.1", file=INFO, fix=_CONVERT)
    feature = info.features.get(column)
    if feature is None:
        known = ", ".join(sorted(info.features))
        raise SchemaError("missing-column", f"column {column} is missing (found: {known})", file=INFO)
    if len(feature.shape) != 1:
        what = f"column {column} has shape {list(feature.shape)}, expected one number of values"
        raise SchemaError("bad-shape", what, file=INFO)
    return feature
