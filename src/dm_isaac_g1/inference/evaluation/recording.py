"""An episode as what a policy is asked (observations at some steps), and what it should have answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.columns import integers, matrix
from dm_isaac_g1.inference.evaluation.groups import Groups, Place
from dm_isaac_g1.inference.evaluation.results import EvaluationError, Taken

if TYPE_CHECKING:
    from dm_isaac_g1.data.dataset import Dataset

Floats = NDArray[np.float32]


class Recordings:
    """A dataset's episodes for a policy that takes `taken`, compared in the groups `keys` of its action.

    Raises EvaluationError: the dataset lacks a group, a camera or an instruction that the policy has.
    """

    def __init__(self, dataset: Dataset, taken: Taken, keys: Sequence[str] = ()) -> None:
        self.dataset = dataset
        self.taken = taken
        self.groups = Groups(dataset)
        self.state = self.groups.find("state", taken.state)
        self.action = self.groups.find("action", tuple(keys) or taken.action)
        self.cameras = {name: self.groups.camera(name) for name in taken.cameras}

    @property
    def names(self) -> list[tuple[str, str]]:
        """Group and name of every value of the action."""
        return [(place.group, name) for place in self.action for name in place.names]

    def episode(self, number: int) -> Recording:
        """One of them. Raises DataProblem: no such episode, rows that are missing or no numbers."""
        return Recording(self, number)


class Recording:
    """One episode: rows read, pictures when they are asked for. `action` (frames, values) side by side."""

    def __init__(self, of: Recordings, number: int) -> None:
        self._of = of
        self.number = number
        dataset = of.dataset
        self._listed = dataset.episode(number)
        places = (*of.state, *of.action)
        language = of.groups.instructions(of.taken.language) if of.taken.language else None
        columns = dict.fromkeys(place.column for place in places)
        self._table = dataset.read(number, [*columns, *([language] if language else [])])
        whole = {column: self._matrix(column) for column in columns}
        self.length = len(next(iter(whole.values())))
        self._state = {place.group: self._taken(whole, place) for place in of.state}
        self.action: Floats = np.concatenate([self._taken(whole, place) for place in of.action], axis=1)
        self._tasks = integers(self._table, language, episode=number, file=self._listed.file) if language else None

    def observation(self, step: int) -> dict[str, Any]:
        """What the robot would have sent at `step`, nested, a batch of one. Raises DataProblem, EvaluationError."""
        taken = self._of.taken
        now = [min(max(step + delta, 0), self.length - 1) for delta in taken.state_steps]
        language = {} if taken.language is None else {taken.language: [[self._instruction(step)]]}
        return {
            "video": {name: self._pictures(key, step) for name, key in self._of.cameras.items()},
            "state": {group: np.ascontiguousarray(rows[now][None]) for group, rows in self._state.items()},
            "language": language,
        }

    def _pictures(self, key: str, step: int) -> NDArray[np.uint8]:
        """(1, T, H, W, 3)"""
        from dm_isaac_g1.data.video import frame_at

        dataset, clip = self._of.dataset, self._listed.videos[key]
        frames = []
        for delta in self._of.taken.video_steps:
            frame = min(max(step + delta, 0), self.length - 1)
            frames.append(frame_at(dataset.path_of(clip.file), clip.start + frame / dataset.fps))
        return np.stack(frames)[None]

    def _instruction(self, step: int) -> str:
        assert self._tasks is not None
        number = int(self._tasks[min(step, self.length - 1)])
        text = self._of.dataset.tasks.get(number)
        if text is None:
            raise EvaluationError(
                f"frame {step} of episode {self.number} has instruction {number}, which meta does not list",
                where=self._of.groups.name,
                fix="`dm-g1 data validate` says more",
            )
        return text

    def _matrix(self, column: str) -> Floats:
        feature = self._of.dataset.info.features[column]
        rows: Floats = matrix(
            self._table,
            column,
            feature.width,
            episode=self.number,
            file=self._listed.file,
            names=feature.labels(column),
            dtype=np.float32,
        )
        return rows

    @staticmethod
    def _taken(whole: dict[str, Floats], place: Place) -> Floats:
        return whole[place.column][:, list(place.places)]
