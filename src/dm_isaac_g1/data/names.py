"""One vocabulary for what stands at each place of a vector, whatever a dataset calls it.

A joint has the name that core.robot and core.hands give it: left_elbow_joint, L_index_proximal_joint,
left_hand_thumb_0_joint. Beside the joints: grippers (left_gripper), the normalised commands of Inspire and Brainco
hands (left_hand_pinky: not an angle), what an action may command (base_height, velocity_x, torso_yaw), the motors of
SO-101.

Spelling is ignored, words are not: kLeftElbow, left_elbow_joint, left_elbow.pos, LeftElbow are one joint;
left_elbow.vel is none.
"""

from __future__ import annotations

import re
from functools import cache

from dm_isaac_g1.core.hands import SIDES
from dm_isaac_g1.core.robot import JOINTS

#: Values of the hands that take one normalised command a finger. Source: unitree_IL_lerobot constants.py @1960b46.
INSPIRE_COMMANDS = ("pinky", "ring", "middle", "index", "thumb_bend", "thumb_rotation")
BRAINCO_COMMANDS = ("thumb", "thumb_aux", "index", "middle", "ring", "pinky")

#: Motors of SO-100 and SO-101. Source: lerobot 0.4.4, robots/so101_follower.
SO101_MOTORS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")

#: Canonical name -> other words for it, beside its own.
_ALIASES: dict[str, tuple[str, ...]] = {
    **{f"{side}_gripper": (f"{side}_hand_gripper", f"{side}_gripper_joint", f"{side}_dex1") for side in SIDES},
    **{f"{side}_hand_{word}": () for side in SIDES for word in (*INSPIRE_COMMANDS, *BRAINCO_COMMANDS)},
    # Unitree's hospitality sets, action.body: RobotYaw, RobotPitch, RobotRoll; joints or attitude is not documented.
    **{f"torso_{axis}": (f"robot_{axis}",) for axis in ("yaw", "pitch", "roll")},
    "velocity_x": ("vx", "v_x", "lin_vel_x", "navigate_vx"),
    "velocity_y": ("vy", "v_y", "lin_vel_y", "navigate_vy"),
    "velocity_yaw": ("ang_z", "ang_vel_z", "vyaw", "navigate_vyaw", "v_yaw"),
    "base_height": ("height", "base_height_command"),
    **{motor: (f"main_{motor}",) for motor in SO101_MOTORS},
}

#: Suffixes that say "position": `.pos` of lerobot's robots, `.q` of its unitree_g1.
_POSITION = re.compile(r"[._](pos|q|qpos|position)$", re.IGNORECASE)
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@cache
def canonical(name: str) -> str | None:
    """The one name of what `name` means. None: not known."""
    return _known().get(_key(name))


def _key(name: str) -> str:
    """kLeftWristyaw -> leftwristyaw; left_wrist_yaw_joint.pos -> leftwristyaw."""
    name = _POSITION.sub("", name.strip())
    if name[:1] == "k" and name[1:2].isupper():
        name = name[1:]
    return _SEPARATORS.sub("", name.lower()).removesuffix("joint")


@cache
def _known() -> dict[str, str]:
    found = {_key(joint): joint for joint in JOINTS}
    for name, others in _ALIASES.items():
        for word in (name, *others):
            if found.setdefault(_key(word), name) != name:
                raise AssertionError(f"{word} means {found[_key(word)]} and {name}")
    return found
