"""meta/dm_g1.json never stands in the way, and statistics of other data are found by it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sets import copy_of
from sets_defects import change_episode, set_column

from dm_isaac_g1.data.problems import RefusedOutput
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.stats.compute import compute_stats
from dm_isaac_g1.data.stats.stale import stale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return copy_of(tmp_path / "set", "groot")


def shift(table: pa.Table, first: int) -> pa.Table:
    values = np.array(table.column("action").to_pylist(), np.float32) * np.float32(0.5)
    return set_column(table, "action", values.tolist(), table.schema.field("action").type)


def found(root: Path) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.place.file) for finding in stale(root)]


# --- The file ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.one_of(st.binary(max_size=60), st.sampled_from([b"[1]", b"null", b"{" * 5000, b'{"stats": 3}', b"\xff\xfe"])))
def test_garbage_is_nothing_known_and_never_an_error(garbage: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "meta").mkdir()
        (root / sidecar.SIDECAR).write_bytes(garbage)
        assert isinstance(sidecar.read(root), dict)
        assert sidecar.section(root, "stats") == {}
        assert sidecar.write(root, validation={"valid": True})
        assert sidecar.section(root, "validation") == {"valid": True}


def test_sections_are_replaced_as_a_whole_and_the_others_stay(root: Path) -> None:
    sidecar.write(root, source={"repo": "a/b", "revision": "c"}, validation={"valid": False, "errors": 3})
    sidecar.write(root, validation={"valid": True})
    assert sidecar.section(root, "validation") == {"valid": True}
    assert sidecar.section(root, "source")["repo"] == "a/b"
    sidecar.write(root, validation=None)
    assert "validation" not in sidecar.read(root)
    assert sidecar.read(root)["tool"].startswith("dm-g1 ")


def test_a_folder_that_cannot_be_written_is_said_and_not_raised(tmp_path: Path) -> None:
    assert not sidecar.write(tmp_path / "nowhere", validation={})
    assert sidecar.read(tmp_path / "nowhere") == {}


def test_a_link_is_not_followed_and_nan_is_not_written(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('{"validation": {"valid": true}}')
    (root / sidecar.SIDECAR).symlink_to(outside)
    assert sidecar.read(root) == {}
    sidecar.write(root, validation={"valid": False})
    assert "true" in outside.read_text()
    with pytest.raises(ValueError, match="JSON"):
        sidecar.write(root, validation={"share": float("nan")})
    assert [path.name for path in (root / "meta").glob(".dm_g1*")] == []


# --- Stale statistics -------------------------------------------------------------------------------------------------


def test_fresh_statistics_are_not_stale(root: Path) -> None:
    compute_stats(root)
    assert found(root) == []


def test_changed_data_makes_all_of_them_stale_until_they_are_computed_again(root: Path) -> None:
    compute_stats(root)
    change_episode(root, shift)
    assert found(root) == [
        ("stats-stale", "meta/stats.json"),
        ("stats-stale", "meta/episodes_stats.jsonl"),
        ("stats-stale", "meta/relative_stats.json"),
    ]
    before = json.loads((root / "meta" / "stats.json").read_text())
    compute_stats(root)
    assert found(root) == []
    assert json.loads((root / "meta" / "stats.json").read_text())["action"] != before["action"]


def test_a_copied_dataset_is_known_by_its_content(root: Path, tmp_path: Path) -> None:
    compute_stats(root)
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    for path in copy.glob("data/*/*.parquet"):
        os.utime(path, (2e9, 2e9))
    assert found(copy) == []
    change_episode(copy, shift)
    assert len(found(copy)) == 3


@pytest.mark.parametrize("gone", [True, False])
def test_a_file_more_or_less_makes_them_stale(root: Path, gone: bool) -> None:
    compute_stats(root)
    last = max(root.glob("data/*/*.parquet"))
    if gone:
        last.unlink()
    else:
        shutil.copy(last, last.with_name("episode_000009.parquet"))
    assert ("stats-stale", "meta/stats.json") in found(root)


def test_statistics_of_another_layout_are_stale_without_any_note(root: Path) -> None:
    compute_stats(root)
    (root / sidecar.SIDECAR).unlink()
    path = root / "meta" / "stats.json"
    known: dict[str, Any] = json.loads(path.read_text())
    known["action"]["mean"] = known["action"]["mean"][:-1]
    path.write_text(json.dumps(known))
    assert found(root) == [("stats-stale", "meta/stats.json")]
    assert "22 values as mean of action, which has 23" in stale(root)[0].what


def test_others_statistics_that_are_older_than_the_data_are_a_warning(root: Path) -> None:
    compute_stats(root)
    (root / sidecar.SIDECAR).unlink()
    assert found(root) == []
    for path in root.glob("data/*/*.parquet"):
        os.utime(path, (2e9, 2e9))
    assert {code for code, _ in found(root)} == {"stats-older"}
    assert {finding.severity for finding in stale(root)} == {"warning"}


def test_relative_statistics_of_other_groups_are_stale(root: Path) -> None:
    compute_stats(root)
    path = root / "meta" / "modality.json"
    modality = json.loads(path.read_text())
    for kind in ("state", "action"):
        left, right = modality[kind]["left_arm"], modality[kind]["right_arm"]
        modality[kind] |= {"left_arm": right, "right_arm": left}
    path.write_text(json.dumps(modality))
    assert found(root) == [("stats-stale", "meta/relative_stats.json")]


def test_relative_statistics_that_were_not_asked_for_again_are_said(root: Path) -> None:
    compute_stats(root)
    change_episode(root, shift)
    result = compute_stats(root, relative=False)
    assert [(f.code, f.place.file) for f in result.findings] == [("stats-stale", "meta/relative_stats.json")]


def test_the_file_that_some_of_nvidias_branches_prefer_is_replaced_where_it_is_and_judged(root: Path) -> None:
    meta = root / "meta"
    compute_stats(root)
    assert not (meta / "relative_stats_30.json").exists()
    for horizon in ("16", "30"):
        shutil.copy(meta / "relative_stats.json", meta / f"relative_stats_{horizon}.json")
    change_episode(root, shift)
    result = compute_stats(root)
    assert "meta/relative_stats_30.json" in result.files
    assert (meta / "relative_stats_30.json").read_text() == (meta / "relative_stats.json").read_text()
    assert found(root) == [("stats-stale", "meta/relative_stats_16.json")]
    assert "30 steps, its name says 16" in stale(root)[0].what


def test_two_processes_do_not_compute_the_same_at_once(root: Path) -> None:
    from dm_isaac_g1.data.stats.store import alone

    with alone(root), pytest.raises(RefusedOutput) as refused:
        compute_stats(root)
    assert refused.value.finding.code == "busy"
    compute_stats(root)


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{", b'{"action": 3, "left_arm": {"mean": 1}}', b"\xff"])
def test_garbage_as_statistics_is_stale_and_replaced(root: Path, garbage: bytes) -> None:
    for name in ("stats.json", "relative_stats.json"):
        (root / "meta" / name).write_bytes(garbage)
    assert ("stats-stale", "meta/stats.json") in found(root)
    assert ("stats-stale", "meta/relative_stats.json") in found(root)
    compute_stats(root)
    assert found(root) == []


def test_a_kill_between_two_files_leaves_what_is_found_stale(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute_stats(root)
    change_episode(root, shift)
    from dm_isaac_g1.data.stats import store

    def killed(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        compute_stats(root)
    monkeypatch.undo()
    assert ("stats-stale", "meta/stats.json") in found(root)
    assert ("stats-stale", "meta/relative_stats.json") in found(root)
    compute_stats(root)
    assert found(root) == []
