"""Open loop over real datasets: a policy that knows the recording has no error at all; what does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sets
from recorded import Recorded

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.inference.evaluation import openloop
from dm_isaac_g1.inference.evaluation.openloop import Order
from dm_isaac_g1.inference.evaluation.results import EvaluationError, OpenLoop, Taken


def evaluated(policy: Any, root: Path, order: Order, taken: Taken | None = None) -> OpenLoop:
    dataset = Dataset.open(root)
    taken = taken or policy.taken
    found = [trajectory for trajectory, _ in openloop.evaluate(policy, dataset, taken, order)]
    return openloop.summary(dataset, taken, order, found)


@pytest.fixture
def groot(tmp_path: Path) -> Path:
    return sets.copy_of(tmp_path / "groot", "groot", episodes=3, frames=40)


def test_the_recording_itself_has_no_error(groot: Path) -> None:
    policy = Recorded(groot)
    found = evaluated(policy, groot, Order(trajectories=(0, 1, 2)))
    assert (found.mse, found.mae, found.action_horizon) == (0.0, 0.0, 16)
    assert [(each.episode, each.length, each.steps) for each in found.trajectories] == [
        (0, 40, 40),
        (1, 41, 41),
        (2, 42, 42),
    ]
    assert all(joint.worst == 0.0 for joint in found.joints)
    assert [policy.where(seen["state"]) for seen in policy.seen] == [(e, s) for e in range(3) for s in (0, 16, 32)]
    assert policy.seen[0]["language"] == {"annotation.human.task_description": [["Fold the towel."]]}


def test_a_constant_offset_is_found_to_the_last_digit(groot: Path) -> None:
    found = evaluated(Recorded(groot, wrong=0.25), groot, Order(trajectories=(1,)))
    assert found.mse == pytest.approx(0.0625, rel=1e-5)
    assert found.mae == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize(("steps", "horizon", "sent"), [(20, 8, 3), (200, 8, 5), (1, 16, 1)])
def test_steps_and_horizon_say_how_often_it_is_asked(groot: Path, steps: int, horizon: int, sent: int) -> None:
    policy = Recorded(groot)
    found = evaluated(policy, groot, Order(steps=steps, horizon=horizon))
    assert len(policy.seen) == sent
    assert found.trajectories[0].steps == min(steps, 40)


def test_a_policy_that_predicts_less_is_asked_more_often(groot: Path) -> None:
    policy = Recorded(groot, horizon=5)
    assert evaluated(policy, groot, Order()).action_horizon == 5
    with pytest.raises(EvaluationError, match="more than the policy predicts; it predicts 5"):
        evaluated(policy, groot, Order(horizon=6))


def test_n15_goes_on_past_the_end_of_an_episode(groot: Path) -> None:
    found = evaluated(Recorded(groot), groot, Order(steps=64, definition="n1.5"))
    assert (found.trajectories[0].steps, found.trajectories[0].length, found.mse) == (64, 40, 0.0)


def test_only_the_groups_asked_for_are_compared(groot: Path) -> None:
    found = evaluated(Recorded(groot, wrong=1.0), groot, Order(keys=("waist", "left_arm")))
    assert [joint.group for joint in found.joints] == ["waist"] * 3 + ["left_arm"] * 7
    assert "left_shoulder_pitch" in found.joints[3].name
    with pytest.raises(EvaluationError, match="has no tail"):
        evaluated(Recorded(groot), groot, Order(keys=("tail",)))


def test_cameras_show_the_frame_of_the_observation(tmp_path: Path) -> None:
    root = sets.copy_of(tmp_path / "seen", "groot", episodes=1, frames=20, video="h264")
    policy = Recorded(root, horizon=8, cameras=("ego_view",))
    found = evaluated(policy, root, Order())
    assert found.mse == 0.0
    from sets_video import HEIGHT, WIDTH, grey

    for seen, frame in zip(policy.seen, (0, 8, 16), strict=True):
        picture = seen["video"]["ego_view"]
        assert picture.shape == (1, 1, HEIGHT, WIDTH, 3)
        assert picture.dtype == np.uint8
        assert abs(float(np.median(picture)) - grey(frame, 0)) < 4, frame


def test_moments_before_the_first_frame_are_the_first_frame(groot: Path) -> None:
    policy = Recorded(groot)
    shown: list[Any] = []

    class Two:
        def get_action(self, observation: Any, options: Any = None) -> Any:
            shown.append(observation["state"]["waist"])
            return policy.get_action({"state": {n: v[:, -1:] for n, v in observation["state"].items()}})

    import msgspec

    taken = msgspec.structs.replace(policy.taken, state_steps=(-1, 0))
    assert evaluated(Two(), groot, Order(), taken).mse == 0.0
    assert shown[0].shape == (1, 2, 3)
    assert (shown[0][0, 0] == shown[0][0, 1]).all()
    assert (shown[1][0, 0] != shown[1][0, 1]).any()


def test_groups_are_found_by_names_without_a_modality_json(tmp_path: Path) -> None:
    """What the bc trainer's policies call their groups: those of a layout, or one for all values."""
    root = sets.copy_of(tmp_path / "plain", "dex3", episodes=1, frames=20)
    assert not (root / "meta" / "modality.json").exists()
    dataset = Dataset.open(root)
    from dm_isaac_g1.inference.evaluation.groups import Groups

    groups = Groups(dataset)
    arm, hand = groups.find("state", ("left_arm", "right_hand"))
    assert [dataset.info.features["observation.state"].labels("s")[place] for place in arm.places] == list(arm.names)
    assert len(hand.places) == 7
    (everything,) = groups.find("action", ("action",))
    assert everything.places == tuple(range(28))


