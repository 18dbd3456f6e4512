"""The schemas that datasets of a G1 really have: columns, what stands at each place of them, ranges and cameras.

Names, widths and orders follow the datasets themselves (unitreerobotics/G1_Clean_Table, G1_Dex1_*, G1_Dex3_*, G1_WBT_*,
nvidia/Arena-G1-Loco-Manipulation-Task), not this package's `data` module: a mistake there must not hide itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dm_isaac_g1.core.robot import ACTION_23, BODY_PARTS, INSPIRE_53, JOINTS, STATE_31, Layout, dataset_name

#: How info.json writes names: [..], [[..]], {"motors": [..]} or null. All four are met on the Hub.
Nesting = Literal["flat", "nested", "motors", "null"]


@dataclass(frozen=True)
class Column:
    """One numeric feature; `low` and `high`: the range of each of its places."""

    name: str
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str = "float32"
    nesting: Nesting = "nested"

    def feature(self) -> dict[str, Any]:
        names: Any = {
            "flat": list(self.names),
            "nested": [list(self.names)],
            "motors": {"motors": list(self.names)},
            "null": None,
        }[self.nesting]
        return {"dtype": self.dtype, "shape": [len(self.low)], "names": names}


@dataclass(frozen=True)
class FamilyOfSets:
    robot: str
    columns: tuple[Column, ...]
    cameras: tuple[str, ...]
    #: GR00T's meta/modality.json, where such a set has one; {} otherwise. "video" is added with the cameras.
    modality: dict[str, Any] = field(default_factory=dict)


_SIDES = ("left", "right")
_LEGS_WAIST = tuple(joint.name for part in ("left_leg", "right_leg", "waist") for joint in BODY_PARTS[part])
_ARM = {side: tuple(joint.name for joint in BODY_PARTS[f"{side}_arm"]) for side in _SIDES}
_BODY = _LEGS_WAIST + _ARM["left"] + _ARM["right"]
_GRIPPER = (0.0, 5.4)
_UNIT = (0.0, 1.0)
_FOUR = ("cam_left_high", "cam_right_high", "cam_left_wrist", "cam_right_wrist")


def _column(name: str, places: Sequence[tuple[str, tuple[float, float]]], **more: Any) -> Column:
    low, high = (tuple(limits[i] for _, limits in places) for i in (0, 1))
    return Column(name, tuple(place for place, _ in places), low, high, **more)


def _limits(joint: str) -> tuple[float, float]:
    return JOINTS[joint].low, JOINTS[joint].high


def _joints(joints: Sequence[str]) -> list[tuple[str, tuple[float, float]]]:
    """Under Unitree's names: kLeftElbow."""
    return [(dataset_name(joint), _limits(joint)) for joint in joints]


def _both(places: Sequence[tuple[str, tuple[float, float]]], **more: Any) -> tuple[Column, ...]:
    """observation.state and action with the same places."""
    return tuple(_column(name, places, **more) for name in ("observation.state", "action"))


def _hands(names: dict[str, Sequence[str]], limits: Any) -> list[tuple[str, tuple[float, float]]]:
    return [
        (f"k{side.capitalize()}Hand{name}", limits(side, name) if callable(limits) else limits)
        for side in _SIDES
        for name in names[side]
    ]


def _dex3_limits(side: str, name: str) -> tuple[float, float]:
    return _limits(f"{side}_hand_{name[:-1].lower()}_{name[-1]}_joint")


# --- Unitree's hospitality sets: one column for each part, grippers as scalars ---------------------------------------

_EE = [(f"EE{axis}", (-0.6, 0.6)) for axis in "XYZ"] + [
    (f"EE{axis}", (-1.5, 1.5)) for axis in "RPY"
]  # Y twice: so it is
_COMMAND = [
    *((f"Robot{name}", (-0.5, 0.5)) for name in ("VX", "VY", "AngZ", "Yaw", "Pitch", "Roll")),
    ("RobotHeight", (0.5, 0.8)),
]


def _hospitality() -> tuple[Column, ...]:
    columns: list[Column] = []
    for whole in ("observation", "action"):
        columns += [_column(f"{whole}.{side}_arm", _joints(_ARM[side])) for side in _SIDES]
        columns += [_column(f"{whole}.{side}_gripper", [(f"k{side.capitalize()}Gripper", _GRIPPER)]) for side in _SIDES]
        columns += [_column(f"{whole}.{side}_ee", [(f"k{side.capitalize()}{n}", r) for n, r in _EE]) for side in _SIDES]
        columns.append(_column(f"{whole}.body", _joints(_BODY) if whole == "observation" else _COMMAND))
    return tuple(columns)


# --- WBT: one column for each group, arms end wrist yaw, roll, pitch -------------------------------------------------


def _wbt() -> tuple[Column, ...]:
    order = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_yaw", "wrist_roll", "wrist_pitch")
    pose = [(axis, (-0.6, 0.6)) for axis in ("x", "y", "z", "roll", "pitch", "yaw")]
    columns: list[Column] = []
    for whole in ("observation.state", "action"):
        for side in _SIDES:
            arm = [(f"{side}_{joint}", _limits(f"{side}_{joint}_joint")) for joint in order]
            columns.append(_column(f"{whole}.{side}_arm", arm, nesting="flat"))
            columns.append(_column(f"{whole}.{side}_gripper", [(f"{side}_gripper", _GRIPPER)], nesting="flat"))
            columns.append(
                _column(f"{whole}.{side}_ee_pose_gripper_base", [(f"{side}_{n}", r) for n, r in pose], nesting="flat")
            )
    lower = [(joint.removesuffix("_joint"), _limits(joint)) for joint in _LEGS_WAIST]
    pivot = [(name, (-0.5, 0.5)) for name in ("vx", "vy", "vyaw", "yaw", "pitch", "roll")] + [("height", (0.5, 0.8))]
    columns.append(_column("observation.state.lower_body", lower, nesting="flat"))
    columns.append(_column("action.pivot", pivot, nesting="flat"))
    return tuple(columns)


