"""The replay of a dataset: what was recorded is answered, chunk by chunk, whatever the observation says.

As NVIDIA's ReplayPolicy (gr00t/policy/replay_policy.py, N1.6), whose own server cannot be started with one: reset takes
episode_index and step_index; the info says current_step, episode_length and episode_index; past the end the last action
is repeated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.columns import matrix
from dm_isaac_g1.data.compatibility import modality_of
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import IMAGES
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.inference.evaluation.groups import Groups
from dm_isaac_g1.inference.policies.base import Actions, Observation, PolicyError, batch_size, modality_config
from dm_isaac_g1.inference.protocol import ModalityConfig
from dm_isaac_g1.inference.specs import PolicySpec

LANGUAGE = "annotation.human.task_description"
HORIZON = 16


class ReplayPolicy:
    """One episode at a time is held in memory. `executed`: steps that a robot takes of each chunk."""

    kind = "replay"

    def __init__(self, folder: Path, *, horizon: int = HORIZON, executed: int | None = None) -> None:
        """Raises DataProblem, PolicyError."""
        self._dataset = Dataset.open(folder)
        self.name = self._dataset.root.resolve().name
        groups = Groups(self._dataset)
        self._places = groups.find("action", groups.known("action"))
        if not self._places:
            raise PolicyError("the dataset has no action", where=self.name)
        if not 0 < (executed or horizon) <= horizon:
            raise PolicyError(f"{executed} steps of a chunk of {horizon} cannot be executed")
        self._executed = executed or horizon
        self.spec: PolicySpec | None = PolicySpec(
            state={place.group: len(place.places) for place in groups.find("state", groups.known("state"))},
            action={place.group: len(place.places) for place in self._places},
            horizon=horizon,
            cameras=_cameras(self._dataset),
            language=LANGUAGE,
        )
        self._horizon = horizon
        self._load(self._dataset.episodes[0].index)
        self._step = 0

    def modality_config(self) -> dict[str, ModalityConfig]:
        assert self.spec is not None
        return modality_config(self.spec)

    def get_action(self, observation: Observation, options: Any = None) -> tuple[Actions, dict[str, Any]]:
        size = batch_size(observation)
        steps = np.minimum(np.arange(self._step, self._step + self._horizon), self._length - 1)
        actions = {group: np.repeat(rows[steps][None], size, axis=0) for group, rows in self._rows.items()}
        said = self._said()
        self._step += self._executed
        return actions, said

    def reset(self, options: Any = None) -> dict[str, Any]:
        given = options if isinstance(options, dict) else {}
        episode = _number(given, "episode_index", self._episode)
        step = _number(given, "step_index", 0)
        if episode != self._episode:
            try:
                self._load(episode)
            except DataProblem as problem:
                raise PolicyError(problem.what, where=problem.where) from None
        self._step = step
        return self._said()

    def close(self) -> None:
        pass

    def _said(self) -> dict[str, int]:
        return {"episode_index": self._episode, "episode_length": self._length, "current_step": self._step}

    def _load(self, episode: int) -> None:
        columns = list(dict.fromkeys(place.column for place in self._places))
        listed = self._dataset.episode(episode)
        table = self._dataset.read(episode, columns)
        whole: dict[str, NDArray[np.float32]] = {}
        for column in columns:
            feature = self._dataset.info.features[column]
            names = feature.labels(column)
            whole[column] = matrix(
                table, column, feature.width, episode=episode, file=listed.file, names=names, dtype=np.float32
            )
        self._rows = {place.group: whole[place.column][:, list(place.places)] for place in self._places}
        self._length = len(whole[columns[0]])
        self._episode = episode


def _cameras(dataset: Dataset) -> tuple[str, ...]:
    """As modality.json names them, else by their features' names."""
    modality = modality_of(dataset)
    named = modality.get("video") if isinstance(modality, dict) else None
    if isinstance(named, dict):
        return tuple(named)
    return tuple(camera.removeprefix(IMAGES) for camera in dataset.cameras)


def _number(options: dict[str, Any], name: str, otherwise: int) -> int:
    value = options.get(name, otherwise)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PolicyError(f"{name} is {value!r}, expected a number of at least 0")
    return value
