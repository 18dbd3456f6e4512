"""Validation for a reader: what GR00T N1.6 and lerobot will insist on, said before they do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sets import copy_of, make, write_json, write_lines
from sets_defects import info_of, lines_of

from dm_isaac_g1.data.stats.compute import compute_stats
from dm_isaac_g1.data.validate import validate_dataset

GROOT: dict[str, Any] = {"video": "h264"}


def relative(root: Path, horizon: int = 30, width: int = 7) -> None:
    """A meta/relative_stats.json of both arms in NVIDIA's form."""
    steps = [[0.1] * width] * horizon
    arm = dict.fromkeys(("max", "min", "q01", "q99", "mean", "std"), steps)
    write_json(root / "meta/relative_stats.json", {"left_arm": arm, "right_arm": arm})


def groot(folder: Path, family: str = "groot") -> Path:
    root = copy_of(folder, family, **GROOT)
    relative(root)
    return root


def errors(root: Path, reader: str = "groot-n1.6") -> set[str]:
    return validate_dataset(root, reader=reader).codes("error")  # type: ignore[arg-type]


def edit(root: Path, file: str, change: Callable[[Any], None]) -> None:
    value = json.loads((root / "meta" / file).read_text())
    change(value)
    write_json(root / "meta" / file, value)


@pytest.mark.parametrize("family", ["groot", "inspire53", "trifinger43"])
def test_groot_layouts_of_any_width_are_accepted_where_their_groups_are_complete(family: str, tmp_path: Path) -> None:
    root = groot(tmp_path, family)
    found = validate_dataset(root, reader="groot-n1.6")
    if family == "inspire53":  # as UNITREE_G1 names them, these groups are missing
        assert {finding.place.joint for finding in found.findings} >= {"state.left_hand", "action.navigate_command"}
    else:
        assert found.findings == ()


def test_a_dataset_for_lerobot_alone_is_none_for_groot_and_stays_valid(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")
    assert validate_dataset(root).valid
    assert errors(root) == {"groot-no-modality", "groot-stats"}


@pytest.mark.parametrize(
    ("family", "layout"), [("hospitality", "groot"), ("wbt", "groot"), ("dex1", "inspire"), ("dex3", "inspire")]
)
def test_the_conversion_that_is_proposed_is_one_that_takes_this_dataset(
    family: str, layout: str, tmp_path: Path
) -> None:
    found = validate_dataset(copy_of(tmp_path, family), reader="groot-n1.6").findings
    fix = next(finding.fix for finding in found if finding.code == "groot-no-modality")
    assert fix == f"dm-g1 data convert --input {tmp_path} --output {tmp_path}-{layout} --format {layout}"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda m: m["state"].pop("waist"), "groot-group"),
        (lambda m: m["action"].pop("navigate_command"), "groot-group"),
        (lambda m: m["state"]["right_hand"].update(end=99), "groot-group"),
        (lambda m: m["state"]["left_leg"].update(start=-1), "groot-group"),
        (lambda m: m["state"]["left_leg"].update(original_key="observation.nothing"), "groot-group"),
        (lambda m: m["state"].update(left_leg=[0, 1, 2]), "groot-group"),
        (lambda m: m["state"]["left_arm"].update(end=21), "groot-relative-widths"),
        (lambda m: m["video"].clear(), "groot-video"),
        (lambda m: m["video"]["ego_view"].update(original_key="observation.images.no"), "groot-video"),
        (lambda m: m["annotation"].clear(), "groot-annotation"),
        (lambda m: m["annotation"]["human.task_description"].pop("original_key"), "groot-annotation"),
    ],
)
def test_a_modality_json_that_groot_would_fail_on_is_found(
    change: Callable[[Any], None], code: str, tmp_path: Path
) -> None:
    root = groot(tmp_path)
    edit(root, "modality.json", change)
    assert code in errors(root)


def test_statistics_that_groot_asserts_are_asked_for(tmp_path: Path) -> None:
    root = groot(tmp_path)
    edit(root, "stats.json", lambda stats: stats["action"].pop("q99"))
    assert errors(root) == {"groot-stats"}
    (root / "meta/stats.json").unlink()
    assert errors(root) == {"groot-stats"}


