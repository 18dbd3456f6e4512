from __future__ import annotations

import re
from itertools import pairwise

import pytest

from dm_isaac_g1.core.robot import (
    ACTION_23,
    BODY,
    BODY_PARTS,
    DEX3_28,
    INSPIRE_53,
    JOINTS,
    LAYOUTS,
    STATE_31,
    G1InspireRobot,
    Layout,
    dataset_name,
)

# Unitree's G1 developer documentation, "Joint order and limits" of the 29-DOF version: another text than the one that
# core/robot.py was written from, and with every joint spelled out.
UNITREES_TABLE = """
0 L_LEG_HIP_PITCH -2.5307~2.8798
1 L_LEG_HIP_ROLL -0.5236~2.9671
2 L_LEG_HIP_YAW -2.7576~2.7576
3 L_LEG_KNEE -0.087267~2.8798
4 L_LEG_ANKLE_PITCH -0.87267~0.5236
5 L_LEG_ANKLE_ROLL -0.2618~0.2618
6 R_LEG_HIP_PITCH -2.5307~2.8798
7 R_LEG_HIP_ROLL -2.9671~0.5236
8 R_LEG_HIP_YAW -2.7576~2.7576
9 R_LEG_KNEE -0.087267~2.8798
10 R_LEG_ANKLE_PITCH -0.87267~0.5236
11 R_LEG_ANKLE_ROLL -0.2618~0.2618
12 WAIST_YAW -2.618~2.618
13 WAIST_ROLL -0.52~0.52
14 WAIST_PITCH -0.52~0.52
15 L_SHOULDER_PITCH -3.0892~2.6704
16 L_SHOULDER_ROLL -1.5882~2.2515
17 L_SHOULDER_YAW -2.618~2.618
18 L_ELBOW -1.0472~2.0944
19 L_WRIST_ROLL -1.972222054~1.972222054
20 L_WRIST_PITCH -1.614429558~1.614429558
21 L_WRIST_YAW -1.614429558~1.614429558
22 R_SHOULDER_PITCH -3.0892~2.6704
23 R_SHOULDER_ROLL -2.2515~1.5882
24 R_SHOULDER_YAW -2.618~2.618
25 R_ELBOW -1.0472~2.0944
26 R_WRIST_ROLL -1.972222054~1.972222054
27 R_WRIST_PITCH -1.614429558~1.614429558
28 R_WRIST_YAW -1.614429558~1.614429558
"""


def test_order_names_and_limits_are_unitrees() -> None:
    rows = re.findall(r"(\d+) (\w+) (-[\d.]+)~([\d.]+)", UNITREES_TABLE)
    assert len(rows) == len(BODY) == 29
    for joint, (index, name, low, high) in zip(BODY, rows, strict=True):
        ours = joint.name.removesuffix("_joint").replace("left_", "l_").replace("right_", "r_")
        assert ours == name.lower().replace("_leg", ""), index
        assert joint.low == pytest.approx(float(low), abs=1e-5), joint.name
        assert joint.high == pytest.approx(float(high), abs=1e-5), joint.name


def test_the_right_side_mirrors_the_left_pitch_keeps_its_signs_roll_and_yaw_swap_them() -> None:
    for part in ("leg", "arm"):
        for left, right in zip(BODY_PARTS[f"left_{part}"], BODY_PARTS[f"right_{part}"], strict=True):
            assert right.name == left.name.replace("left_", "right_")
            assert (right.axis, right.torque) == (left.axis, left.torque)
            mirrored = (left.low, left.high) if left.axis == "y" else (-left.high, -left.low)
            assert (right.low, right.high) == mirrored


def test_a_joints_axis_is_in_its_name() -> None:
    for joint in BODY:
        for word, axis in (("pitch", "y"), ("roll", "x"), ("yaw", "z")):
            assert (word in joint.name) <= (joint.axis == axis), joint.name


