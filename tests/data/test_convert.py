"""Datasets converted to GR00T's 31/23 and to 53 joints: the right value in every place, whatever the source's order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sets import copy_of

from dm_isaac_g1.core.hands import SIDES, inspire_from_command
from dm_isaac_g1.core.robot import ACTION_23, BODY_PARTS, INSPIRE_53, STATE_31
from dm_isaac_g1.data.convert import convert, convert_to_groot, convert_to_inspire
from dm_isaac_g1.data.convert.handmaps import dex3_to_inspire, gripper_to_inspire
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.problems import SchemaError
from dm_isaac_g1.data.validate import validate_dataset

STATE, ACTION = "observation.state", "action"
EPISODE = "data/chunk-000/episode_{:06d}.parquet"


def rows(root: Path, column: str, episode: int = 1) -> np.ndarray:
    values = pq.read_table(root / EPISODE.format(episode))[column].to_pylist()
    return np.array(values, dtype=np.float64)


def meta(root: Path, name: str) -> Any:
    return json.loads((root / "meta" / name).read_text())


@pytest.fixture(scope="module")
def hospitality(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A hospitality set with four cameras, and what groot makes of it."""
    folder = tmp_path_factory.mktemp("hospitality")
    source = copy_of(folder / "in", "hospitality", video="h264", tasks=("Fold it.", "Wipe it."))
    convert_to_groot(source, folder / "out")
    return source, folder / "out"


# --- groot -----------------------------------------------------------------------------------------------------------


def test_hospitality_becomes_31_and_23_with_every_value_in_its_place(hospitality: tuple[Path, Path]) -> None:
    source, out = hospitality
    state, action = rows(out, STATE), rows(out, ACTION)
    assert state.shape[1] == STATE_31.width
    assert action.shape[1] == ACTION_23.width
    body, command = rows(source, "observation.body"), rows(source, "action.body")
    for part, places in (("left_leg", slice(0, 6)), ("right_leg", slice(6, 12)), ("waist", slice(12, 15))):
        assert (state[:, STATE_31[part].slice] == body[:, places]).all()
    for side in SIDES:
        assert (state[:, STATE_31[f"{side}_arm"].slice] == rows(source, f"observation.{side}_arm")).all()
        assert (action[:, ACTION_23[f"{side}_arm"].slice] == rows(source, f"action.{side}_arm")).all()
        assert (state[:, STATE_31[f"{side}_hand"].start] == rows(source, f"observation.{side}_gripper")).all()
        assert (action[:, ACTION_23[f"{side}_hand"].start] == rows(source, f"action.{side}_gripper")).all()
    # The action's waist is yaw, pitch, roll; the state's is yaw, roll, pitch.
    assert (action[:, ACTION_23["waist"].slice] == command[:, 3:6]).all()
    assert (action[:, ACTION_23["base_height_command"].start] == command[:, 6]).all()
    assert (action[:, ACTION_23["navigate_command"].slice] == command[:, 0:3]).all()


def test_the_result_is_valid_for_gr00t_and_for_lerobot(hospitality: tuple[Path, Path]) -> None:
    _, out = hospitality
    for reader in ("groot-n1.6", "lerobot"):
        found = validate_dataset(out, deep=True, reader=reader)
        assert found.valid, found.findings


def test_info_names_every_value_and_every_default_column_keeps_its_type(hospitality: tuple[Path, Path]) -> None:
    _, out = hospitality
    info = meta(out, "info.json")
    assert info["codebase_version"] == "v2.1"
    assert info["features"][STATE] == {"dtype": "float32", "shape": [31], "names": list(STATE_31.names)}
    assert info["features"][ACTION]["names"] == list(ACTION_23.names)
    assert (info["total_episodes"], info["total_videos"], info["splits"]) == (3, 3, {"train": "0:3"})
    table = pq.read_table(out / EPISODE.format(1))
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types == {
        STATE: "fixed_size_list<element: float>[31]",
        ACTION: "fixed_size_list<element: float>[23]",
        "timestamp": "float",
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
    }


def test_modality_says_where_each_group_is_and_which_instruction_goes_with_it(hospitality: tuple[Path, Path]) -> None:
    _, out = hospitality
    modality = meta(out, "modality.json")
    assert modality["state"] == STATE_31.modality()
    assert modality["action"] == ACTION_23.modality()
    assert modality["video"] == {"ego_view": {"original_key": "observation.images.ego_view"}}
    assert modality["annotation"] == {"human.task_description": {"original_key": "task_index"}}


def test_every_episode_keeps_its_own_instruction(hospitality: tuple[Path, Path]) -> None:
    source, out = hospitality
    for name in ("tasks.jsonl", "episodes.jsonl"):
        old, new = ((root / "meta" / name).read_text().splitlines() for root in (source, out))
        assert [json.loads(line) for line in new] == [json.loads(line) for line in old]
    assert set(rows(out, "task_index", 1)) == {1}


def test_the_left_head_camera_becomes_ego_view_by_link(hospitality: tuple[Path, Path]) -> None:
    source, out = hospitality
    path = "videos/chunk-000/observation.images.{}/episode_000002.mp4"
    assert (out / path.format("ego_view")).samefile(source / path.format("cam_left_high"))
    assert [folder.name for folder in (out / "videos/chunk-000").iterdir()] == ["observation.images.ego_view"]


