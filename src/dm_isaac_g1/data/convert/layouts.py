"""What each family of datasets has for each group of a target vector, as tables: {group: column and names in it}.

A new family is one more table here. Everything goes by the names of the values; the few positions that are believed
where names are missing stand in POSITIONS, and using one is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from dm_isaac_g1.core.hands import INSPIRE_COMMAND, SIDES, Side, dex3_joints, inspire_joints
from dm_isaac_g1.core.robot import ACTION_23, BODY_PARTS, STATE_31
from dm_isaac_g1.data.families import FamilyName, Hand
from dm_isaac_g1.data.info import ACTION, STATE, Feature
from dm_isaac_g1.data.names import BRAINCO_COMMANDS, INSPIRE_COMMANDS, canonical

#: Where the inspire conversion puts what a base is commanded; NVIDIA's G1 sets have it in teleop.* columns.
COMMAND = "action.command"
BASE = ("base_height_command", "navigate_command")
#: Target name -> the canonical name of the same thing in a source.
Names = Mapping[str, str]


class Offer(msgspec.Struct, frozen=True):
    """A group of a target vector as a source has it: in which column, under which names."""

    column: str
    names: dict[str, str]


Offers = dict[str, Offer]


def _same(column: str, names: Sequence[str]) -> Offer:
    return Offer(column, {name: name for name in names})


# --- Groups -----------------------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[str, ...]] = {part: tuple(joint.name for joint in joints) for part, joints in BODY_PARTS.items()}

_FINGERS = ("thumb_0", "thumb_1", "thumb_2", "index_0", "index_1", "middle_0", "middle_1")


def hand_names(hand: Hand, side: Side) -> tuple[str, ...]:
    """The values of one hand by canonical name, in the order in which its map takes them: the same for both sides."""
    if hand == "gripper":
        return (f"{side}_gripper",)
    if hand in ("dex3", "trifinger"):  # the same seven joints; the two differ in the order of their vectors
        return tuple(f"{side}_hand_{finger}_joint" for finger in _FINGERS)
    if hand == "inspire12":
        return tuple(joint.name for joint in inspire_joints(side))
    return tuple(f"{side}_hand_{word}" for word in (INSPIRE_COMMANDS if hand == "inspire26" else BRAINCO_COMMANDS))


assert len(INSPIRE_COMMANDS) == len(INSPIRE_COMMAND)

_WAIST = PARTS["waist"]
#: The waist as the commands of a base name it: [A] taken for the joints' angles, since Unitree's own converter to h5
#: puts action.body[3:6] where the waist of observation.body stands. The source's order is yaw, pitch, roll.
_TORSO = {f"waist_{axis}_joint": f"torso_{axis}" for axis in ("yaw", "pitch", "roll")}


def _commands(column: str) -> Offers:
    base, navigate = (ACTION_23[group].names for group in BASE)
    return {"base_height_command": _same(column, base), "navigate_command": _same(column, navigate)}


def _sides(pattern: str, group: str, names: Mapping[Side, Sequence[str]]) -> Offers:
    return {f"{side}_{group}": _same(pattern.format(side=side), names[side]) for side in SIDES}


_ARMS: dict[Side, tuple[str, ...]] = {side: PARTS[f"{side}_arm"] for side in SIDES}
_GRIPPERS: dict[Side, tuple[str, ...]] = {side: hand_names("gripper", side) for side in SIDES}
_LOWER = ("left_leg", "right_leg", "waist")


def _lower(column: str) -> Offers:
    return {part: _same(column, PARTS[part]) for part in _LOWER}


def _combined(column: str, hand: Hand) -> Offers:
    """All that one vector may hold; what it does not is found out by name."""
    body = {part: _same(column, names) for part, names in PARTS.items()}
    return body | _sides(column, "hand", {side: hand_names(hand, side) for side in SIDES})


# --- Families ---------------------------------------------------------------------------------------------------------

_HOSPITALITY = (
    _lower("observation.body")
    | _sides("observation.{side}_arm", "arm", _ARMS)
    | _sides("observation.{side}_gripper", "hand", _GRIPPERS),
    _sides("action.{side}_arm", "arm", _ARMS)
    | _sides("action.{side}_gripper", "hand", _GRIPPERS)
    | {"waist": Offer("action.body", _TORSO)}
    | _commands("action.body"),
)
_WBT = (
    _lower("observation.state.lower_body")
    | _sides("observation.state.{side}_arm", "arm", _ARMS)
    | _sides("observation.state.{side}_gripper", "hand", _GRIPPERS),
    _sides("action.{side}_arm", "arm", _ARMS)
    | _sides("action.{side}_gripper", "hand", _GRIPPERS)
    | {"waist": Offer("action.pivot", _TORSO)}
    | _commands("action.pivot"),
)


def offers(family: FamilyName, hand: Hand) -> tuple[Offers, Offers]:
    """What a source of that family may have for states and for actions, group by group."""
    if family == "hospitality":
        return _HOSPITALITY
    if family == "wbt":
        return _WBT
    state, action = _combined(STATE, hand), _combined(ACTION, hand)
    if family == "groot-31-23":
        return state, action | _commands(ACTION)
    if family == "inspire53":
        return state, action | _commands(COMMAND)
    navigate, height = _commands("teleop.navigate_command"), _commands("teleop.base_height_command")
    return state, action | {BASE[0]: height[BASE[0]], BASE[1]: navigate[BASE[1]]}


# --- Names ------------------------------------------------------------------------------------------------------------

#: Words for what a base is commanded, in columns of commands only: "yaw" alone means nothing elsewhere.
_COMMAND_WORDS = {
    "vx": "velocity_x",
    "vy": "velocity_y",
    "vyaw": "velocity_yaw",
    "wz": "velocity_yaw",
    "angz": "velocity_yaw",
    "yaw": "torso_yaw",
    "pitch": "torso_pitch",
    "roll": "torso_roll",
    "height": "base_height",
}
_COMMAND_COLUMNS = {"action.body", "action.pivot", "teleop.navigate_command", "teleop.base_height_command"}

#: Column -> what stands at its places, for where info.json has no names that say it. action.body: Unitree's converter
#: to h5 for 3:6, the rest as the first users of G1_Fold_Towel read it (unverified).
POSITIONS: dict[str, tuple[str, ...]] = {
    "action.body": (
        *("velocity_x", "velocity_y", "velocity_yaw"),
        *("torso_yaw", "torso_pitch", "torso_roll"),
        "base_height",
    ),
    "teleop.navigate_command": ("velocity_x", "velocity_y", "velocity_yaw"),
    "teleop.base_height_command": ("base_height",),
}

#: The order of hands in combined vectors without names. Sources: core.hands; NVIDIA's has the arms between them.
_ARM_PAIR = _ARMS["left"] + _ARMS["right"]
_NVIDIA_HAND = ("index_0", "index_1", "middle_0", "middle_1", "thumb_0", "thumb_1", "thumb_2")
COMBINED_POSITIONS: dict[Hand, tuple[str, ...]] = {
    "gripper": _ARM_PAIR + _GRIPPERS["left"] + _GRIPPERS["right"],
    "dex3": _ARM_PAIR + tuple(joint.name for side in SIDES for joint in dex3_joints(side)),
    "inspire26": _ARM_PAIR + tuple(name for side in SIDES for name in hand_names("inspire26", side)),
    "brainco26": _ARM_PAIR + tuple(name for side in SIDES for name in hand_names("brainco26", side)),
    "trifinger": tuple(name for part in _LOWER for name in PARTS[part])
    + tuple(n for s in SIDES for n in (*_ARMS[s], *(f"{s}_hand_{finger}_joint" for finger in _NVIDIA_HAND))),
}


def said(column: str, feature: Feature, hand: Hand | None = None) -> tuple[tuple[str | None, ...], bool]:
    """The canonical names of a column's values, None where unknown; and whether its positions had to be believed.

    `hand`: as the user says; needed to believe the positions of a combined vector without names.
    """
    names = feature.names if feature.names is not None and len(feature.names) == feature.width else None
    found = tuple(_meant(column, name) for name in names or ())
    if feature.width == 1 and (single := canonical(column.rpartition(".")[2])) is not None:
        return (single,), False  # the column's name says it
    if names is not None and len({*found}) == len(found) and None not in found:
        return found, False
    believed = POSITIONS.get(column)
    if names is None and believed is None and column in (STATE, ACTION) and hand is not None:
        believed = COMBINED_POSITIONS.get(hand)
    if believed is None or len(believed) != feature.width:
        return found or (None,) * feature.width, False
    contradicted = any(name is not None and name != place for name, place in zip(found, believed, strict=False))
    return (found, False) if contradicted else (believed, True)


def _meant(column: str, name: str) -> str | None:
    if column not in _COMMAND_COLUMNS:
        return canonical(name)
    key = re.sub(r"[^a-z0-9]", "", re.sub(r"^k(?=[A-Z])", "", name).lower())
    return _COMMAND_WORDS.get(key.removeprefix("robot").removeprefix("base")) or canonical(name)


# --- What is not recorded ---------------------------------------------------------------------------------------------

#: Angles for legs and waist of which a source has no record, by the name that the user gives; other joints 0.
#: standing: default_joint_angles of unitreerobotics/unitree_rl_gym, legged_gym/envs/g1/g1_config.py @bd00c6a.
_STANDING = {"hip_pitch": -0.1, "knee": 0.3, "ankle_pitch": -0.2}
POSES: dict[str, dict[str, float]] = {
    "standing": {f"{side}_{joint}_joint": angle for side in SIDES for joint, angle in _STANDING.items()},
    "straight": {},
}

#: GR00T's UNITREE_G1 groups that both of its layouts name.
GROOT_STATE, GROOT_ACTION = STATE_31, ACTION_23
