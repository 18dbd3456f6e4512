"""Validation: nothing wrong passes silently, nothing right is called wrong."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of, make, write_json, write_lines
from sets_defects import SEVENTEEN, change_episode, change_episodes, info_of, lines_of, set_column
from sets_families import FAMILIES

from dm_isaac_g1.core.errors import Interrupted
from dm_isaac_g1.data.problems import Finding
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.validate import codes, validate_dataset
from dm_isaac_g1.data.validate.result import KEPT
from dm_isaac_g1.data.work import Work

VERSIONS = ("2.0", "2.1", "3.0")
DATA = Path(codes.__file__).parents[1]

#: Defect -> code that names it, in v2.x and v3.0.
NAMED = {
    "missing_column": ("missing-column",) * 2,
    "null_value": ("null",) * 2,
    "nan": ("not-finite",) * 2,
    "inf": ("not-finite",) * 2,
    "missing_episode": ("missing-parquet", "missing-episode"),
    "missing_video": ("missing-video",) * 2,
    "list_type": ("variable-list",) * 2,
    "f64": ("other-precision",) * 2,
    "short_vector": ("wrong-width",) * 2,
    "bad_length_meta": ("length-differs",) * 2,
    "no_episodes_jsonl": ("no-episodes-jsonl", "no-episodes-parquet"),
    "no_tasks_jsonl": ("no-tasks-jsonl", "no-tasks-parquet"),
    "lfs_pointer": ("lfs-pointer",) * 2,
    "truncated_parquet": ("unreadable",) * 2,
    "ragged_timestamps": ("ragged-timestamps",) * 2,
    "task_index_out_of_range": ("unknown-task",) * 2,
    "video_short": ("video-length", "video-clip"),
}
#: Read as they are, and said.
HARMLESS = {"list_type", "f64"}
ONE_CAMERA: dict[str, Any] = {"video": "h264", "cameras": 1}


def only(root: Path, code: str, **options: Any) -> Finding:
    """The one finding of a code."""
    found = [finding for finding in validate_dataset(root, **options).findings if finding.code == code]
    assert len(found) == 1, found
    return found[0]


# --- Promises ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_dataset_of_any_family_raises_no_alarm(family: str, version: str, tmp_path: Path) -> None:
    result = validate_dataset(copy_of(tmp_path, family, version=version, **ONE_CAMERA), deep=True)
    assert result.valid
    assert result.findings == ()
    assert (result.episodes, result.frames, result.videos) == (3, 123, 2 if version == "3.0" else 3)


@pytest.mark.parametrize("defect", SEVENTEEN)
@pytest.mark.parametrize("family", FAMILIES)
def test_none_of_the_17_defects_is_accepted_silently(family: str, defect: str, tmp_path: Path) -> None:
    for version, code in zip(("2.1", "3.0"), NAMED[defect], strict=True):
        options = ONE_CAMERA if "video" in defect else {}
        root = copy_of(tmp_path / version, family, version=version, defect=defect, **options)
        result = validate_dataset(root)
        assert result.valid == (defect in HARMLESS)
        finding = next(finding for finding in result.findings if finding.code == code)
        assert finding.place.file is not None
        if defect in ("null_value", "nan", "inf", "short_vector", "ragged_timestamps"):
            assert (finding.place.episode, finding.place.frame) == (1, 7)
            assert finding.place.joint


def test_a_nan_is_found_whatever_the_size_with_deep_and_admitted_as_unseen_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dm_isaac_g1.data.validate.rows.FEW", 0)
    root = copy_of(tmp_path / "nan", "dex3", defect="nan")
    assert "values-not-read" in validate_dataset(root).codes()
    assert only(root, "not-finite", deep=True).place.joint == "kLeftShoulderYaw"


@pytest.mark.parametrize(
    ("defect", "code"),
    [("null_value", "null"), ("null_inside", "null"), ("inf", "not-finite"), ("short_vector", "wrong-width")],
)
def test_a_files_own_statistics_tell_what_a_fast_look_at_large_data_skips(
    defect: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dm_isaac_g1.data.validate.rows.FEW", 0)
    assert only(copy_of(tmp_path, "dex3", defect=defect), code).place.frame == 7


@pytest.mark.parametrize("defect", ["wrong_file_index", "partial_splits", "no_splits"])
def test_what_readers_survive_is_a_warning_with_its_repair(defect: str, tmp_path: Path) -> None:
    result = validate_dataset(copy_of(tmp_path, "dex3", version="3.0", defect=defect))
    assert result.valid
    assert [finding.fix for finding in result.findings] == [f"dm-g1 data repair --path {tmp_path}"]


def test_videos_in_a_folder_of_another_name_are_one_finding_a_camera(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", video="h264", cameras=2, defect="video_folders_bare")
    result = validate_dataset(root)
    assert [finding.code for finding in result.findings] == ["video-folder"] * 2
    assert result.findings[0].fix == f"dm-g1 data repair --path {root}"


def test_a_dataset_whose_episodes_share_a_file_is_told_to_be_split(tmp_path: Path) -> None:
    root = make(tmp_path / "set", "dex3", layout="combined")
    assert "dm-g1 data split" in (only(root, "combined-parquet").fix or "")


# --- Rows that contradict each other ----------------------------------------------------------------------------------


def test_a_merge_that_forgot_to_remap_its_tasks_is_found(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", tasks=("Fold the towel.", "Wipe the table."))
    change_episode(root, lambda table, first: set_column(table, "task_index", np.zeros(41, np.int64)))
    finding = only(root, "task-differs")
    assert finding.place.episode == 1
    assert "Fold the towel." in finding.what


def test_indices_that_stayed_local_are_found(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")

    def local(table: pa.Table, first: int) -> pa.Table:
        table = set_column(table, "index", np.arange(41))
        return set_column(table, "episode_index", np.zeros(41, np.int64))

    path = root / "data/chunk-000/episode_000001.parquet"
    pq.write_table(local(pq.read_table(path), 0), path)
    assert {"index", "episode-index"} <= validate_dataset(root).codes("error")


def test_a_missing_episode_does_not_accuse_those_after_it(tmp_path: Path) -> None:
    for version in ("2.1", "3.0"):
        root = copy_of(tmp_path / version, "dex3", version=version, defect="missing_episode")
        assert "index" not in validate_dataset(root).codes()


def test_timestamps_that_begin_late_are_found(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")
    change_episode(root, lambda t, first: set_column(t, "timestamp", t["timestamp"].to_numpy() + np.float32(0.5)))
    assert only(root, "timestamp-start").fix == f"dm-g1 data repair --path {root} --retime"


def test_rows_of_an_episode_that_nobody_lists_are_found(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "3", "dex3", version="3.0")
    change_episodes(root, lambda rows: rows[1].update(episode_index=7))
    assert {"unlisted-episode", "missing-episode", "episode-numbers"} <= validate_dataset(root).codes("error")
    root = copy_of(tmp_path / "2", "dex3")
    rows = lines_of(root / "meta/episodes.jsonl")
    write_lines(root / "meta/episodes.jsonl", rows[:2])
    assert "orphan-parquet" in validate_dataset(root).codes("warning")


# --- Deep -------------------------------------------------------------------------------------------------------------


def test_joints_beyond_their_limits_are_named_with_their_share(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")

    def beyond(table: pa.Table, first: int) -> pa.Table:
        rows = table["observation.state"].to_pylist()
        for row in rows[:10]:
            row[3] = 2.5  # an elbow ends at 2.0944
        return set_column(table, "observation.state", rows)

    change_episode(root, beyond)
    assert validate_dataset(root).valid
    finding = only(root, "beyond-limits", deep=True)
    assert finding.place.joint == "kLeftElbow"
    assert finding.what.startswith("8.1% of observation.state kLeftElbow beyond -1.047 to 2.094")


def test_degrees_for_radians_are_an_error(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", episodes=2)

    def degrees(table: pa.Table, first: int) -> pa.Table:
        rows = np.degrees(np.array(table["action"].to_pylist())).astype(np.float32)
        return set_column(table, "action", list(rows))

    change_episode(root, degrees)
    assert "beyond-limits" in validate_dataset(root, deep=True).codes("error")


# --- Hostile and broken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"data_path": "../../../etc/{episode_index}.parquet"}, "path-leaves-dataset"),
        ({"data_path": "/etc/passwd{episode_index}"}, "path-leaves-dataset"),
        ({"data_path": "data/{episode_index.__class__}"}, "bad-path"),
        ({"video_path": "../{video_key}/{episode_index}.mp4"}, "path-leaves-dataset"),
        ({"total_episodes": 10**9}, "total-episodes"),
        ({"chunks_size": 0}, "bad-count"),
        ({"fps": 0}, "bad-fps"),
        ({"codebase_version": "v9"}, "unknown-version"),
        ({"features": {}}, "no-features"),
    ],
)
def test_an_info_json_that_lies_is_an_error_and_nothing_else(change: dict[str, Any], code: str, tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3", **ONE_CAMERA)
    write_json(root / "meta/info.json", info_of(root) | change)
    assert code in validate_dataset(root).codes("error")


@pytest.mark.parametrize(
    ("text", "code"),
    [("[" * 100_000, "not-json"), ('{"fps": NaN}', "not-json"), ("{", "not-json"), ("[]", "no-features")],
)
def test_an_info_json_that_is_none_is_an_error(text: str, code: str, tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")
    (root / "meta/info.json").write_text(text)
    assert validate_dataset(root).codes("error") == {code}


def test_an_episode_number_without_bounds_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")
    rows = lines_of(root / "meta/episodes.jsonl")
    write_lines(root / "meta/episodes.jsonl", [*rows, {"episode_index": 2**53 - 1, "tasks": [], "length": 2**52}])
    began = time.monotonic()
    assert "episode-numbers" in validate_dataset(root).codes("error")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("defect", ["nan", "null_inside", "short_vector"])
@pytest.mark.parametrize("version", ["2.1", "3.0"])
def test_a_file_too_large_to_hold_is_read_an_episode_at_a_time(
    version: str, defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dm_isaac_g1.data.validate.rows.AT_ONCE", 0)
    root = copy_of(tmp_path, "dex3", version=version, defect=defect)
    place = only(root, NAMED.get(defect, ("null",))[0], deep=True).place
    assert (place.episode, place.frame) == (1, 7)


def test_a_small_file_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "so101")
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    swollen = pa.array([[0.0] * 100_000] * 41, pa.list_(pa.float32()))
    pq.write_table(set_column(table, "action", swollen, swollen.type), path)
    assert "action holds 4100000 values" in only(root, "wrong-width").what
    rows = pa.table({"timestamp": pa.array(np.zeros(11_000_000, np.float32))})
    pq.write_table(rows, path)
    assert path.stat().st_size < 1 << 20
    assert "11000000 rows" in only(root, "too-many-rows").what


def test_a_link_out_of_the_dataset_is_not_followed(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex3")
    outside = tmp_path / "outside.parquet"
    file = root / "data/chunk-000/episode_000001.parquet"
    file.rename(outside)
    file.symlink_to(outside)
    assert only(root, "path-leaves-dataset").place.episode == 1


def test_a_broken_download_is_counted_and_not_recited(tmp_path: Path) -> None:
    root = make(tmp_path, "so101", episodes=30, frames=2, growth=0)
    for file in root.glob("data/*/*.parquet"):
        file.unlink()
    result = validate_dataset(root)
    assert result.errors >= 30
    assert sum(finding.code == "missing-parquet" for finding in result.findings) == KEPT
    assert result.hidden == {"missing-parquet": 30 - KEPT}


def test_a_folder_that_is_being_written_is_not_valid(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set.partial", "dex3")
    assert validate_dataset(root).valid
    (root / ".dm-g1-partial.json").write_text("{}")
    assert validate_dataset(root).codes("error") == {"unfinished"}


def test_no_folder_no_dataset(tmp_path: Path) -> None:
    assert validate_dataset(tmp_path / "none").codes() == {"no-dataset"}
    assert validate_dataset(tmp_path).codes() == {"not-a-dataset"}


def test_an_interruption_ends_it(tmp_path: Path) -> None:
    work = Work()
    work.cancel()
    with pytest.raises(Interrupted):
        validate_dataset(copy_of(tmp_path, "dex3"), work=work)


# --- Commands that repair --------------------------------------------------------------------------------------------


def test_broken_episodes_are_left_out_by_one_command_that_names_all_others(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "so101", episodes=9, defect="nan")
    rows = lines_of(root / "meta/episodes.jsonl")
    rows[6]["length"] += 1
    write_lines(root / "meta/episodes.jsonl", rows)
    result = validate_dataset(root)
    fixes = {finding.fix for finding in result.findings if finding.place.episode is not None}
    assert fixes == {f"dm-g1 data combine --input {root} --output {root}-without --episodes 0:1,2:6,7:9"}
    assert not any("{" in (finding.fix or "") for finding in result.findings)


@pytest.mark.parametrize("defect", ["nan", "short_vector", "bad_length_meta", "task_index_out_of_range"])
def test_what_is_left_is_a_valid_dataset(defect: str, tmp_path: Path) -> None:
    from dm_isaac_g1.data.combine import combine

    root = copy_of(tmp_path / "set", "so101", defect=defect)
    fix = next(f.fix or "" for f in validate_dataset(root).findings if f.place.episode == 1)
    combine([root], tmp_path / "out", episodes=[fix.split()[-1]])
    result = validate_dataset(tmp_path / "out", deep=True, reader="lerobot")
    assert (result.findings, result.episodes) == ((), 2)


def test_every_command_of_the_table_is_one_that_the_command_line_takes() -> None:
    import shlex

    import click

    from dm_isaac_g1.cli.app import root

    tree = root()
    for code, row in codes.CODES.items():
        if row.fix is None or not row.fix.startswith("dm-g1 "):
            continue
        _, group, name, *args = shlex.split(row.fix)
        under = tree.get_command(click.Context(tree), group)
        assert isinstance(under, click.Group), code
        command = under.get_command(click.Context(under), name)
        assert command is not None, code
        command.make_context(name, args)  # raises for an option that is none


# --- The note beside the dataset --------------------------------------------------------------------------------------


def test_the_verdict_is_noted_and_nothing_else_is_touched(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "groot", defect="nan")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    validate_dataset(root, reader="groot-n1.6")
    noted = sidecar.section(root, "validation")
    assert (noted["valid"], noted["deep"], noted["errors"]) == (False, False, 1)
    assert noted["readers"]["groot-n1.6"]["valid"] is False
    assert noted["findings"][0]["code"] == "not-finite"
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "dm_g1.json"} == before


def test_a_note_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    root = copy_of(tmp_path, "dex3")
    (root / "meta/dm_g1.json").mkdir()
    assert validate_dataset(root).valid


# --- The page ---------------------------------------------------------------------------------------------------------


def test_the_page_of_codes_is_printed_from_the_table() -> None:
    assert (Path(codes.__file__).parent / "README.md").read_text() == codes.page()


def test_every_code_that_reading_raises_is_on_the_page() -> None:
    """Of the modules that validation reads with."""
    files = ("info", "jsonfiles", "columns", "rows", "episodes", "dataset", "video", "stats/stale", "stats/groups")
    raised: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse((DATA / f"{file}.py").read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ("SchemaError", "DataError", "IntegrityError", "_wrong", "_finding", "schema", "data"):
                    raised.add(node.args[0].value)
    assert raised - codes.CODES.keys() <= {"no-such-episode", "video-short"}


def test_the_result_is_json(tmp_path: Path) -> None:
    import msgspec

    assert json.loads(msgspec.json.encode(validate_dataset(copy_of(tmp_path, "dex3", defect="nan"))))["errors"] == 1
