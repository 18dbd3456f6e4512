from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core.hands import (
    INSPIRE_COMMAND,
    INSPIRE_MIMIC,
    dex3_joints,
    inspire_from_command,
    inspire_joints,
    inspire_to_command,
)

commands = st.lists(st.floats(min_value=0, max_value=1), min_size=6, max_size=6)
NAMES = [joint.name.removeprefix("L_") for joint in inspire_joints("left")]


def test_an_inspire_hand_has_twelve_joints_half_of_them_driven() -> None:
    assert len(NAMES) == 12
    driven = {name for _, name in INSPIRE_COMMAND}
    assert driven | set(INSPIRE_MIMIC) == set(NAMES)
    assert not driven & set(INSPIRE_MIMIC)


def test_both_inspire_hands_differ_by_their_prefix_only() -> None:
    for left, right in zip(inspire_joints("left"), inspire_joints("right"), strict=True):
        assert right.name == left.name.replace("L_", "R_", 1)
        assert (right.low, right.high, right.closing) == (left.low, left.high, left.closing)


def test_a_followers_limits_are_its_leaders_times_the_factor() -> None:
    limits = dict(zip(NAMES, inspire_joints("left"), strict=True))
    for follower, (leader, factor) in INSPIRE_MIMIC.items():
        assert limits[follower].low == pytest.approx(factor * limits[leader].low)
        assert limits[follower].high == pytest.approx(factor * limits[leader].high)


def test_one_is_open_and_zero_a_fist() -> None:
    opened = dict(zip(NAMES, inspire_from_command([1.0] * 6), strict=True))
    closed = dict(zip(NAMES, inspire_from_command([0.0] * 6), strict=True))
    assert opened == pytest.approx({name: -0.1 if "yaw" in name else 0.0 for name in NAMES})
    assert closed == pytest.approx({joint.name[2:]: joint.high for joint in inspire_joints("left")})


@given(commands)
def test_every_command_stays_within_the_limits_and_comes_back(command: list[float]) -> None:
    angles = inspire_from_command(command)
    for angle, joint in zip(angles, inspire_joints("right"), strict=True):
        assert joint.low - 1e-9 <= angle <= joint.high + 1e-9, joint.name
    assert inspire_to_command(angles) == pytest.approx(command)


@given(commands)
def test_followers_follow_by_their_factor(command: list[float]) -> None:
    angles = dict(zip(NAMES, inspire_from_command(command), strict=True))
    assert angles["index_intermediate_joint"] == angles["index_proximal_joint"]
    assert angles["thumb_intermediate_joint"] == pytest.approx(1.6 * angles["thumb_proximal_pitch_joint"])
    assert angles["thumb_distal_joint"] == pytest.approx(2.4 * angles["thumb_proximal_pitch_joint"])


@pytest.mark.parametrize("command", [[], [0.5] * 5, [0.5] * 12, [1.1] * 6, [-0.1] * 6, [float("nan")] * 6])
def test_a_command_of_another_width_or_range_is_refused(command: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected 6 values|0 \(closed\) to 1 \(open\)"):
        inspire_from_command(command)


def test_angles_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 12 angles, found 6"):
        inspire_to_command([0.0] * 6)


def test_the_two_dex3_hands_have_their_own_orders() -> None:
    left = [joint.name.split("_hand_")[1] for joint in dex3_joints("left")]
    right = [joint.name.split("_hand_")[1] for joint in dex3_joints("right")]
    assert left[3:] == ["middle_0_joint", "middle_1_joint", "index_0_joint", "index_1_joint"]
    assert right[3:] == ["index_0_joint", "index_1_joint", "middle_0_joint", "middle_1_joint"]


def test_the_right_dex3_mirrors_the_left_in_all_but_the_thumbs_swing() -> None:
    right = {joint.name: joint for joint in dex3_joints("right")}
    for left in dex3_joints("left"):
        mirror = right[left.name.replace("left_", "right_")]
        if "thumb_0" in left.name:
            assert (mirror.low, mirror.high, mirror.closing) == (left.low, left.high, 0)
        else:
            assert (mirror.low, mirror.high, mirror.closing) == (-left.high, -left.low, -left.closing)


def test_a_dex3_finger_closes_towards_its_far_limit() -> None:
    for side in ("left", "right"):
        for joint in dex3_joints(side):
            if joint.closing:
                near, far = sorted((joint.low, joint.high), key=abs)
                assert joint.closing * far > 0, joint.name
                assert abs(near) < abs(far)
