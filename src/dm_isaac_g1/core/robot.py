"""The Unitree G1 as tables: its 29 joints, and the layouts in which states and actions are written down.

Order and limits are Unitree's own, read in unitreerobotics/unitree_ros, robots/g1_description:
g1_joint_index_dds.md @dd4fa68 (order of the motors in LowCmd_ and LowState_, 29-DOF version) and
g1_29dof_rev_1_0.xml @adb48c7 (axes, ranges in radians, torques in Nm).

A layout names groups inside one vector. Positions are a convention, names are not: read a dataset by the names in
its info.json, and use these slices for what we write ourselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from dm_isaac_g1.core.hands import SIDES, Joint, Side, dex3_joints, inspire_joints

Axis = Literal["x", "y", "z"]


class BodyJoint(Joint, frozen=True, kw_only=True):
    """A joint of the body: its axis (x roll, y pitch, z yaw) and the largest torque of its motor in Nm."""

    axis: Axis
    torque: float


# --- The body: 29 joints --------------------------------------------------------------------------------------------

# The left side; the right one is its mirror image in the xz plane: pitch keeps its signs, roll and yaw swap them.
_LEG: tuple[tuple[str, float, float, Axis, float], ...] = (
    ("hip_pitch", -2.5307, 2.8798, "y", 88),
    ("hip_roll", -0.5236, 2.9671, "x", 139),
    ("hip_yaw", -2.7576, 2.7576, "z", 88),
    ("knee", -0.087267, 2.8798, "y", 139),
    ("ankle_pitch", -0.87267, 0.5236, "y", 50),
    ("ankle_roll", -0.2618, 0.2618, "x", 50),
)
_WAIST: tuple[tuple[str, float, float, Axis, float], ...] = (
    ("waist_yaw", -2.618, 2.618, "z", 88),
    ("waist_roll", -0.52, 0.52, "x", 50),
    ("waist_pitch", -0.52, 0.52, "y", 50),
)
_ARM: tuple[tuple[str, float, float, Axis, float], ...] = (
    ("shoulder_pitch", -3.0892, 2.6704, "y", 25),
    ("shoulder_roll", -1.5882, 2.2515, "x", 25),
    ("shoulder_yaw", -2.618, 2.618, "z", 25),
    ("elbow", -1.0472, 2.0944, "y", 25),
    ("wrist_roll", -1.97222, 1.97222, "x", 25),
    ("wrist_pitch", -1.61443, 1.61443, "y", 5),
    ("wrist_yaw", -1.61443, 1.61443, "z", 5),
)


def _limb(side: Side, table: tuple[tuple[str, float, float, Axis, float], ...]) -> tuple[BodyJoint, ...]:
    joints = []
    for name, low, high, axis, torque in table:
        swapped = side == "right" and axis != "y"
        limits = (-high, -low) if swapped else (low, high)
        joints.append(BodyJoint(f"{side}_{name}_joint", *limits, axis=axis, torque=torque))
    return tuple(joints)


#: The five parts, in the order of the motors.
BODY_PARTS: dict[str, tuple[BodyJoint, ...]] = {
    "left_leg": _limb("left", _LEG),
    "right_leg": _limb("right", _LEG),
    "waist": tuple(BodyJoint(f"{name}_joint", low, high, axis=a, torque=t) for name, low, high, a, t in _WAIST),
    "left_arm": _limb("left", _ARM),
    "right_arm": _limb("right", _ARM),
}

#: All 29, in the order of the motors.
BODY: tuple[BodyJoint, ...] = tuple(joint for part in BODY_PARTS.values() for joint in part)
BODY_DOF = len(BODY)


def _names(part: str) -> tuple[str, ...]:
    return tuple(joint.name for joint in BODY_PARTS[part])


def dataset_name(joint: str) -> str:
    """A joint as Unitree's datasets call it: left_shoulder_pitch_joint -> kLeftShoulderPitch.

    Source: unitree_IL_lerobot constants.py @1960b46.
    """
    return "k" + "".join(word.capitalize() for word in joint.removesuffix("_joint").split("_"))


# --- Layouts --------------------------------------------------------------------------------------------------------


class Group(msgspec.Struct, frozen=True):
    """A named slice of a vector, and what stands at each of its places.

    `relative`: the model predicts it relative to the state at the same moment.
    """

    name: str
    start: int
    names: tuple[str, ...]
    relative: bool = False

    @property
    def end(self) -> int:
        return self.start + len(self.names)

    @property
    def slice(self) -> slice:
        return slice(self.start, self.end)


class Layout(msgspec.Struct, frozen=True):
    """How a vector is put together: groups that follow one another without a gap."""

    name: str
    groups: tuple[Group, ...]

    @property
    def width(self) -> int:
        return self.groups[-1].end

    @property
    def names(self) -> tuple[str, ...]:
        """What stands at each place of the whole vector."""
        return tuple(name for group in self.groups for name in group.names)

    def __getitem__(self, group: str) -> Group:
        """The group of that name. Raises KeyError."""
        for each in self.groups:
            if each.name == group:
                return each
        raise KeyError(group)

    def modality(self) -> dict[str, dict[str, int]]:
        """As GR00T's meta/modality.json writes it: group -> start and end."""
        return {group.name: {"start": group.start, "end": group.end} for group in self.groups}


