"""The hands that a G1 may wear: joints in the order of the vectors, limits in radians, which way they close.

Sources are said at each table. Names are the URDFs'; `prefix` is what a side puts before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")


class Joint(msgspec.Struct, frozen=True):
    """A joint and its range in radians. `closing`: +1 or -1, the sign that flexes a finger; 0 closes nothing."""

    name: str
    low: float
    high: float
    closing: int = 0

    def mirrored(self, name: str) -> Joint:
        """The same joint on the other side where its axis is mirrored: the signs swap."""
        return Joint(name, -self.high + 0.0, -self.low + 0.0, -self.closing)


# --- Inspire RH56 (DFX): 12 joints a hand, 6 of them driven -------------------------------------------------------

# Order: that of the URDF and of pinocchio (depth first). Isaac Lab's own order is breadth first and different.
# Limits and mimic factors: Unitree's inspire_hand_{left,right}.urdf as shipped with xr_teleoperate.
_INSPIRE: tuple[tuple[str, float, float], ...] = (
    ("index_proximal_joint", 0.0, 1.7),
    ("index_intermediate_joint", 0.0, 1.7),
    ("middle_proximal_joint", 0.0, 1.7),
    ("middle_intermediate_joint", 0.0, 1.7),
    ("pinky_proximal_joint", 0.0, 1.7),
    ("pinky_intermediate_joint", 0.0, 1.7),
    ("ring_proximal_joint", 0.0, 1.7),
    ("ring_intermediate_joint", 0.0, 1.7),
    ("thumb_proximal_yaw_joint", -0.1, 1.3),
    ("thumb_proximal_pitch_joint", 0.0, 0.5),
    ("thumb_intermediate_joint", 0.0, 0.8),
    ("thumb_distal_joint", 0.0, 1.2),
)
_INSPIRE_PREFIX = {"left": "L_", "right": "R_"}

#: Follower -> (leader, factor): the follower's angle is factor times the leader's. Names without the side's prefix.
INSPIRE_MIMIC: dict[str, tuple[str, float]] = {
    "index_intermediate_joint": ("index_proximal_joint", 1.0),
    "middle_intermediate_joint": ("middle_proximal_joint", 1.0),
    "pinky_intermediate_joint": ("pinky_proximal_joint", 1.0),
    "ring_intermediate_joint": ("ring_proximal_joint", 1.0),
    "thumb_intermediate_joint": ("thumb_proximal_pitch_joint", 1.6),
    "thumb_distal_joint": ("thumb_proximal_pitch_joint", 2.4),
}

#: The six values of the real hand's command and of Unitree's 26-wide datasets, in order, and the joint each drives.
#: 0 is closed and 1 open: value = (max - q) / (max - min). Source: unitree xr_teleoperate's Inspire controller.
INSPIRE_COMMAND: tuple[tuple[str, str], ...] = (
    ("Pinky", "pinky_proximal_joint"),
    ("Ring", "ring_proximal_joint"),
    ("Middle", "middle_proximal_joint"),
    ("Index", "index_proximal_joint"),
    ("ThumbBend", "thumb_proximal_pitch_joint"),
    ("ThumbRotation", "thumb_proximal_yaw_joint"),
)


def inspire_joints(side: Side) -> tuple[Joint, ...]:
    """The 12 joints of one Inspire hand; both sides close towards the positive and have the same limits."""
    prefix = _INSPIRE_PREFIX[side]
    return tuple(Joint(prefix + name, low, high, 1) for name, low, high in _INSPIRE)


def inspire_from_command(command: Sequence[float]) -> list[float]:
    """Six values (0 closed, 1 open) -> the 12 joint angles, followers by their factor.

    Raises ValueError for another number of values or one outside 0..1.
    """
    if len(command) != len(INSPIRE_COMMAND):
        raise ValueError(f"expected {len(INSPIRE_COMMAND)} values, found {len(command)}")
    if not all(0.0 <= value <= 1.0 for value in command):
        raise ValueError("an Inspire command is 0 (closed) to 1 (open)")
    limits = {name: (low, high) for name, low, high in _INSPIRE}
    angles: dict[str, float] = {}
    for value, (_, name) in zip(command, INSPIRE_COMMAND, strict=True):
        low, high = limits[name]
        angles[name] = high - value * (high - low)
    for follower, (leader, factor) in INSPIRE_MIMIC.items():
        angles[follower] = factor * angles[leader]
    return [angles[name] for name, _, _ in _INSPIRE]


def inspire_to_command(angles: Sequence[float]) -> list[float]:
    """The 12 joint angles -> six values (0 closed, 1 open), clipped. Followers are not looked at.

    Raises ValueError for another number of angles.
    """
    if len(angles) != len(_INSPIRE):
        raise ValueError(f"expected {len(_INSPIRE)} angles, found {len(angles)}")
    by_name = {name: (angle, low, high) for angle, (name, low, high) in zip(angles, _INSPIRE, strict=True)}
    values = []
    for _, name in INSPIRE_COMMAND:
        angle, low, high = by_name[name]
        values.append(min(1.0, max(0.0, (high - angle) / (high - low))))
    return values


# --- Dex3-1: 7 joints a hand ----------------------------------------------------------------------------------------

# Limits: unitreerobotics/unitree_ros robots/g1_description/dex3_1_l.urdf @94264fc; some copies end thumb_1 at 0.92.
# Closing direction: by forward kinematics on that URDF. thumb_0 swings the thumb sideways between the two fingers
# (the tips' distance changes by less than 1 mm at +-1 rad) and flexes nothing; its axis is not mirrored.
_DEX3_LEFT: dict[str, tuple[float, float, int]] = {
    "thumb_0": (-1.04719755, 1.04719755, 0),
    "thumb_1": (-0.72431163, 1.04719755, 1),
    "thumb_2": (0.0, 1.74532925, 1),
    "middle_0": (-1.57079632, 0.0, -1),
    "middle_1": (-1.74532925, 0.0, -1),
    "index_0": (-1.57079632, 0.0, -1),
    "index_1": (-1.74532925, 0.0, -1),
}

#: Order in Unitree's datasets and motor messages as xr_teleoperate fills them. The two hands differ: middle before
#: index on the left, index before middle on the right. Source: unitree_IL_lerobot constants.py @1960b46.
DEX3_ORDER: dict[Side, tuple[str, ...]] = {
    "left": ("thumb_0", "thumb_1", "thumb_2", "middle_0", "middle_1", "index_0", "index_1"),
    "right": ("thumb_0", "thumb_1", "thumb_2", "index_0", "index_1", "middle_0", "middle_1"),
}


def dex3_joints(side: Side) -> tuple[Joint, ...]:
    """The 7 joints of one Dex3-1 hand, in the order of its vectors."""
    return tuple(_dex3_joint(side, short) for short in DEX3_ORDER[side])


def _dex3_joint(side: Side, short: str) -> Joint:
    low, high, closing = _DEX3_LEFT[short]
    joint = Joint(f"left_hand_{short}_joint", low, high, closing)
    if side == "left":
        return joint
    name = f"right_hand_{short}_joint"
    return Joint(name, low, high, closing) if short == "thumb_0" else joint.mirrored(name)


# --- Dex1 gripper: one value a hand ---------------------------------------------------------------------------------

#: Raw value of Unitree's datasets: 5.4 open, 0 closed (Unitree's text says 5.5 -> 0.0; recorded data rests at 4.5).
GRIPPER_OPEN = 5.4
GRIPPER_CLOSED = 0.0