def test_conversion_json_says_what_was_done_and_from_what(hospitality: tuple[Path, Path]) -> None:
    source, out = hospitality
    found = meta(out, "conversion.json")
    assert found["format"] == "groot"
    assert found["mapping"]["version"] == 1
    assert found["source"]["path"] == str(source.resolve())
    assert found["cameras"] == {"observation.images.ego_view": "observation.images.cam_left_high"}
    assert found["columns"][ACTION]["waist"]["from"] == "action.body"
    assert "observation.left_ee" in found["left_out"]


def test_statistics_are_those_of_the_new_values(hospitality: tuple[Path, Path]) -> None:
    _, out = hospitality
    every = np.concatenate([rows(out, STATE, episode) for episode in range(3)])
    stats = meta(out, "stats.json")[STATE]
    assert stats["mean"] == pytest.approx(every.mean(0), rel=1e-6, abs=1e-9)
    assert stats["q99"] == pytest.approx(np.quantile(every, 0.99, axis=0), rel=1e-6, abs=1e-9)
    assert set(meta(out, "relative_stats.json")) == {"left_arm", "right_arm"}


def test_wbt_arms_come_into_the_robots_order_by_name(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "wbt")
    convert_to_groot(source, tmp_path / "out", stats=False)
    given = rows(source, "observation.state.left_arm")  # ends wrist yaw, roll, pitch
    found = rows(tmp_path / "out", STATE)[:, STATE_31["left_arm"].slice]
    assert (found == given[:, [0, 1, 2, 3, 5, 6, 4]]).all()


