"""Which schema a dataset follows, told by the names of its features, never by their positions.

Sources: unitree_IL_lerobot constants.py @1960b46 (dex1, dex3, inspire26, brainco26), info.json of unitreerobotics'
hospitality sets and of the newer whole-body sets with observation.state.left_arm (wbt), NVIDIA's 43-joint G1
(trifinger43), lerobot's SO-101; groot-31-23 and inspire53 are what dm-g1 writes itself (core.robot).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from dm_isaac_g1.core.hands import SIDES, dex3_joints
from dm_isaac_g1.core.robot import ACTION_23, BODY_PARTS, INSPIRE_53, STATE_31
from dm_isaac_g1.data.info import ACTION, STATE, Feature
from dm_isaac_g1.data.names import BRAINCO_COMMANDS, INSPIRE_COMMANDS, SO101_MOTORS, canonical

FamilyName = Literal[
    "hospitality",
    "dex1",
    "dex3",
    "inspire26",
    "brainco26",
    "trifinger43",
    "wbt",
    "so101",
    "groot-31-23",
    "inspire53",
    "unknown",
]
Hand = Literal["gripper", "dex3", "trifinger", "inspire26", "brainco26", "inspire12"]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A schema. `hand`: what the values of the hands mean. `combined`: observation.state and action hold everything;
    otherwise each part of the body has a column.

    `columns`: column -> canonical names of its values, as a set; None: any names, of the width in `widths`.
    """

    name: FamilyName
    hand: Hand | None = None
    combined: bool = True
    columns: dict[str, frozenset[str] | None] = {}
    widths: dict[str, int] = {}


def _parts(*parts: str) -> frozenset[str]:
    return frozenset(joint.name for part in parts for joint in BODY_PARTS[part])


def _hands(*words: str) -> frozenset[str]:
    return frozenset(f"{side}_{word}" for side in SIDES for word in words)


_ARMS = _parts("left_arm", "right_arm")
_BODY = _parts(*BODY_PARTS)
_LOWER = _parts("left_leg", "right_leg", "waist")
_DEX3 = frozenset(joint.name for side in SIDES for joint in dex3_joints(side))


def _combined(
    name: FamilyName, hand: Hand | None, state: frozenset[str], action: frozenset[str] | None = None
) -> Family:
    columns: dict[str, frozenset[str] | None] = {STATE: state, ACTION: action or state}
    return Family(name=name, hand=hand, columns=columns, widths={c: len(n or ()) for c, n in columns.items()})


def _per_part(name: FamilyName, columns: dict[str, frozenset[str] | int]) -> Family:
    named = {column: None if isinstance(n, int) else n for column, n in columns.items()}
    widths = {column: n if isinstance(n, int) else len(n) for column, n in columns.items()}
    return Family(name=name, hand="gripper", combined=False, columns=named, widths=widths)


def _both_arms(prefix: str) -> dict[str, frozenset[str] | int]:
    arms: dict[str, frozenset[str] | int] = {f"{prefix}{side}_arm": _parts(f"{side}_arm") for side in SIDES}
    return arms | {f"{prefix}{side}_gripper": frozenset({f"{side}_gripper"}) for side in SIDES}


#: Every known schema. Columns that are not named here (end effectors, wrenches) may be there, too.
FAMILIES: tuple[Family, ...] = (
    _per_part(
        "hospitality",
        # The names of action.body are not documented well enough to insist on them.
        _both_arms("observation.") | {"observation.body": _BODY} | _both_arms("action.") | {"action.body": 7},
    ),
    _per_part(
        "wbt",
        _both_arms("observation.state.") | {"observation.state.lower_body": _LOWER} | _both_arms("action."),
    ),
    _combined("dex1", "gripper", _ARMS | _hands("gripper")),
    _combined("dex3", "dex3", _ARMS | _DEX3),
    _combined("inspire26", "inspire26", _ARMS | _hands(*(f"hand_{word}" for word in INSPIRE_COMMANDS))),
    _combined("brainco26", "brainco26", _ARMS | _hands(*(f"hand_{word}" for word in BRAINCO_COMMANDS))),
    _combined("trifinger43", "trifinger", _BODY | _DEX3),
    _combined("so101", "gripper", frozenset(SO101_MOTORS)),
    _combined("groot-31-23", "gripper", frozenset(STATE_31.names), frozenset(ACTION_23.names)),
    _combined("inspire53", "inspire12", frozenset(INSPIRE_53.names)),
)
UNKNOWN = Family(name="unknown")


def family_named(name: str) -> Family:
    """The family of that name. Raises KeyError."""
    for family in (*FAMILIES, UNKNOWN):
        if family.name == name:
            return family
    raise KeyError(name)


def family_of(features: Mapping[str, Feature]) -> Family:
    """The schema whose columns are all there, with its names in any order. UNKNOWN where none fits."""
    return next((family for family in FAMILIES if not lacking(family, features)), UNKNOWN)


def nearest_family(features: Mapping[str, Feature]) -> tuple[FamilyName, tuple[str, ...]]:
    """The schema that comes closest, and what it lacks, for an error's text. ("unknown", ()) where nothing fits."""
    scored = [(_likeness(family, features), family) for family in FAMILIES]
    best, family = max(scored, key=lambda pair: pair[0])
    return (family.name, lacking(family, features)) if best > 0 else ("unknown", ())


def lacking(family: Family, features: Mapping[str, Feature]) -> tuple[str, ...]:
    """What `features` lack to be of that family: "action", "observation.state: kLeftElbow", "action.body: 7 values"."""
    missing: list[str] = []
    for column, names in family.columns.items():
        feature = features.get(column)
        if feature is None or feature.is_video:
            missing.append(column)
        elif feature.width != family.widths[column]:
            missing.append(f"{column} of {family.widths[column]} values, not {feature.width}")
        elif names is not None and len(names) > 1 and _names(feature) != names:
            absent = sorted(names - _names(feature))
            missing.append(f"{column} with {', '.join(absent)}" if absent else f"{column} with each name once")
        elif names is not None and len(names) == 1 and feature.names is not None and _names(feature) != names:
            missing.append(f"{column} named {next(iter(names))}")
    return tuple(missing)


def _names(feature: Feature) -> frozenset[str]:
    return frozenset(filter(None, map(canonical, feature.names or ())))


def _likeness(family: Family, features: Mapping[str, Feature]) -> float:
    """0 to 1: the share of the family's columns and names that are there."""
    total = 0.0
    for column, names in family.columns.items():
        feature = features.get(column)
        if feature is None or feature.is_video:
            continue
        found = _names(feature)
        shared = len(found & names) / len(found | names) if names and found else 0.0
        total += max(shared, 0.5 * (feature.width == family.widths[column]))
    return total / len(family.columns)
