"""An observation is right before it is sent, or the error names what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import observed
import pytest

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.robot import INSPIRE_53
from dm_isaac_g1.inference import canned, observation
from dm_isaac_g1.inference.embodiments import EMBODIMENTS, embodiment_of
from dm_isaac_g1.inference.observations import spec_of
from dm_isaac_g1.inference.protocol import ModalityConfig, unpack
from dm_isaac_g1.inference.specs import PolicySpec

PICTURE = np.zeros((48, 64, 3), np.uint8)
TASK = {"task": "wave"}


def groups(batch: int | None = None) -> dict[str, Any]:
    return {g: np.zeros((d,) if batch is None else (batch, d)) for g, d in observed.GROUPS.items()}


def test_the_g1_of_groot_has_31_values_of_state_and_30_steps_of_23() -> None:
    spec = embodiment_of("unitree_g1").spec
    assert (spec.state_width, spec.action_width, spec.horizon) == (31, 23, 30)
    assert spec.state == observed.GROUPS and spec.cameras == ("ego_view",) and spec.language == observed.LANGUAGE


def test_the_g1_with_inspire_hands_has_53_in_seven_groups() -> None:
    spec = embodiment_of("g1_inspire").spec
    assert spec.state_width == 53 and spec.state["left_inspire_hand"] == 12 and len(spec.state) == 7
    built = observation("G1_INSPIRE", state=np.arange(53), image=PICTURE, **TASK)
    assert [built["state"][group.name][0, 0, 0] for group in INSPIRE_53.groups] == [g.start for g in INSPIRE_53.groups]


def test_an_unknown_embodiment_names_those_that_are_known() -> None:
    with pytest.raises(UsageError, match="UNITREE_G1, G1_INSPIRE"):
        observation("GR2", state=groups(), image=PICTURE, **TASK)


@pytest.mark.parametrize("batch", [1, 4])
def test_batches_of_any_spelling_become_the_same(batch: int) -> None:
    rows = np.tile(np.arange(31.0), (batch, 1))
    pictures = np.tile(PICTURE, (batch, 1, 1, 1))
    built = observation(state=rows, image=pictures, **TASK)
    with_time = observation(state=rows[:, None], image=pictures[:, None], task=["wave"] * batch)
    assert built["state"]["waist"].shape == (batch, 1, 3) and built["state"]["waist"].dtype == np.float32
    assert built["video"]["ego_view"].shape == (batch, 1, 48, 64, 3)
    assert built["language"] == with_time["language"] == {observed.LANGUAGE: [["wave"]] * batch}
    for group in observed.GROUPS:
        np.testing.assert_array_equal(built["state"][group], with_time["state"][group])


def test_a_gripper_may_be_a_number_and_an_arm_a_list() -> None:
    state = groups() | {"left_hand": 0.5, "left_arm": [0.1] * 7}
    built = observation(state=state, image={"ego_view": PICTURE}, **TASK)
    assert built["state"]["left_hand"].tolist() == [[[0.5]]] and built["state"]["left_arm"].shape == (1, 1, 7)


def test_a_policy_that_looks_at_several_moments_takes_them() -> None:
    spec = PolicySpec(state={"a": 2}, action={"a": 2}, horizon=4, cameras=("c",), state_steps=3, video_steps=2)
    built = observation(spec, state={"a": np.ones((3, 2))}, image=np.zeros((2, 8, 8, 3), np.uint8))
    assert built["state"]["a"].shape == (1, 3, 2) and built["video"]["c"].shape == (1, 2, 8, 8, 3)
    with pytest.raises(UsageError, match=r"expected \(2,\), \(B, 2\) or \(B, 3, 2\)"):
        observation(spec, state={"a": np.ones(2)}, image=np.zeros((2, 8, 8, 3), np.uint8))


def test_a_policy_without_eyes_and_ears_takes_a_state_alone() -> None:
    spec = PolicySpec(state={"state": 6}, action={"action": 6}, horizon=8)
    built = observation(spec, state=np.zeros(6))
    assert built["video"] == {} and built["language"] == {} and built["state"]["state"].shape == (1, 1, 6)
    with pytest.raises(UsageError, match="takes no instruction"):
        observation(spec, state=np.zeros(6), **TASK)
    with pytest.raises(UsageError, match="cameras: none"):
        observation(spec, state=np.zeros(6), image=PICTURE)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a group too few": (
        {"state": {g: v for g, v in groups().items() if g != "waist"}},
        "lacks waist, expected.*waist 3",
    ),
    "a group's name": ({"state": groups() | {"wrist": 0}}, "state has wrist, expected left_leg 6"),
    "a group's width": ({"state": groups() | {"waist": np.zeros(4)}}, r"'waist' has the shape \(4,\), expected \(3,\)"),
    "the whole width": ({"state": np.zeros(43)}, r"shape \(43,\), expected \(\.\.\., 31\): left_leg 6"),
    "truth values": ({"state": groups() | {"left_hand": np.array([True])}}, "type bool, expected numbers"),
    "texts": ({"state": groups() | {"waist": ["a", "b", "c"]}}, "expected numbers"),
    "objects": ({"state": groups() | {"waist": [None, 1, 2]}}, "expected numbers"),
    "ragged rows": ({"state": groups() | {"waist": [[1, 2], [3]]}}, "ragged"),
    "not a number": ({"state": groups() | {"waist": [0, np.nan, 0]}}, "'waist' holds values that are not finite"),
    "floats as a picture": ({"image": PICTURE / 255}, "type float64, expected uint8"),
    "channels first": (
        {"image": PICTURE.transpose(2, 0, 1)},
        r"\(3, 48, 64\), expected \(H, W, 3\).*channels come last",
    ),
    "an alpha channel": ({"image": np.zeros((48, 64, 4), np.uint8)}, "expected"),
    "no picture": ({"image": None}, "no image, expected one of ego_view"),
    "a camera's name": ({"image": {"front": PICTURE}}, "lacks ego_view and has front"),
    "no task": ({"task": None}, "no task"),
    "tasks for another batch": ({"task": ["a", "b"]}, "2 tasks, expected one text, or one for each of the batch of 1"),
    "a number as task": ({"task": 7}, "no task"),
    "two batches": ({"image": np.zeros((2, 48, 64, 3), np.uint8)}, "batches of different sizes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_what_was_expected(name: str) -> None:
    wrong, said = WRONG[name]
    with pytest.raises(UsageError, match=said):
        observation(**{"state": groups(), "image": PICTURE, **TASK} | wrong)


def test_a_canned_observation_is_a_standing_g1_and_the_same_every_time() -> None:
    first, second = canned("UNITREE_G1", batch=2), canned(embodiment_of("UNITREE_G1").spec, batch=2)
    leg = first["state"]["left_leg"]
    np.testing.assert_allclose(leg[1, 0], [-0.1, 0, 0, 0.3, -0.2, 0], rtol=1e-6)
    assert first["video"]["ego_view"].shape == (2, 1, 480, 640, 3)
    assert all(np.array_equal(first["state"][g], second["state"][g]) for g in observed.GROUPS)
    assert np.array_equal(first["video"]["ego_view"], second["video"]["ego_view"])


@pytest.mark.parametrize("name", EMBODIMENTS)
def test_every_embodiment_has_a_canned_observation_that_it_takes(name: str) -> None:
    made = canned(name, height=24, width=32)
    assert {group: array.shape[2] for group, array in made["state"].items()} == embodiment_of(name).spec.state


def test_a_server_that_describes_itself_is_told_from_the_tables() -> None:
    spec = spec_of(unpack(observed.capture("modality.rep")))
    assert spec == embodiment_of("UNITREE_G1").spec
    assert canned(unpack(observed.capture("modality.rep")))["state"].keys() == observed.GROUPS.keys()


def test_a_group_whose_width_is_known_from_nowhere_is_said_and_can_be_told() -> None:
    configs = {
        "state": ModalityConfig(delta_indices=[0], modality_keys=["state.tail"]),
        "action": ModalityConfig(delta_indices=[0, 1], modality_keys=["action.tail"]),
    }
    with pytest.raises(UsageError, match="does not say how wide tail is"):
        spec_of(configs)
    assert spec_of(configs, {"tail": 5}) == PolicySpec(state={"tail": 5}, action={"tail": 5}, horizon=2)