def test_columns_of_their_own_are_groups(tmp_path: Path) -> None:
    from dm_isaac_g1.inference.evaluation.groups import Groups

    groups = Groups(Dataset.open(sets.copy_of(tmp_path / "h", "hospitality", episodes=1, frames=20)))
    (arm,) = groups.find("state", ("left_arm",))
    assert (arm.column, len(arm.places)) == ("observation.left_arm", 7)
    (gripper,) = groups.find("action", ("right_gripper",))
    assert gripper.column == "action.right_gripper"


# --- What does not fit ------------------------------------------------------------------------------------------------


def test_a_dataset_of_another_embodiment_is_refused_before_anything_is_asked(groot: Path, tmp_path: Path) -> None:
    policy = Recorded(groot)
    other = sets.copy_of(tmp_path / "dex3", "dex3", episodes=1, frames=20)
    with pytest.raises(EvaluationError, match=r"left_leg, right_leg, waist.* which the dataset lacks") as told:
        evaluated(policy, other, Order())
    assert "another embodiment" in told.value.line()
    assert not policy.seen


def test_a_camera_that_was_not_recorded_is_named(groot: Path) -> None:
    with pytest.raises(EvaluationError, match="looks through camera ego_view, which the dataset lacks"):
        evaluated(Recorded(groot, cameras=("ego_view",)), groot, Order())


def test_an_episode_that_is_not_there_is_named(groot: Path) -> None:
    with pytest.raises(DmG1Error, match="no episode 7"):
        evaluated(Recorded(groot), groot, Order(trajectories=(0, 7)))


def _spoilt(change: Callable[[dict[str, Any]], Any]) -> Any:
    class Spoilt:
        def __init__(self, root: Path) -> None:
            self.of = Recorded(root)
            self.taken = self.of.taken

        def get_action(self, observation: Any, options: Any = None) -> Any:
            actions, info = self.of.get_action(observation)
            return change(dict(actions)), info

    return Spoilt


def _nan(actions: dict[str, Any]) -> dict[str, Any]:
    spoilt = actions["right_arm"].copy()
    spoilt[0, 3, 2] = np.nan
    return actions | {"right_arm": spoilt}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_nan, r"right_arm at step 0 of episode 0 holds nan \(its step 3, value 2\)"),
        (lambda a: a | {"waist": a["waist"] * np.inf}, "waist at step 0 of episode 0 holds"),
        (lambda a: {n: v for n, v in a.items() if n != "waist"}, "lacks waist"),
        (
            lambda a: a | {"left_hand": np.zeros((1, 16, 7), np.float32)},
            "left_hand at step 0 of episode 0 has 7 values",
        ),
        (lambda a: a | {"waist": a["waist"][:, :4]}, "has 4 steps, not the 16"),
        (lambda a: a | {"waist": a["waist"][0]}, r"has shape \(16, 3\)"),
        (lambda a: a | {"waist": np.concatenate([a["waist"]] * 2)}, r"has shape \(2, 16, 3\)"),
        (lambda a: a | {"waist": a["waist"].astype(np.int64)}, "is int64, expected an array of floats"),
        (lambda a: a | {"waist": "yes"}, "is str, expected"),
        (lambda a: [1, 2], "lacks .*it has nothing"),
    ],
)
def test_answers_that_make_no_sense_are_told_with_their_place(groot: Path, change: Any, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        evaluated(_spoilt(change)(groot), groot, Order())


@pytest.mark.parametrize(
    "entry", [{"start": 0, "end": 99}, {"start": 5, "end": 5}, {"start": "a", "end": 3}, {"start": -1, "end": 2}]
)
def test_a_modality_json_that_points_beyond_its_column_is_refused(groot: Path, entry: dict[str, Any]) -> None:
    policy = Recorded(groot)
    path = groot / "meta" / "modality.json"
    given = json.loads(path.read_text())
    given["state"]["waist"] = entry
    path.write_text(json.dumps(given))
    with pytest.raises(EvaluationError, match=r"state\.waist is .* of observation\.state"):
        evaluated(policy, groot, Order())