def _layout(name: str, groups: Mapping[str, tuple[str, ...]], relative: tuple[str, ...] = ()) -> Layout:
    built: list[Group] = []
    for group, names in groups.items():
        built.append(Group(group, built[-1].end if built else 0, names, group in relative))
    return Layout(name, tuple(built))


#: GR00T's UNITREE_G1, state of 31. Group names and order: gr00t/configs/data/embodiment_configs.py of N1.6. It fixes
#: names, not widths: one gripper value a hand is dm-g1's convention (NVIDIA's own G1 data has 43 and 7-joint hands,
#: and checkpoints of the two are not interchangeable).
STATE_31 = _layout(
    "unitree_g1.state",
    {part: _names(part) for part in BODY_PARTS} | {f"{side}_hand": (f"{side}_gripper",) for side in SIDES},
)

#: GR00T's UNITREE_G1, action of 23; arms relative, all else absolute. The waist's order is yaw, pitch, roll here and
#: yaw, roll, pitch in the state: so name them action.body[3:6] and body[12:15] of Unitree's hospitality datasets
#: (whether the action means joints or the torso's attitude is not documented).
ACTION_23 = _layout(
    "unitree_g1.action",
    {
        "left_arm": _names("left_arm"),
        "right_arm": _names("right_arm"),
        "left_hand": ("left_gripper",),
        "right_hand": ("right_gripper",),
        "waist": ("waist_yaw_joint", "waist_pitch_joint", "waist_roll_joint"),
        "base_height_command": ("base_height",),
        "navigate_command": ("velocity_x", "velocity_y", "velocity_yaw"),
    },
    relative=("left_arm", "right_arm"),
)

#: Steps that UNITREE_G1 predicts at once: delta indices 0 to 29.
ACTION_HORIZON = 30

_ARMS = {part: _names(part) for part in ("left_arm", "right_arm")}

#: The body and two Inspire hands: 29 + 2 x 12. Followers are written down too, at their leader's angle times a factor.
INSPIRE_53 = _layout(
    "g1.inspire",
    {part: _names(part) for part in BODY_PARTS}
    | {f"{side}_inspire_hand": tuple(joint.name for joint in inspire_joints(side)) for side in SIDES},
)

#: Both arms and two Dex3-1 hands: 2 x 7 + 2 x 7, as in Unitree's G1_Dex3_* datasets.
DEX3_28 = _layout(
    "g1.dex3",
    _ARMS | {f"{side}_hand": tuple(joint.name for joint in dex3_joints(side)) for side in SIDES},
)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (STATE_31, ACTION_23, INSPIRE_53, DEX3_28)}

#: Every joint with a range, by name: the body, both Inspire and both Dex3-1 hands.
JOINTS: dict[str, Joint] = {
    joint.name: joint for joints in (BODY, *map(inspire_joints, SIDES), *map(dex3_joints, SIDES)) for joint in joints
}


# --- The robot as users know it -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class G1InspireRobot:
    """A G1 EDU with two Inspire hands: 53 degrees of freedom."""

    body_dof: int = BODY_DOF
    hand_dof_per_hand: int = len(inspire_joints("left"))
    total_dof: int = INSPIRE_53.width
    #: Part -> its joints' names: left_leg, right_leg, waist, left_arm, right_arm, left_ and right_inspire_hand.
    joint_names: dict[str, list[str]] = field(
        default_factory=lambda: {group.name: list(group.names) for group in INSPIRE_53.groups}
    )
    #: Part -> (start, end) in a vector of `total_dof`.
    joint_indices: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {group.name: (group.start, group.end) for group in INSPIRE_53.groups}
    )

    @property
    def all_joint_names(self) -> list[str]:
        """All names in the order of the vector."""
        return [name for names in self.joint_names.values() for name in names]

    def get_joint_indices(self, body_part: str) -> tuple[int, int]:
        """(start, end) of a part. Raises KeyError."""
        return self.joint_indices[body_part]

    def get_joint_names(self, body_part: str) -> list[str]:
        """The joints of a part. Raises KeyError."""
        return self.joint_names[body_part]

    def validate_state_vector(self, state: Sequence[float]) -> bool:
        """Whether a state has this robot's width."""
        return len(state) == self.total_dof
