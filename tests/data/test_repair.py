"""Repair: what follows from a dataset's own files, never over what is there, never a guess."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sets import TASKS, copy_of, write_json
from sets_defects import DEFECTS, change_episodes, info_of, lines_of

from dm_isaac_g1.data.problems import DataProblem, RefusedOutput
from dm_isaac_g1.data.repair import RepairPlan, plan_repair, repair
from dm_isaac_g1.data.repairing import Create, Replace
from dm_isaac_g1.data.validate import validate_dataset

TWO_CAMERAS: dict[str, Any] = {"video": "h264", "cameras": 2}


def content(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "dm_g1.json")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def repaired(root: Path, **options: Any) -> RepairPlan:
    plan = plan_repair(root, **options)
    repair(plan)
    assert plan_repair(root, **options).lines == ()
    return plan


def test_a_whole_dataset_needs_no_repair(tmp_path: Path) -> None:
    for version in ("2.0", "2.1", "3.0"):
        root = copy_of(tmp_path / version, "dex3", version=version, **TWO_CAMERAS)
        assert plan_repair(root, retime=True).lines == ()


def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", defect="no_episodes_jsonl", **TWO_CAMERAS)
    DEFECTS["video_folders_flat"](root)
    before = content(root)
    assert len(plan_repair(root).lines) == 3
    assert content(root) == before


@pytest.mark.parametrize("defect", ["no_episodes_jsonl", "no_tasks_jsonl", "partial_splits", "no_splits"])
@pytest.mark.parametrize("tasks", [TASKS[:1], TASKS])
def test_what_was_lost_comes_back_as_it_was(defect: str, tasks: tuple[str, ...], tmp_path: Path) -> None:
    whole = content(copy_of(tmp_path / "whole", "dex3", tasks=tasks))
    root = copy_of(tmp_path / "set", "dex3", tasks=tasks, defect=defect)
    assert len(repaired(root).lines) == 1
    found = content(root)
    assert found.keys() == whole.keys()
    for name in found:
        if name.endswith(".jsonl"):
            assert lines_of(root / name) == [json.loads(line) for line in whole[name].splitlines()]
        elif name.endswith(".json"):
            assert json.loads(found[name]) == json.loads(whole[name])
        else:
            assert found[name] == whole[name]


def test_texts_of_tasks_that_stand_nowhere_are_asked_for_not_invented(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", tasks=TASKS, defect="no_tasks_jsonl")
    (root / "meta/episodes.jsonl").unlink()
    before = content(root)
    with pytest.raises(RefusedOutput, match="texts of 2 tasks are in no file") as refused:
        plan_repair(root)
    assert "--task" in (refused.value.fix or "")
    with pytest.raises(RefusedOutput, match="1 texts given, the rows know 2 tasks"):
        plan_repair(root, tasks=TASKS[:1])
    assert content(root) == before
    repaired(root, tasks=TASKS)
    assert [row["task"] for row in lines_of(root / "meta/tasks.jsonl")] == list(TASKS)
    assert [row["tasks"] for row in lines_of(root / "meta/episodes.jsonl")] == [[TASKS[0]], [TASKS[1]], [TASKS[0]]]
    assert validate_dataset(root).valid


def test_tasks_of_v3_come_back(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", version="3.0", tasks=TASKS)
    was = pq.read_table(root / "meta/tasks.parquet")
    (root / "meta/tasks.parquet").unlink()
    repaired(root)
    assert pq.read_table(root / "meta/tasks.parquet").equals(was)


def test_existing_lists_are_never_written_over(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")
    for name in ("episodes.jsonl", "tasks.jsonl"):
        (root / "meta" / name).write_text("broken\n")
    before = content(root)
    assert plan_repair(root, tasks=["Complete the manipulation task."]).lines == ()
    assert content(root) == before


def test_a_list_that_came_after_the_plan_stays(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", defect="no_episodes_jsonl")
    plan = plan_repair(root)
    (root / "meta/episodes.jsonl").write_text("mine\n")
    with pytest.raises(RefusedOutput, match="is there by now"):
        repair(plan)
    assert (root / "meta/episodes.jsonl").read_text() == "mine\n"


def test_an_info_json_that_changed_after_the_plan_stays(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", defect="partial_splits")
    plan = plan_repair(root)
    write_json(root / "meta/info.json", info_of(root) | {"robot_type": "mine"})
    with pytest.raises(RefusedOutput, match="changed since"):
        repair(plan)
    assert info_of(root)["robot_type"] == "mine"


def test_a_list_is_not_written_from_what_is_left_of_the_episodes(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", defect="no_episodes_jsonl")
    (root / "data/chunk-000/episode_000002.parquet").unlink()
    with pytest.raises(RefusedOutput, match="counts 3 episodes, 2 have files"):
        plan_repair(root)


def test_a_broken_file_stops_the_repair_that_would_count_it(tmp_path: Path) -> None:
    for defect in ("truncated_parquet", "lfs_pointer"):
        root = copy_of(tmp_path / defect, "dex3", defect=defect)
        (root / "meta/episodes.jsonl").unlink()
        with pytest.raises(DataProblem):
            plan_repair(root)


@pytest.mark.parametrize("defect", ["video_folders_bare", "video_folders_flat", "video_folders_bare_flat"])
def test_videos_move_to_the_folders_that_readers_look_in(defect: str, tmp_path: Path) -> None:
    whole = content(copy_of(tmp_path / "whole", "dex3", **TWO_CAMERAS))
    root = copy_of(tmp_path / "set", "dex3", defect=defect, **TWO_CAMERAS)
    repaired(root)
    assert content(root) == whole
    assert sorted(path.name for path in (root / "videos").iterdir()) == ["chunk-000"]
    assert validate_dataset(root).findings == ()


def test_a_folder_that_could_be_two_cameras_is_left_alone(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", **TWO_CAMERAS)
    chunk = root / "videos/chunk-000"
    shutil.copytree(chunk / "observation.images.cam_left_high", chunk / "cam_right_high")
    shutil.move(chunk / "observation.images.cam_right_high", chunk / "images.cam_right_high")
    assert plan_repair(root).lines == ()


def test_videos_are_not_moved_through_a_link_out_of_the_dataset(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex3", defect="video_folders_bare", **TWO_CAMERAS)
    folder = root / "videos/chunk-000/cam_left_high"
    for file in folder.iterdir():
        outside = tmp_path / file.name
        file.rename(outside)
        file.symlink_to(outside)
    with pytest.raises(DataProblem, match="leads out"):
        plan_repair(root)


def test_wrong_file_indices_of_v3_are_put_right_and_nothing_else(tmp_path: Path) -> None:
    options: dict[str, Any] = {"version": "3.0", "episodes": 5, **TWO_CAMERAS}
    whole = copy_of(tmp_path / "whole", "dex3", **options)
    root = copy_of(tmp_path / "set", "dex3", defect="wrong_file_index", **options)
    file = "meta/episodes/chunk-000/file-000.parquet"
    assert not pq.read_table(root / file).equals(pq.read_table(whole / file))
    assert repaired(root).lines == (f"correct {file}: data/file_index of episodes 2, 4",)
    assert pq.read_table(root / file).equals(pq.read_table(whole / file))


@pytest.mark.parametrize("version", ["2.1", "3.0"])
def test_timestamps_are_set_only_when_asked(version: str, tmp_path: Path) -> None:
    whole = copy_of(tmp_path / "whole", "dex3", version=version)
    root = copy_of(tmp_path / "set", "dex3", version=version, defect="ragged_timestamps")
    assert plan_repair(root).lines == ()
    assert len(repaired(root, retime=True).lines) == 1
    for path in whole.glob("data/*/*.parquet"):
        mine = pq.read_table(root / path.relative_to(whole))
        assert mine.equals(pq.read_table(path))
    assert "ragged-timestamps" not in validate_dataset(root).codes()


def test_totals_follow_the_lists_only_where_the_rows_agree(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "a", "dex3")
    write_json(root / "meta/info.json", info_of(root) | {"total_frames": 7, "total_chunks": 4})
    repaired(root)
    assert validate_dataset(root).findings == ()
    root = copy_of(tmp_path / "b", "dex3")
    change_episodes(root, lambda rows: rows[1].update(length=46))
    assert plan_repair(root).lines == ()


def test_a_kill_between_any_two_steps_is_taken_up_by_the_next_repair(tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        root = copy_of(tmp_path / name, "dex3", tasks=TASKS, defect="ragged_timestamps", **TWO_CAMERAS)
        for defect in ("no_episodes_jsonl", "video_folders_bare_flat", "partial_splits"):
            DEFECTS[defect](root)
        return root

    whole = broken("whole")
    repaired(whole, retime=True)
    steps = len(plan_repair(broken("count"), retime=True).steps)
    assert steps == 5
    for done in range(1, steps):
        root = broken(str(done))
        plan = plan_repair(root, retime=True)
        repair(RepairPlan(root, plan.steps[:done]))
        repaired(root, retime=True)
        assert content(root) == content(whole)


def test_a_kill_in_the_middle_of_moving_videos_is_taken_up(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex3", defect="video_folders_bare", **TWO_CAMERAS)
    (source, target), *_ = plan_repair(root).steps[0].names  # type: ignore[union-attr]
    (root / target).parent.mkdir(parents=True)
    (root / source).rename(root / target)
    repaired(root)
    assert content(root) == content(copy_of(tmp_path / "whole", "dex3", **TWO_CAMERAS))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = copy_of(tmp_path, "dex3", defect="partial_splits")
    before = content(root)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        repair(plan_repair(root))
    assert content(root) == before


def test_only_one_repair_at_a_time(tmp_path: Path) -> None:
    import fcntl
    import os

    root = copy_of(tmp_path, "dex3", defect="partial_splits")
    descriptor = os.open(root, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(RefusedOutput, match="another repair"):
            repair(plan_repair(root))
    finally:
        os.close(descriptor)


def test_a_plan_says_what_it_does_in_lines(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", defect="no_episodes_jsonl")
    DEFECTS["partial_splits"](root)
    create, replace = plan_repair(root).steps
    assert isinstance(create, Create)
    assert isinstance(replace, Replace)
    assert create.line == "write meta/episodes.jsonl: 3 episodes, 123 frames"
    assert replace.line == 'correct meta/info.json: splits {"train": "0:1"} -> {"train": "0:3"}'