@pytest.mark.parametrize(
    ("layout", "width"),
    [(STATE_31, 31), (ACTION_23, 23), (INSPIRE_53, 53), (DEX3_28, 28)],
    ids=["state", "action", "inspire", "dex3"],
)
def test_a_layout_has_its_width_and_every_place_one_name(layout: Layout, width: int) -> None:
    assert layout.width == len(layout.names) == width
    assert len(set(layout.names)) == width
    assert len({group.name for group in layout.groups}) == len(layout.groups)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_groups_follow_one_another_without_gap_or_overlap(layout: Layout) -> None:
    assert layout.groups[0].start == 0
    for before, after in pairwise(layout.groups):
        assert before.end == after.start
    for group in layout.groups:
        assert layout.names[group.slice] == group.names
        assert layout[group.name] is group


def test_groups_of_unitree_g1_are_named_and_ordered_as_gr00t_names_them() -> None:
    assert {group.name: group.end - group.start for group in STATE_31.groups} == {
        "left_leg": 6,
        "right_leg": 6,
        "waist": 3,
        "left_arm": 7,
        "right_arm": 7,
        "left_hand": 1,
        "right_hand": 1,
    }
    assert [(group.name, group.end - group.start, group.relative) for group in ACTION_23.groups] == [
        ("left_arm", 7, True),
        ("right_arm", 7, True),
        ("left_hand", 1, False),
        ("right_hand", 1, False),
        ("waist", 3, False),
        ("base_height_command", 1, False),
        ("navigate_command", 3, False),
    ]
    assert ACTION_23.modality()["waist"] == {"start": 16, "end": 19}


def test_the_waist_is_yaw_roll_pitch_in_the_state_and_yaw_pitch_roll_in_the_action() -> None:
    assert STATE_31["waist"].names == ("waist_yaw_joint", "waist_roll_joint", "waist_pitch_joint")
    assert ACTION_23["waist"].names == ("waist_yaw_joint", "waist_pitch_joint", "waist_roll_joint")


def test_every_joint_of_every_layout_has_a_range() -> None:
    commands = {"left_gripper", "right_gripper", "base_height", "velocity_x", "velocity_y", "velocity_yaw"}
    for layout in LAYOUTS.values():
        for name in layout.names:
            assert name in commands or JOINTS[name].low < JOINTS[name].high, name


def test_the_body_comes_first_in_motor_order_in_the_53() -> None:
    assert INSPIRE_53.names[:29] == STATE_31.names[:29] == tuple(joint.name for joint in BODY)


def test_dataset_names_are_unitrees() -> None:
    # As in the info.json of Unitree's G1_Dex3_* datasets.
    assert dataset_name("left_shoulder_pitch_joint") == "kLeftShoulderPitch"
    assert dataset_name("right_elbow_joint") == "kRightElbow"
    assert [dataset_name(name) for name in DEX3_28.names[14:]] == [
        *("kLeftHandThumb0", "kLeftHandThumb1", "kLeftHandThumb2"),
        *("kLeftHandMiddle0", "kLeftHandMiddle1", "kLeftHandIndex0", "kLeftHandIndex1"),
        *("kRightHandThumb0", "kRightHandThumb1", "kRightHandThumb2"),
        *("kRightHandIndex0", "kRightHandIndex1", "kRightHandMiddle0", "kRightHandMiddle1"),
    ]


def test_an_unknown_group_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        STATE_31["tail"]


def test_the_inspire_robot_is_as_users_know_it() -> None:
    robot = G1InspireRobot()
    assert (robot.body_dof, robot.hand_dof_per_hand, robot.total_dof) == (29, 12, 53)
    assert robot.joint_indices == {
        "left_leg": (0, 6),
        "right_leg": (6, 12),
        "waist": (12, 15),
        "left_arm": (15, 22),
        "right_arm": (22, 29),
        "left_inspire_hand": (29, 41),
        "right_inspire_hand": (41, 53),
    }
    assert robot.all_joint_names == list(INSPIRE_53.names)
    assert robot.get_joint_indices("waist") == (12, 15)
    assert robot.get_joint_names("right_inspire_hand")[0] == "R_index_proximal_joint"
    assert robot.validate_state_vector([0.0] * 53)
    assert not robot.validate_state_vector([0.0] * 31)


def test_two_robots_share_no_table() -> None:
    one, other = G1InspireRobot(), G1InspireRobot()
    one.joint_names["waist"].append("x")
    assert other.joint_names["waist"] == list(STATE_31["waist"].names)
