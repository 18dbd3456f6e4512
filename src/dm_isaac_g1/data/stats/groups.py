"""Which action groups GR00T predicts relative to the state, and where both stand, as meta/modality.json says.

UNITREE_G1 (gr00t/configs/data/embodiment_configs.py of N1.6) fixes group names and not widths: left_arm and right_arm
are RELATIVE to the state's groups of the same names, whatever dataset they stand in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.core.robot import ACTION_23
from dm_isaac_g1.data.info import ACTION, STATE, Info
from dm_isaac_g1.data.jsonfiles import read_json
from dm_isaac_g1.data.problems import SchemaError

MODALITY = "meta/modality.json"

#: Names of the groups that UNITREE_G1 predicts relative to the state.
RELATIVE = tuple(group.name for group in ACTION_23.groups if group.relative)


class Slice(msgspec.Struct, frozen=True):
    """Values `start` to `end` (exclusive) of a column."""

    column: str
    start: int
    end: int

    @property
    def width(self) -> int:
        return self.end - self.start


class RelativeGroup(msgspec.Struct, frozen=True):
    """An action group and the state group that it is relative to; of the same width."""

    name: str
    action: Slice
    state: Slice


def relative_groups(root: Path, info: Info) -> tuple[RelativeGroup, ...]:
    """The RELATIVE groups of the dataset by name; () where it has no modality.json, or none of them in it.

    Raises SchemaError: a slice that the columns do not have, groups of different widths; IntegrityError: not JSON.
    """
    if not (root / MODALITY).is_file():
        return ()
    modality = read_json(root, MODALITY)
    kinds = {kind: _mapping(_mapping(modality).get(kind)) for kind in ("state", "action")}
    found = []
    for name in sorted(RELATIVE):
        if name not in kinds["action"]:
            continue
        action = _slice(info, kinds["action"][name], ACTION, f"action.{name}")
        if name not in kinds["state"]:
            raise _wrong(f"action {name} is relative to a state group of that name, and there is none", name)
        state = _slice(info, kinds["state"][name], STATE, f"state.{name}")
        if action.width != state.width:
            raise _wrong(f"action {name} has {action.width} values, state {name} has {state.width}", name)
        found.append(RelativeGroup(name, action, state))
    return tuple(found)


def _mapping(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _slice(info: Info, given: Any, column: str, what: str) -> Slice:
    group = _mapping(given)
    start, end, key = group.get("start"), group.get("end"), group.get("original_key") or column
    feature = info.features.get(key) if isinstance(key, str) else None
    if feature is None or not feature.is_numeric:
        raise _wrong(f"{what} is said to stand in column {key!r}, which info.json does not have", what)
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= feature.width:
        raise _wrong(f"{what} is said to be values {start} to {end} of {key}, which has {feature.width}", what)
    return Slice(key, start, end)


def _wrong(what: str, group: str) -> SchemaError:
    return SchemaError("bad-modality", what, file=MODALITY, joint=group, fix="convert the dataset again")
