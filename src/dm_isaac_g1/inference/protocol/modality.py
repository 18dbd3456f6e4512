"""`ModalityConfig`: how a policy's server says which keys it takes and gives, and at which moments.

Source: gr00t/data/types.py of Isaac-GR00T N1.6; on the wire `as_json` is a map there, and a JSON text in N1.5, whose
keys have their modality in front (state.waist). It says no widths.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dm_isaac_g1.inference.protocol.errors import ProtocolError

MARK = "__ModalityConfig_class__"
_AS = "as_json"


class ActionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an action group was trained: names of the enums ActionRepresentation, ActionType and ActionFormat."""

    rep: str = "ABSOLUTE"
    type: str = "NON_EEF"
    format: str = "DEFAULT"
    state_key: str | None = None


class ModalityConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Of one modality. `delta_indices`: moments relative to now; `action_configs`: one for each key of "action"."""

    delta_indices: list[int]
    modality_keys: list[str]
    sin_cos_embedding_keys: list[str] | None = None
    mean_std_embedding_keys: list[str] | None = None
    action_configs: list[ActionConfig] | None = None


def to_wire(config: ModalityConfig) -> dict[str, Any]:
    """As N1.6 writes it."""
    return {MARK: True, _AS: msgspec.to_builtins(config)}


def from_wire(value: dict[str, Any]) -> ModalityConfig:
    """Of a map that has MARK, as N1.6 or N1.5 writes it. Raises ProtocolError."""
    told = value.get(_AS)
    try:
        if isinstance(told, str):
            return msgspec.json.decode(told, type=ModalityConfig)
        return msgspec.convert(told, ModalityConfig)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProtocolError(f"a modality's configuration that makes no sense: {error}") from None
