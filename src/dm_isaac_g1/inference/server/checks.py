"""Whether an observation is what a policy takes, said in the words of NVIDIA's server, which robots' code knows.

Source of rules and wording: check_observation of Gr00tPolicy and Gr00tSimPolicyWrapper, Isaac-GR00T N1.6. Beyond them,
widths of the state's groups are checked here, too, and that all of it are numbers: there a wrong width fails somewhere
in the model, and a NaN comes out as an action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from dm_isaac_g1.inference.specs import PolicySpec

Dialect = Literal["nested", "flat"]
_MODALITIES = ("video", "state", "language")


class WrongObservation(Exception):
    """Its text is what the client is told."""


def checked(observation: Any, spec: PolicySpec, dialect: Dialect) -> dict[str, Any]:
    """The observation, nested. Raises WrongObservation."""
    if not isinstance(observation, Mapping):
        raise WrongObservation(f"Observation must be a dictionary. Got {type(observation)}")
    nested = _from_flat(observation, spec) if dialect == "flat" else _nested(observation)
    size = _Size()
    for name in spec.cameras:
        _check_video(name, nested["video"], spec, size)
    for name, width in spec.state.items():
        _check_state(name, width, nested["state"], spec, size)
    if spec.language is not None:
        _check_language(spec.language, nested["language"], size)
    return nested


def _nested(observation: Mapping[str, Any]) -> dict[str, Any]:
    for modality in _MODALITIES:
        if modality not in observation:
            raise WrongObservation(f"Observation must contain a '{modality}' key")
        if not isinstance(observation[modality], dict):
            raise WrongObservation(f"Observation '{modality}' must be a dictionary. Got {type(observation[modality])}")
    return {modality: observation[modality] for modality in _MODALITIES}


def _from_flat(observation: Mapping[str, Any], spec: PolicySpec) -> dict[str, Any]:
    """video.NAME, state.NAME, and the instruction under its own key: a list or tuple of B strings."""
    nested: dict[str, Any] = {modality: {} for modality in _MODALITIES}
    for modality, names in (("video", spec.cameras), ("state", tuple(spec.state))):
        for name in names:
            key = f"{modality}.{name}"
            if key not in observation:
                raise WrongObservation(f"{modality.capitalize()} key '{key}' must be in observation")
            nested[modality][name] = observation[key]
    if spec.language is not None:
        if spec.language not in observation:
            raise WrongObservation(f"Language key '{spec.language}' must be in observation")
        said = observation[spec.language]
        if not isinstance(said, list | tuple):
            raise WrongObservation(f"Language key '{spec.language}' must be a tuple or list. Got {type(said)}")
        for item in said:
            if not isinstance(item, str):
                raise WrongObservation(f"Language batch item must be a string. Got {type(item)}")
        nested["language"][spec.language] = [[item] for item in said]
    return nested


class _Size:
    """The batch's size, as the first value says it."""

    known: int | None = None

    def agree(self, what: str, value: Any) -> None:
        if self.known is None:
            self.known = len(value)
        elif len(value) != self.known:
            raise WrongObservation(f"{what} must have batch size {self.known}. Got {len(value)}")


def _check_array(what: str, values: dict[str, Any], name: str, dtype: type[np.generic], dims: str) -> Any:
    if name not in values:
        raise WrongObservation(f"{what} must be in observation")
    array = values[name]
    if not isinstance(array, np.ndarray):
        raise WrongObservation(f"{what} must be a numpy array. Got {type(array)}")
    if array.dtype != dtype:
        raise WrongObservation(f"{what} must be a numpy array of type np.{dtype.__name__}. Got {array.dtype}")
    if array.ndim != dims.count(",") + 1:
        raise WrongObservation(f"{what} must be a numpy array of shape {dims}, got {array.shape}")
    if array.shape[0] == 0:
        raise WrongObservation(f"{what} must have a batch size of at least 1. Got 0")
    return array


def _check_video(name: str, values: dict[str, Any], spec: PolicySpec, size: _Size) -> None:
    what = f"Video key '{name}'"
    video = _check_array(what, values, name, np.uint8, "(B, T, H, W, C)")
    size.agree(what, video)
    if video.shape[1] != spec.video_steps:
        raise WrongObservation(f"{what}'s horizon must be {spec.video_steps}. Got {video.shape[1]}")
    if video.shape[-1] != 3:
        raise WrongObservation(f"{what}'s channel 'C' must be 3. Got {video.shape[-1]}")


def _check_state(name: str, width: int, values: dict[str, Any], spec: PolicySpec, size: _Size) -> None:
    what = f"State key '{name}'"
    state = _check_array(what, values, name, np.float32, "(B, T, D)")
    size.agree(what, state)
    if state.shape[1] != spec.state_steps:
        raise WrongObservation(f"{what}'s horizon must be {spec.state_steps}. Got {state.shape[1]}")
    if state.shape[2] != width:
        raise WrongObservation(f"{what}'s dimension 'D' must be {width}. Got {state.shape[2]}")
    if not np.isfinite(state).all():
        raise WrongObservation(f"{what} must be finite. Got NaN or infinity")


def _check_language(key: str, values: dict[str, Any], size: _Size) -> None:
    what = f"Language key '{key}'"
    if key not in values:
        raise WrongObservation(f"{what} must be in observation")
    said = values[key]
    if not isinstance(said, list):
        raise WrongObservation(f"{what} must be a list. Got {type(said)}")
    size.agree(what, said)
    for item in said:
        if not isinstance(item, list):
            raise WrongObservation(f"Language batch item must be a list. Got {type(item)}")
        if len(item) != 1:
            raise WrongObservation(f"{what}'s horizon must be 1. Got {len(item)}")
        if not isinstance(item[0], str):
            raise WrongObservation(f"Language batch item must be a string. Got {type(item[0])}")
