"""What every policy is to the server, and the modality configuration that follows from what it takes and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.inference.protocol import ActionConfig, ModalityConfig
from dm_isaac_g1.inference.specs import PolicySpec

#: A nested observation: {"video": {name: uint8 (B, T, H, W, 3)}, "state": {name: float32 (B, T, D)},
#: "language": {key: [[str]] * B}}.
Observation = Mapping[str, Any]
#: {group: float32 (B, horizon, D)}
Actions = dict[str, NDArray[np.float32]]


class PolicyError(DmG1Error):
    """A policy that cannot be loaded, or what it cannot do with a request."""


class Policy(Protocol):
    """What `PolicyServer` serves. Called by one thread at a time. Any object with these methods will do; without a
    `spec` the server checks nothing of an observation before it hands it over."""

    #: "bc", "torchscript", "onnx", "replay", ...; and what it is called: a checkpoint's name.
    kind: str
    name: str
    spec: PolicySpec | None

    def modality_config(self) -> Mapping[str, ModalityConfig]:
        """Of "video", "state", "action" and "language"."""

    def get_action(self, observation: Observation, options: Any = None) -> tuple[Actions, dict[str, Any]]:
        """Actions and an info, for a checked, nested observation."""

    def reset(self, options: Any = None) -> dict[str, Any]:
        """Begin anew; what there is to say about it."""

    def close(self) -> None:
        """Let go of what it holds."""


def modality_config(spec: PolicySpec, relative: Iterable[str] = ()) -> dict[str, ModalityConfig]:
    """As GR00T N1.6 describes itself. `relative`: action groups that are said to be trained relative to the state; what
    a server answers is absolute all the same."""
    told = set(relative)
    found = {
        "video": ModalityConfig(delta_indices=list(range(1 - spec.video_steps, 1)), modality_keys=list(spec.cameras)),
        "state": ModalityConfig(delta_indices=list(range(1 - spec.state_steps, 1)), modality_keys=list(spec.state)),
        "action": ModalityConfig(
            delta_indices=list(range(spec.horizon)),
            modality_keys=list(spec.action),
            action_configs=[ActionConfig(rep="RELATIVE" if group in told else "ABSOLUTE") for group in spec.action],
        ),
        "language": ModalityConfig(delta_indices=[0], modality_keys=[spec.language] if spec.language else []),
    }
    # NVIDIA's client refuses a modality without keys: one that the policy does not take is left out.
    return {modality: config for modality, config in found.items() if config.modality_keys}


def batch_size(observation: Observation) -> int:
    """Of a checked observation, by its first array or list; 1 for an empty one."""
    for modality in ("video", "state", "language"):
        for value in observation.get(modality, {}).values():
            return len(value)
    return 1


def split(flat: NDArray[np.float32], spec: PolicySpec) -> Actions:
    """(B, horizon, all values) as groups one after another. Raises PolicyError where there are not as many values."""
    if flat.ndim != 3 or flat.shape[2] != spec.action_width:
        raise PolicyError(f"the model answered {flat.shape}, expected (B, {spec.horizon}, {spec.action_width})")
    actions: Actions = {}
    start = 0
    for group, width in spec.action.items():
        actions[group] = np.ascontiguousarray(flat[:, :, start : start + width], dtype=np.float32)
        start += width
    return actions


def joined(observation: Observation, spec: PolicySpec) -> NDArray[np.float32]:
    """The state's groups at the last moment one after another: float32 (B, all values)."""
    parts = [np.asarray(observation["state"][group], np.float32)[:, -1] for group in spec.state]
    if not parts:
        return np.zeros((batch_size(observation), 0), np.float32)
    return np.concatenate(parts, axis=1)
