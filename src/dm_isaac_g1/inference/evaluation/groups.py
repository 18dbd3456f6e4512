"""Where a dataset keeps what a policy calls left_arm or ego_view: by meta/modality.json, else by names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from dm_isaac_g1.data.info import ACTION, IMAGES, STATE
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.stats.groups import MODALITY
from dm_isaac_g1.inference.evaluation.results import EvaluationError
from dm_isaac_g1.inference.specs import action_columns, state_columns

if TYPE_CHECKING:
    from dm_isaac_g1.data.dataset import Dataset

Kind = Literal["state", "action"]

#: The column that a group of modality.json without an `original_key` is a slice of.
_WHOLE: dict[Kind, str] = {"state": STATE, "action": ACTION}
#: Columns of their own, as Unitree's whole-body sets have them.
_OWN: dict[Kind, tuple[str, ...]] = {
    "state": ("observation.state.{}", "observation.{}"),
    "action": ("action.{}",),
}
_TASK = "task_index"


class Place(msgspec.Struct, frozen=True):
    """A group: a column, the places of its values in it, and what they are called."""

    group: str
    column: str
    places: tuple[int, ...]
    names: tuple[str, ...]


class Groups:
    """The groups, cameras and instructions of one dataset. Raises EvaluationError where modality.json is damaged."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.name = dataset.root.resolve().name
        self._modality = self._read()

    def find(self, kind: Kind, names: Sequence[str]) -> tuple[Place, ...]:
        """Those groups of the state or the action. Raises EvaluationError: which are missing, and what there is."""
        found = [self._place(kind, name) for name in names]
        missing = [name for name, place in zip(names, found, strict=True) if place is None]
        if missing:
            there = ", ".join(self.known(kind)) or "none"
            raise EvaluationError(
                f"the policy's {kind} has {', '.join(missing)}, which the dataset lacks (it has {there})",
                where=self.name,
                fix="is it a dataset of another embodiment? `dm-g1 data convert` makes one that fits",
            )
        return tuple(place for place in found if place is not None)

    def known(self, kind: Kind) -> list[str]:
        """The groups that there are, by meta/modality.json, a layout of names, or columns of their own."""
        known = list(_mapping(self._modality.get(kind)))
        if known:
            return known
        whole = self.dataset.info.features.get(_WHOLE[kind])
        if whole is not None and whole.is_numeric:
            labels = whole.labels(_WHOLE[kind])
            return list((state_columns if kind == "state" else action_columns)(labels, whole.width).groups)
        prefixes = tuple(pattern.format("") for pattern in _OWN[kind])
        return [column for column in self.dataset.info.columns if column.startswith(prefixes)]

    def camera(self, name: str) -> str:
        """The full key of a camera. Raises EvaluationError."""
        entry = _mapping(_mapping(self._modality.get("video")).get(name))
        key = entry.get("original_key", f"{IMAGES}{name}")
        if key in self.dataset.cameras:
            return str(key)
        if name in self.dataset.cameras:
            return name
        there = ", ".join(each.removeprefix(IMAGES) for each in self.dataset.cameras) or "none"
        raise EvaluationError(
            f"the policy looks through camera {name}, which the dataset lacks (it has {there})",
            where=self.name,
            fix="`dm-g1 data convert --format groot --ego-camera CAMERA` names one ego_view",
        )

    def cameras(self) -> list[str]:
        """Under the names of modality.json; else their own, without what all of them begin with."""
        return list(_mapping(self._modality.get("video"))) or [key.removeprefix(IMAGES) for key in self.dataset.cameras]

    def language(self) -> str | None:
        """The instruction's key, where modality.json names one."""
        return next((f"annotation.{name}" for name in _mapping(self._modality.get("annotation"))), None)

    def instructions(self, key: str) -> str:
        """The column whose numbers say which instruction a frame has."""
        entry = _mapping(_mapping(self._modality.get("annotation")).get(key.removeprefix("annotation.")))
        column = str(entry.get("original_key", key))
        return column if column in self.dataset.info.columns else _TASK

    def _place(self, kind: Kind, name: str) -> Place | None:
        entry = _mapping(_mapping(self._modality.get(kind)).get(name))
        if entry:
            return self._slice(kind, name, entry)
        whole = self.dataset.info.features.get(_WHOLE[kind])
        if whole is not None and whole.is_numeric:
            labels = whole.labels(_WHOLE[kind])
            columns = (state_columns if kind == "state" else action_columns)(labels, whole.width).groups
            places = columns.get(name) or (tuple(range(whole.width)) if name == kind else None)
            if places is not None:
                return Place(name, _WHOLE[kind], places, tuple(labels[place] for place in places))
        for pattern in _OWN[kind]:
            column = pattern.format(name)
            feature = self.dataset.info.features.get(column)
            if feature is not None and feature.is_numeric:
                return Place(name, column, tuple(range(feature.width)), feature.labels(column))
        return None

    def _slice(self, kind: Kind, name: str, entry: Mapping[str, Any]) -> Place:
        column = entry.get("original_key", _WHOLE[kind])
        start, end = entry.get("start"), entry.get("end")
        feature = self.dataset.info.features.get(column) if isinstance(column, str) else None
        if (
            feature is None
            or not feature.is_numeric
            or not isinstance(start, int)
            or not isinstance(end, int)
            or not 0 <= start < end <= feature.width
        ):
            width = f" of {feature.width} values" if feature is not None else ""
            raise EvaluationError(
                f"{kind}.{name} is {start} to {end} of {column}{width}", where=f"{self.name}/{MODALITY}"
            )
        return Place(name, str(column), tuple(range(start, end)), feature.labels(str(column))[start:end])

    def _read(self) -> Mapping[str, Any]:
        if not (self.dataset.root / MODALITY).exists():
            return {}
        try:
            return _mapping(read_json(self.dataset.root, MODALITY))
        except DataProblem as problem:
            raise EvaluationError(problem.what, where=f"{self.name}/{MODALITY}", fix=problem.fix) from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