@pytest.mark.parametrize(("horizon", "width"), [(16, 7), (30, 6)])
def test_relative_statistics_of_another_horizon_or_width_are_found(horizon: int, width: int, tmp_path: Path) -> None:
    root = groot(tmp_path)
    relative(root, horizon, width)
    assert "groot-relative-stats" in errors(root)
    (root / "meta/relative_stats.json").unlink()
    found = validate_dataset(root, reader="groot-n1.6")
    assert (found.valid, found.codes()) == (True, {"groot-no-relative-stats"})  # training computes it


def test_a_file_that_no_episode_has_is_an_error_for_readers_of_all_files(tmp_path: Path) -> None:
    root = groot(tmp_path)
    data = root / "data/chunk-000"
    (data / "episode_000009.parquet").write_bytes((data / "episode_000000.parquet").read_bytes())
    assert validate_dataset(root).codes("error") == set()
    assert errors(root) == {"groot-orphan"}
    assert errors(root, "lerobot") == {"lerobot-orphan"}


def test_episodes_below_the_horizon_are_told(tmp_path: Path) -> None:
    root = make(tmp_path / "some", "groot", frames=28, **GROOT)
    relative(root)
    found = validate_dataset(root, reader="groot-n1.6")
    assert (found.valid, found.codes()) == (True, {"groot-short-episode"})
    root = make(tmp_path / "all", "groot", frames=20, **GROOT)
    relative(root)
    assert errors(root) == {"groot-short-episode"}


def test_v3_is_none_for_groot(tmp_path: Path) -> None:
    assert "groot-version" in errors(copy_of(tmp_path, "groot", version="3.0", **GROOT))


@pytest.mark.parametrize("version", ["2.0", "2.1", "3.0"])
def test_lerobot_accepts_what_it_wrote(version: str, tmp_path: Path) -> None:
    root = copy_of(tmp_path, "hospitality", version=version, video="h264", cameras=1)
    assert validate_dataset(root, reader="lerobot").findings == ()


def test_statistics_that_lerobot_looks_for_are_asked_for(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "2.1", "dex3")
    rows = lines_of(root / "meta/episodes_stats.jsonl")
    write_lines(root / "meta/episodes_stats.jsonl", rows[:2])
    assert errors(root, "lerobot") == {"lerobot-episodes-stats"}
    rows[1]["stats"].pop("action")
    write_lines(root / "meta/episodes_stats.jsonl", rows)
    assert errors(root, "lerobot") == {"lerobot-episodes-stats"}
    (root / "meta/episodes_stats.jsonl").unlink()
    assert errors(root, "lerobot") == {"lerobot-episodes-stats"}
    root = copy_of(tmp_path / "2.0", "dex3", version="2.0")
    (root / "meta/stats.json").unlink()
    assert errors(root, "lerobot") == {"lerobot-stats"}


def test_keys_and_numbers_that_lerobot_takes_for_granted(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")
    info = info_of(root)
    del info["robot_type"]
    write_json(root / "meta/info.json", info)
    assert errors(root, "lerobot") == {"lerobot-info"}
    write_json(root / "meta/info.json", info | {"robot_type": None})
    assert errors(root, "lerobot") == set()
    write_lines(
        root / "meta/tasks.jsonl", [{"task_index": 1, "task": "Fold the towel."}, {"task_index": 0, "task": "x"}]
    )
    assert "lerobot-tasks" in errors(root, "lerobot")


def test_the_command_for_missing_statistics_of_pictures_computes_them(tmp_path: Path) -> None:
    """A combination with a v2.0 dataset has them of some episodes only; lerobot 0.3.3 reads it."""
    root = copy_of(tmp_path, "inspire26", video="h264", cameras=1)
    rows = lines_of(root / "meta/episodes_stats.jsonl")
    del rows[1]["stats"]["observation.images.cam_high"]
    write_lines(root / "meta/episodes_stats.jsonl", rows)
    (found,) = validate_dataset(root, reader="lerobot").findings
    assert (found.code, found.severity) == ("lerobot-picture-stats", "warning")
    assert found.fix == f"dm-g1 data stats --path {root} --images"
    compute_stats(root, images=True)
    assert validate_dataset(root, reader="lerobot").findings == ()