@pytest.mark.parametrize("family", ["dex1", "dex3", "inspire26", "brainco26", "trifinger43", "so101", "inspire53"])
def test_a_family_that_lacks_something_is_refused_with_what_it_lacks(family: str, tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", family)
    with pytest.raises(SchemaError) as caught:
        convert_to_groot(source, tmp_path / "out")
    assert any(word in caught.value.what for word in ("left_leg", "one gripper value", "not of a G1"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


# --- Cameras ---------------------------------------------------------------------------------------------------------


def test_the_camera_can_be_chosen_and_the_others_kept(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "hospitality", video="h264", tasks=("Fold it.", "Wipe it."))
    made = convert_to_groot(source, tmp_path / "out", ego_camera="cam_right_high", keep_cameras=True, stats=False)
    assert made.videos == {"linked": 12}
    path = "videos/chunk-000/observation.images.{}/episode_000000.mp4"
    assert (tmp_path / "out" / path.format("ego_view")).samefile(source / path.format("cam_right_high"))
    assert (tmp_path / "out" / path.format("cam_left_wrist")).exists()


def test_a_camera_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "hospitality", video="h264", tasks=("Fold it.", "Wipe it."))
    with pytest.raises(SchemaError, match=r"cam_left_high.*cam_right_wrist"):
        convert_to_groot(source, tmp_path / "out", ego_camera="cam_front")


def test_a_set_without_a_camera_is_converted_with_a_warning(tmp_path: Path) -> None:
    made = convert_to_groot(copy_of(tmp_path / "in"), tmp_path / "out", stats=False)
    assert "no-camera" in {finding.code for finding in made.findings}
    assert meta(tmp_path / "out", "info.json")["video_path"] is None


# --- inspire ---------------------------------------------------------------------------------------------------------


def hand(root: Path, column: str, side: str) -> np.ndarray:
    return rows(root, column)[:, INSPIRE_53[f"{side}_inspire_hand"].slice]


@pytest.mark.parametrize("column", [STATE, ACTION])
def test_an_inspire_26_set_gets_its_arms_and_hands_in_place_and_a_pose_that_is_told(
    column: str, tmp_path: Path
) -> None:
    source = copy_of(tmp_path / "in", "inspire26")
    made = convert_to_inspire(source, tmp_path / "out", "inspire26")
    given, found = rows(source, column), rows(tmp_path / "out", column)
    assert found.shape[1] == 53
    assert (found[:, 15:29] == given[:, :14]).all()
    for place, side in ((14, "left"), (20, "right")):
        expected = [inspire_from_command(np.clip(row, 0, 1).tolist()) for row in given[:, place : place + 6]]
        assert hand(tmp_path / "out", column, side) == pytest.approx(np.array(expected), abs=2e-6)
    knee = INSPIRE_53.names.index("left_knee_joint")
    assert set(found[:, knee]) == {np.float32(0.3)}
    told = [finding for finding in made.findings if finding.code == "constant"]
    assert {finding.place.joint for finding in told} == {STATE, ACTION}
    noted = meta(tmp_path / "out", "conversion.json")
    assert noted["columns"][column]["left_leg"]["constant"] == "not recorded in the source"
    assert noted["parameters"]["body"] == "standing"
    assert validate_dataset(tmp_path / "out", deep=True).valid


def test_a_dex3_sets_fingers_are_not_swapped(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "dex3")
    convert_to_inspire(source, tmp_path / "out", stats=False)
    given = rows(source, STATE)
    for place, side in ((14, "left"), (21, "right")):
        expected = dex3_to_inspire(given[:, place : place + 7], side)
        assert hand(tmp_path / "out", STATE, side) == pytest.approx(expected, abs=2e-6)


def test_nvidias_43_joints_keep_their_body_and_lose_no_finger(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "trifinger43")
    made = convert_to_inspire(source, tmp_path / "out", stats=False)
    given, found = rows(source, STATE), rows(tmp_path / "out", STATE)
    assert found[:, :22] == pytest.approx(given[:, :22], abs=1e-6)
    assert found[:, 22:29] == pytest.approx(given[:, 29:36], abs=1e-6)
    # index 0 1, middle 0 1, thumb 0 1 2 -> as Dex3's vectors order the left hand
    dex3 = given[:, 22:29][:, [4, 5, 6, 2, 3, 0, 1]]
    assert hand(tmp_path / "out", STATE, "left") == pytest.approx(dex3_to_inspire(dex3, "left"), abs=2e-6)
    command = rows(tmp_path / "out", "action.command")
    assert command[:, 0] == pytest.approx(rows(source, "teleop.base_height_command"), abs=1e-6)
    assert command[:, 1:] == pytest.approx(rows(source, "teleop.navigate_command"), abs=1e-6)
    assert not {"constant", "observed"} & {finding.code for finding in made.findings}


def test_hospitalitys_53_joints_take_the_waist_as_commanded_and_the_legs_as_observed(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "hospitality", video="h264", cameras=1)
    made = convert_to_inspire(source, tmp_path / "out")
    found, command = rows(tmp_path / "out", ACTION), rows(source, "action.body")
    legs = rows(source, "observation.body")[:, :12]
    assert (found[:, :12] == legs).all()
    assert (found[:, INSPIRE_53["waist"].slice] == command[:, [3, 5, 4]]).all()  # yaw, roll, pitch
    assert hand(tmp_path / "out", ACTION, "right") == pytest.approx(
        gripper_to_inspire(rows(source, "action.right_gripper")), abs=2e-6
    )
    assert {"observed", "waist-command"} <= {finding.code for finding in made.findings}
    assert "observed" in meta(tmp_path / "out", "conversion.json")["columns"][ACTION]["left_leg"]
    assert validate_dataset(tmp_path / "out", reader="groot-n1.6").valid


def test_both_names_of_a_hand_are_in_modality_json(tmp_path: Path) -> None:
    convert_to_inspire(copy_of(tmp_path / "in", "dex1"), tmp_path / "out", body="straight", stats=False)
    state = meta(tmp_path / "out", "modality.json")["state"]
    assert state["left_hand"] == state["left_inspire_hand"] == {"start": 29, "end": 41}
    legs = rows(tmp_path / "out", STATE)[:, :15]
    assert (legs == 0).all()
    assert len(BODY_PARTS["left_leg"]) == 6


def test_a_hand_that_the_names_contradict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="dex3"):
        convert_to_inspire(copy_of(tmp_path / "in", "dex3"), tmp_path / "out", "inspire26")


def without_names(root: Path) -> Path:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    for column in (STATE, ACTION):
        info["features"][column]["names"] = None
    path.write_text(json.dumps(info))
    return root


def test_without_names_the_hand_must_be_said_and_then_its_positions_are_believed_with_a_warning(tmp_path: Path) -> None:
    named = copy_of(tmp_path / "named", "dex3")
    source = without_names(copy_of(tmp_path / "in", "dex3"))
    with pytest.raises(SchemaError) as caught:
        convert_to_inspire(source, tmp_path / "out")
    assert "--hand" in str(caught.value.fix)
    made = convert_to_inspire(source, tmp_path / "out", "dex3", stats=False)
    convert_to_inspire(named, tmp_path / "named-out", "dex3", stats=False)
    assert "positions-believed" in {finding.code for finding in made.findings}
    assert (rows(tmp_path / "out", STATE) == rows(tmp_path / "named-out", STATE)).all()


# --- Versions --------------------------------------------------------------------------------------------------------


def test_a_v3_set_gives_the_same_numbers_as_a_v2_one(tmp_path: Path) -> None:
    for version in ("2.1", "3.0"):
        source = copy_of(tmp_path / f"in{version}", "hospitality", version=version, video="h264", cameras=1)
        convert_to_groot(source, tmp_path / f"out{version}", stats=False)
    for column in (STATE, ACTION, "timestamp", "index", "episode_index", "task_index"):
        for episode in range(3):
            old, new = (rows(tmp_path / f"out{version}", column, episode) for version in ("2.1", "3.0"))
            assert (old == new).all()
    assert validate_dataset(tmp_path / "out3.0", deep=True).valid


def test_versions_are_changed_by_the_same_command(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "dex3")
    convert(source, tmp_path / "v3", "v3.0")
    convert(tmp_path / "v3", tmp_path / "v21", "v2.1")
    assert (rows(tmp_path / "v21", STATE) == rows(source, STATE)).all()
    assert Dataset.open(tmp_path / "v3").version == "3.0"
