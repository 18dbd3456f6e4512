"""Whatever a dataset calls a joint, it is one joint; whatever is not that joint is not taken for it."""

from __future__ import annotations

import pytest

from dm_isaac_g1.core.robot import BODY, JOINTS, dataset_name
from dm_isaac_g1.data.names import canonical


def test_every_joint_of_the_tables_is_itself():
    assert {name for name in JOINTS if canonical(name) != name} == set()


def test_every_joint_of_the_body_is_known_by_unitrees_name():
    assert [canonical(dataset_name(joint.name)) for joint in BODY] == [joint.name for joint in BODY]


@pytest.mark.parametrize(
    "name",
    [
        "kLeftElbow",
        "left_elbow_joint",
        "left_elbow",
        "left_elbow.pos",
        "LeftElbow",
        "kLeftElbow.q",
        " left-elbow ",
        "LEFT_ELBOW",
    ],
)
def test_spelling_does_not_matter(name):
    assert canonical(name) == "left_elbow_joint"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kLeftWristyaw", "left_wrist_yaw_joint"),
        ("kLeftHandThumb0", "left_hand_thumb_0_joint"),
        ("right_hand_index_1_joint", "right_hand_index_1_joint"),
        ("kRightHandThumbRotation", "right_hand_thumb_rotation"),
        ("kLeftHandThumbAux", "left_hand_thumb_aux"),
        ("kLeftGripper", "left_gripper"),
        ("L_thumb_distal_joint", "L_thumb_distal_joint"),
        ("RobotYaw", "torso_yaw"),
        ("VX", "velocity_x"),
        ("AngZ", "velocity_yaw"),
        ("Height", "base_height"),
        ("main_shoulder_pan", "shoulder_pan"),
        ("gripper.pos", "gripper"),
    ],
)
def test_names_of_unitree_nvidia_and_lerobot(name, meant):
    assert canonical(name) == meant


@pytest.mark.parametrize(
    "name", ["left_elbow.vel", "left_elbow_torque", "kLeftEEX", "elbow", "", "joint", "kLeft", "dim_0"]
)
def test_what_is_no_known_joint_is_none(name):
    assert canonical(name) is None


def test_a_normalised_command_of_a_finger_is_not_its_angle():
    assert canonical("kLeftHandIndex") not in JOINTS