# --- NVIDIA's 43: legs, waist, left arm, left hand, right arm, right hand; commands in columns of their own ----------


def _trifinger() -> tuple[Column, ...]:
    fingers = ("index_0", "index_1", "middle_0", "middle_1", "thumb_0", "thumb_1", "thumb_2")
    joints: list[str] = list(_LEGS_WAIST)
    for side in _SIDES:
        joints += [*_ARM[side], *(f"{side}_hand_{finger}_joint" for finger in fingers)]
    double: dict[str, Any] = {"dtype": "float64", "nesting": "flat"}
    navigate = [(name, (-0.4, 0.4)) for name in ("vx", "vy", "wz")]
    return (
        *_both([(joint, _limits(joint)) for joint in joints], **double),
        _column("teleop.navigate_command", navigate, **double),
        _column("teleop.base_height_command", [("height", (0.5, 0.8))], **double),
    )


_43 = {"left_leg": (0, 6), "right_leg": (6, 12), "waist": (12, 15), "left_arm": (15, 22), "left_hand": (22, 29)}
_43 |= {"right_arm": (29, 36), "right_hand": (36, 43)}
_TASK = {"human.task_description": {"original_key": "task_index"}}


def _modality_43() -> dict[str, Any]:
    groups = {name: {"start": start, "end": end} for name, (start, end) in _43.items()}
    action = {name: groups[name] for name in ("left_arm", "right_arm", "left_hand", "right_hand", "waist")}
    action["base_height_command"] = {"original_key": "teleop.base_height_command", "start": 0, "end": 1}  # type: ignore[dict-item]
    action["navigate_command"] = {"original_key": "teleop.navigate_command", "start": 0, "end": 3}  # type: ignore[dict-item]
    return {"state": groups, "action": action, "annotation": _TASK}


# --- GR00T's 31/23 as dm-g1 lays it out, and 53 with Inspire hands ---------------------------------------------------

_COMMANDS: dict[str, tuple[float, float]] = {
    "left_gripper": _GRIPPER,
    "right_gripper": _GRIPPER,
    "base_height": (0.5, 0.8),
    **dict.fromkeys(("velocity_x", "velocity_y", "velocity_yaw"), (-0.4, 0.4)),
}


def _of_layout(name: str, layout: Layout) -> Column:
    places = [(place, _COMMANDS.get(place) or _limits(place)) for place in layout.names]
    return _column(name, places, nesting="flat")


def _modality(state: Layout, action: Layout) -> dict[str, Any]:
    return {"state": state.modality(), "action": action.modality(), "annotation": _TASK}


# --- The table -------------------------------------------------------------------------------------------------------

_ARMS = _joints(_ARM["left"] + _ARM["right"])
_DEX3 = {
    "left": ("Thumb0", "Thumb1", "Thumb2", "Middle0", "Middle1", "Index0", "Index1"),
    "right": ("Thumb0", "Thumb1", "Thumb2", "Index0", "Index1", "Middle0", "Middle1"),
}
_INSPIRE = dict.fromkeys(_SIDES, ("Pinky", "Ring", "Middle", "Index", "ThumbBend", "ThumbRotation"))
_BRAINCO = dict.fromkeys(_SIDES, ("Thumb", "ThumbAux", "Index", "Middle", "Ring", "Pinky"))
_SO101 = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")

FAMILIES: dict[str, FamilyOfSets] = {
    "hospitality": FamilyOfSets("G1_ALL", _hospitality(), _FOUR),
    "dex3": FamilyOfSets("Unitree_G1_Dex3", _both(_ARMS + _hands(_DEX3, _dex3_limits)), _FOUR),
    "dex1": FamilyOfSets(
        "Unitree_G1_Dex1", _both([*_ARMS, ("kLeftGripper", _GRIPPER), ("kRightGripper", _GRIPPER)]), _FOUR[::2]
    ),
    "inspire26": FamilyOfSets("Unitree_G1_Inspire", _both(_ARMS + _hands(_INSPIRE, _UNIT)), ("cam_high",)),
    "brainco26": FamilyOfSets("Unitree_G1_Brainco", _both(_ARMS + _hands(_BRAINCO, _UNIT)), _FOUR),
    "trifinger43": FamilyOfSets("g1", _trifinger(), ("ego_view",), _modality_43()),
    "wbt": FamilyOfSets("Unitree_G1_WBT_Dex1", _wbt(), ("head_stereo_left", "head_stereo_right", "wrist_left")),
    "so101": FamilyOfSets(
        "so101_follower",
        _both(
            [(f"{joint}.pos", (0.0, 100.0) if joint == "gripper" else (-90.0, 90.0)) for joint in _SO101],
            nesting="motors",
        ),
        ("front",),
    ),
    "groot": FamilyOfSets(
        "Unitree_G1",
        (_of_layout("observation.state", STATE_31), _of_layout("action", ACTION_23)),
        ("ego_view",),
        _modality(STATE_31, ACTION_23),
    ),
    "inspire53": FamilyOfSets(
        "Unitree_G1_Inspire53",
        (_of_layout("observation.state", INSPIRE_53), _of_layout("action", INSPIRE_53)),
        ("ego_view",),
        _modality(INSPIRE_53, INSPIRE_53),
    ),
}
