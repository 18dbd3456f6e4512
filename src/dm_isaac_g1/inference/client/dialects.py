"""Four ways to say the same observation and action.

nested     N1.6: {"video": {"ego_view": (B, T, H, W, 3)}, "state": {"waist": (B, T, D)}, "language": {key: [[str]] * B}}
flat       N1.6 with --use-sim-policy-wrapper: "video.ego_view", "state.waist", key: [str] * B; "action.waist" back
n1.5       flat without B where B is 1; no options, no info
n1.5-http  the same as JSON

Sources: gr00t_policy.py of N1.6 (Gr00tPolicy, Gr00tSimPolicyWrapper), gr00t/eval/service.py and http_server.py of N1.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference.protocol.errors import ProtocolError
from dm_isaac_g1.inference.protocol.modality import ModalityConfig
from dm_isaac_g1.inference.protocol.npy import Array

Dialect = Literal["nested", "flat", "n1.5", "n1.5-http"]
DIALECTS: tuple[Dialect, ...] = ("nested", "flat", "n1.5", "n1.5-http")

#: What a server that speaks `flat` says to a nested observation: of Gr00tSimPolicyWrapper, or Python's KeyError.
_WANTS_FLAT = re.compile(r"'(video|state)\.[^']+' must be in observation|^'(video|state)\.[^']+'$")
#: What one that speaks `nested` says to a flat observation, or to one of N1.5.
_WANTS_NESTED = re.compile(
    r"must contain a '(video|state|language)' key|^'(video|state|language)'$"
    r"|unexpected keyword argument '(video|state|annotation)\."
)


def meant(said: str, spoken: Dialect) -> Dialect | None:
    """The dialect that a server's error asks for; None where it is about something else."""
    if spoken == "nested" and _WANTS_FLAT.search(said):
        return "flat"
    return "nested" if spoken in ("flat", "n1.5") and _WANTS_NESTED.search(said) else None


def of_modality(configs: Mapping[str, Any]) -> Dialect:
    """From what a server over ZeroMQ says of its modalities: N1.5's keys have theirs in front. Else nested, or flat."""
    state = configs.get("state")
    keys = state.modality_keys if isinstance(state, ModalityConfig) else []
    return "n1.5" if keys and all(key.startswith("state.") for key in keys) else "nested"


def request_data(dialect: Dialect, observation: Mapping[str, Any], options: Any) -> dict[str, Any]:
    """What `get_action` sends for a nested observation. Raises UsageError where it is none."""
    _check(observation)
    if dialect == "nested":
        return {"observation": observation, "options": options}
    flat = _flat(observation)
    if dialect == "flat":
        return {"observation": flat, "options": options}
    single = _batch(flat) == 1
    short = {key: value[0] if single and isinstance(value, np.ndarray) else value for key, value in flat.items()}
    return {"observation": short} if dialect == "n1.5-http" else short


def actions_of(dialect: Dialect, reply: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """A reply to `get_action` as (group -> (B, steps, D), info). Raises ProtocolError where it is none."""
    if dialect in ("nested", "flat"):
        if not isinstance(reply, list) or len(reply) != 2 or not all(isinstance(each, dict) for each in reply):
            raise ProtocolError("an answer to get_action that is no pair of actions and info")
        actions, info = reply
    else:
        actions, info = reply, {}
    if not isinstance(actions, dict):
        raise ProtocolError("an answer to get_action without actions")
    return {key.removeprefix("action."): _action(dialect, key, value) for key, value in actions.items()}, info


def _action(dialect: Dialect, key: str, value: Any) -> Array:
    if dialect == "n1.5-http" and isinstance(value, list):
        value = _numbers(value)
    if not isinstance(value, np.ndarray):
        raise ProtocolError(f"an answer to get_action whose {key[:60]!r} is no array")
    if dialect.startswith("n1.5") and value.ndim < 3:
        # (steps, D), and (steps,) where D is 1.
        return value.reshape(1, value.shape[0] if value.ndim else 1, -1)
    return value


def _numbers(value: list[Any]) -> Any:
    try:
        return np.array(value, np.float32)
    except (ValueError, TypeError):
        return None


def _check(observation: Mapping[str, Any]) -> None:
    if not isinstance(observation, Mapping) or not all(isinstance(each, Mapping) for each in observation.values()):
        raise UsageError(
            'an observation that is not nested, expected {"video": {...}, "state": {...}, "language": {...}}',
            fix="make it with dm_isaac_g1.inference.observation(...)",
        )


def _flat(observation: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for modality, values in observation.items():
        for key, value in values.items():
            if modality == "language":
                flat[key] = [moments if isinstance(moments, str) else moments[0] for moments in value]
            else:
                flat[f"{modality}.{key}"] = value
    return flat


def _batch(flat: Mapping[str, Any]) -> int:
    return next((len(value) for value in flat.values()), 1)
