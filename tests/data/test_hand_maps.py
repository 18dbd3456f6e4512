"""Hands as Inspire hands: limits, followers, directions, sides. For any values, not for some."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.hands import (
    INSPIRE_MIMIC,
    SIDES,
    Joint,
    dex3_joints,
    inspire_from_command,
    inspire_joints,
    inspire_to_command,
)
from dm_isaac_g1.data.convert.handmaps import (
    HandOptions,
    beyond,
    dex3_to_inspire,
    gripper_to_inspire,
    ranges,
    to_inspire,
)
from dm_isaac_g1.data.convert.layouts import hand_names

DRIVEN = ("gripper", "dex3", "trifinger", "inspire26", "brainco26")
PLACE = {joint.name[2:]: place for place, joint in enumerate(inspire_joints("left"))}
FINGERS = [PLACE[f"{finger}_proximal_joint"] for finger in ("index", "middle", "ring", "pinky")]
YAW, PITCH = PLACE["thumb_proximal_yaw_joint"], PLACE["thumb_proximal_pitch_joint"]
LOW = np.array([joint.low for joint in inspire_joints("left")])
HIGH = np.array([joint.high for joint in inspire_joints("left")])
OPTIONS = HandOptions()

anything = st.floats(-1e6, 1e6, width=32)
share = st.floats(0, 1, width=32)


def mapped(values, hand: str, side: str = "left", options: HandOptions = OPTIONS) -> np.ndarray:
    rows = np.atleast_2d(np.asarray(values, dtype=np.float32))
    out = np.full((len(rows), 12), np.nan, dtype=np.float32)
    to_inspire(rows, hand, side, options, out)
    return out


def closing(hand: str, side: str, amount) -> np.ndarray:
    """Values of a hand whose joints are all closed by `amount` (0 open, 1 closed), thumb_0 in the middle."""
    if hand == "gripper":
        return np.array([5.4 * (1 - amount)])
    if hand == "inspire26":
        return np.full(6, 1 - amount)
    if hand == "brainco26":
        return np.full(6, amount)
    joints = {joint.name: joint for joint in dex3_joints(side)}

    def at(joint: Joint) -> float:
        return amount * (joint.high if joint.closing > 0 else joint.low if joint.closing < 0 else 0.0)

    return np.array([at(joints[name]) for name in hand_names(hand, side)])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("hand", DRIVEN)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_whatever_goes_in_limits_are_obeyed_and_followers_follow_exactly(hand: str, side: str, data) -> None:
    width = len(hand_names(hand, side))
    rows = data.draw(st.lists(st.lists(anything, min_size=width, max_size=width), min_size=1, max_size=4))
    found = mapped(rows, hand, side)
    assert (found.astype(np.float64) >= LOW).all()
    assert (found.astype(np.float64) <= HIGH).all()
    for follower, (leader, factor) in INSPIRE_MIMIC.items():
        assert (found[:, PLACE[follower]] == found[:, PLACE[leader]] * np.float32(factor)).all()


@settings(max_examples=20, deadline=None)
@given(values=st.lists(anything, min_size=12, max_size=12))
def test_recorded_inspire_angles_pass_through_within_their_limits(values: list[float]) -> None:
    found = mapped(values, "inspire12")[0]
    assert (found.astype(np.float64) >= LOW).all()
    assert (found.astype(np.float64) <= HIGH).all()
    given_values = np.array(values, dtype=np.float32)
    inside = (given_values > LOW + 1e-6) & (given_values < HIGH - 1e-6)
    assert (found[inside] == given_values[inside]).all()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("hand", DRIVEN)
@settings(max_examples=15, deadline=None)
@given(amounts=st.lists(share, min_size=2, max_size=6, unique=True))
def test_closing_the_source_closes_every_finger_and_never_opens_one(hand: str, side: str, amounts: list[float]) -> None:
    amounts = sorted(amounts)
    found = mapped([closing(hand, side, amount) for amount in amounts], hand, side)
    bends = found[:, [*FINGERS, PITCH]]
    assert (np.diff(bends, axis=0) >= -1e-6).all()


@pytest.mark.parametrize("hand", DRIVEN)
def test_an_open_hand_is_straight_and_a_closed_one_is_bent(hand: str) -> None:
    for side in SIDES:
        straight, bent = (mapped(closing(hand, side, amount), hand, side)[0] for amount in (0.0, 1.0))
        assert straight[[*FINGERS, PITCH]] == pytest.approx(0.0, abs=1e-6)
        far = 0.5 if hand == "gripper" else 1.0
        assert bent[FINGERS] == pytest.approx(1.7 * far, abs=1e-5)
        assert bent[PITCH] == pytest.approx(0.5 * far, abs=1e-5)


@pytest.mark.parametrize("hand", ["dex3", "trifinger"])
@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.floats(-2, 2, width=32), min_size=7, max_size=7))
def test_mirrored_hands_give_the_same_angles(hand: str, values: list[float]) -> None:
    left = np.array(values)
    right = -left
    right[0] = left[0]  # thumb_0 is the one axis that is not mirrored
    assert (mapped(left, hand, "left") == mapped(right, hand, "right")).all()


def test_the_two_dex3_hands_have_their_own_order_and_no_finger_is_swapped() -> None:
    left = dex3_to_inspire([0, 0, 0, -1.5, -1.7, 0, 0], "left")  # places 3, 4: the left hand's middle finger
    right = dex3_to_inspire([0, 0, 0, 1.5, 1.7, 0, 0], "right")  # places 3, 4: the right hand's index finger
    index, middle = PLACE["index_proximal_joint"], PLACE["middle_proximal_joint"]
    assert left[middle] > 1.6
    assert left[index] == 0
    assert right[index] > 1.6
    assert right[middle] == 0


def test_a_dex3_thumb_that_swings_does_not_bend() -> None:
    resting, swung = dex3_to_inspire([[0.0] * 7, [1.0] + [0.0] * 6], "left")
    assert swung[PITCH] == resting[PITCH] == 0
    assert 0.9 < swung[YAW] < resting[YAW]


def test_the_other_sides_signs_leave_a_hand_open_rather_than_closed_wrongly() -> None:
    closed_right = closing("dex3", "right", 1.0)
    assert mapped(closed_right, "dex3", "left")[0][FINGERS] == pytest.approx(0.0)
    assert beyond(np.atleast_2d(closed_right), "dex3", "left", OPTIONS).sum() >= 5


def test_free_fingers_follow_the_middle_one_or_stay_open() -> None:
    ring, pinky = PLACE["ring_proximal_joint"], PLACE["pinky_proximal_joint"]
    closed = closing("dex3", "left", 1.0)
    following, open_ = mapped(closed, "dex3"), mapped(closed, "dex3", options=HandOptions(free_fingers="open"))
    assert following[0, [ring, pinky]] == pytest.approx(1.7, abs=1e-5)
    assert open_[0, [ring, pinky]] == pytest.approx(0)


# --- Grippers ---------------------------------------------------------------------------------------------------------


def test_a_gripper_at_5_4_is_open_and_at_0_pinches_with_the_tips_that_meet() -> None:
    open_, closed = gripper_to_inspire(5.4), gripper_to_inspire(0.0)
    assert open_[FINGERS] == pytest.approx(0)
    # By forward kinematics thumb and index tips meet at half closure with the yaw at 1.3 rad.
    assert closed[FINGERS] == pytest.approx(0.85)
    assert closed[PITCH] == pytest.approx(0.25)
    assert open_[YAW] == closed[YAW] == pytest.approx(1.3)
    assert gripper_to_inspire(0.0, grasp="power")[FINGERS] == pytest.approx(1.7, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(value=st.floats(0, 5.4))
def test_a_grippers_value_can_be_read_back_from_the_hand(value: float) -> None:
    bend = float(gripper_to_inspire(value)[FINGERS[0]])
    assert 5.4 * (1 - bend / 0.85) == pytest.approx(value, abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(amount=share)
def test_a_gripper_that_counts_the_other_way_is_the_same_hand(amount: float) -> None:
    usual = gripper_to_inspire(5.4 * amount)
    other = gripper_to_inspire(1 - amount, gripper_open=0.0, gripper_closed=1.0)
    assert usual == pytest.approx(other, abs=1e-5)


def test_arrays_of_any_shape_keep_it() -> None:
    assert gripper_to_inspire(np.zeros((2, 3))).shape == (2, 3, 12)
    assert dex3_to_inspire(np.zeros((4, 7)), "left").shape == (4, 12)
    assert gripper_to_inspire(1.0).dtype == np.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        gripper_to_inspire(value)
    with pytest.raises(ValueError, match="finite"):
        dex3_to_inspire([value] + [0.0] * 6, "left")


def test_a_wrong_number_of_angles_a_wrong_side_and_ends_that_are_one_are_refused() -> None:
    with pytest.raises(ValueError, match="7 angles"):
        dex3_to_inspire([0.0] * 6, "left")
    with pytest.raises(ValueError, match="side"):
        dex3_to_inspire([0.0] * 7, "both")
    with pytest.raises(UsageError, match="told apart"):
        gripper_to_inspire(1.0, gripper_open=2.0, gripper_closed=2.0)


# --- Commands of real hands -------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(command=st.lists(share, min_size=6, max_size=6))
def test_an_inspire_command_becomes_the_angles_of_core_and_can_be_read_back(command: list[float]) -> None:
    found = mapped(command, "inspire26")[0]
    assert found == pytest.approx(inspire_from_command(command), abs=2e-6)
    assert inspire_to_command(found.tolist()) == pytest.approx(command, abs=2e-6)


def test_brainco_counts_the_other_way_and_in_its_own_order() -> None:
    thumb_only = mapped([1, 0, 0, 0, 0, 0], "brainco26")[0]
    assert thumb_only[PITCH] == pytest.approx(0.5, abs=1e-5)
    assert thumb_only[YAW] == pytest.approx(-0.1)
    assert thumb_only[FINGERS] == pytest.approx(0)
    pinky_only = mapped([0, 0, 0, 0, 0, 1], "brainco26")[0]
    assert pinky_only[PLACE["pinky_proximal_joint"]] == pytest.approx(1.7, abs=1e-5)


# --- Clipping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hand", [*DRIVEN, "inspire12"])
def test_values_within_their_range_are_not_counted_as_clipped_and_those_beyond_are(hand: str) -> None:
    for side in SIDES:
        low, high = ranges(hand, side, OPTIONS)
        rows = np.stack([low, high, (low + high) / 2])
        assert not beyond(rows, hand, side, OPTIONS).any()
        assert (beyond(rows + (high - low) * 1.5, hand, side, OPTIONS) == 3).all()


def test_an_encoders_noise_at_rest_is_not_clipping() -> None:
    noisy = closing("dex3", "left", 0.0) + 0.01
    assert not beyond(np.atleast_2d(noisy), "dex3", "left", OPTIONS).any()
