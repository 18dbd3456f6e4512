"""A dataset on one line and from near: what its meta files say, as long as it is true, and nothing that they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sets

from dm_isaac_g1.core.datasets import DatasetDetail, DatasetSummary
from dm_isaac_g1.data.detail import INSTEAD, WANTED, detail
from dm_isaac_g1.data.output import DONE, MARKER
from dm_isaac_g1.data.summary import summaries, summarise
from dm_isaac_g1.remote import agent_datasets
from dm_isaac_g1.remote.wire import DatasetRow


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    agent_datasets._seen.clear()


def only(folder: Path) -> DatasetSummary:
    (found,) = summaries(folder)
    return found


def note(folder: Path, **sections: Any) -> None:
    """What dm-g1 writes down beside a dataset."""
    (folder / "meta/dm_g1.json").write_text(json.dumps(sections))


def near(folder: Path) -> DatasetDetail:
    texts = {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in {**WANTED, **INSTEAD}}
    return detail("ws", str(folder), (folder / "meta/info.json").read_text(), texts)


@pytest.mark.parametrize("version", ["2.0", "2.1", "3.0"])
@pytest.mark.parametrize("family", ["hospitality", "dex1", "dex3", "inspire26"])
def test_version_family_and_counts_are_told(tmp_path: Path, family: str, version: Any) -> None:
    sets.copy_of(tmp_path / "set", family, version=version)
    found = only(tmp_path)
    assert (found.name, found.version, found.family) == ("set", version, family)
    assert (found.episodes, found.fps, found.validity, found.problem) == (3, 30, "unknown", None)
    assert found.frames == 40 + 41 + 42
    assert found.seconds == pytest.approx(123 / 30)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (found.files, found.bytes) == (len(files), sum(path.stat().st_size for path in files))


def test_a_relative_folder_is_one_of_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets.copy_of(tmp_path / "set", "dex1")
    monkeypatch.chdir(tmp_path)
    (found,) = summaries(Path("set"))
    assert (found.name, found.path) == (".", str(tmp_path / "set"))
    assert only(Path()).name == "set"


def test_a_verdict_counts_until_the_dataset_changes(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1")
    note(folder, validation={"at": time.time(), "valid": True, "deep": True, "errors": 0, "warnings": 2})
    found = only(tmp_path)
    assert (found.validity, found.errors, found.warnings) == ("valid", 0, 2)
    later = time.time() + 60
    changed = next((folder / "data").rglob("*.parquet"))
    os.utime(changed, (later, later))
    agent_datasets._seen.clear()
    assert only(tmp_path).validity == "unknown"


def test_a_file_that_went_takes_the_verdict_with_it(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1")
    note(folder, validation={"at": time.time() - 3600, "valid": True})
    next((folder / "data").rglob("*.parquet")).unlink()
    assert only(tmp_path).validity == "unknown"


def test_an_invalid_one_says_why_and_where(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1")
    findings = [
        {"severity": "warning", "what": "is long"},
        {
            "severity": "error",
            "what": "is NaN",
            "place": {"file": "a.parquet", "episode": 3, "frame": 9, "joint": "kX"},
        },
    ]
    note(folder, validation={"at": time.time(), "valid": False, "errors": 1, "warnings": 1, "findings": findings})
    found = only(tmp_path)
    assert (found.validity, found.problem) == ("invalid", "a.parquet, episode 3, frame 9, kX: is NaN")
    assert [(each.severity, each.place) for each in near(folder).findings] == [
        ("warning", ""),
        ("error", "a.parquet, episode 3, frame 9, kX"),
    ]


def test_statistics_older_than_the_data_are_none(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1")
    stats = folder / "meta/stats.json"
    stats.write_text("{}")
    assert only(tmp_path).stats
    before = time.time() - 3600
    os.utime(stats, (before, before))
    assert not only(tmp_path).stats


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "meta/info.json: "),
        ("{", "meta/info.json: "),
        ("[]", "no features"),
        ('{"codebase_version": "v1.6", "fps": 30, "features": {"a": {"dtype": "float32", "shape": [1]}}}', "v1.6"),
        ('{"codebase_version": "v2.1", "fps": NaN, "features": {}}', "meta/info.json: "),
        ("[" * 5000, "meta/info.json: "),
        ("x" * 70_000, "longer than"),
        ('{"a": "\\u001b]52;c;ZXZpbA==\\u0007"', "meta/info.json: "),
    ],
)
def test_an_info_that_makes_no_sense_is_told_and_nothing_is_made_up(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "set/meta").mkdir(parents=True)
    (tmp_path / "set/meta/info.json").write_text(text)
    found = only(tmp_path)
    assert found.validity == "invalid"
    assert said in (found.problem or "")
    assert (found.version, found.episodes, found.frames, found.seconds) == (None, None, None, None)


def test_a_folder_with_meta_and_no_info_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "set/meta").mkdir(parents=True)
    assert only(tmp_path).problem == "meta/info.json is missing"


def test_more_than_one_answer_can_hold_is_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_datasets, "TEXTS", 100)
    for number in range(5):
        sets.copy_of(tmp_path / f"set{number}", "dex1")
    assert [(each.name, each.family) for each in summaries(tmp_path)] == [(f"set{n}", "dex1") for n in range(5)]
    monkeypatch.setattr(agent_datasets, "MOST", 3)
    assert len(summaries(tmp_path)) == 3


def test_a_partial_one_says_how_far_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "new.partial"
    (folder / "data").mkdir(parents=True)
    (folder / MARKER).write_text(json.dumps({"what": "converting set", "total": 9, "unit": "episodes"}))
    (folder / DONE).write_text("".join(json.dumps({"episode": n, "record": {}}) + "\n" for n in range(4)))
    found = only(tmp_path)
    assert (found.name, found.validity, found.making) == ("new", "partial", "converting set")
    assert (found.done, found.of, found.unit) == (4, 9, "episodes")


def test_a_long_list_of_finished_episodes_is_told_from_its_beginning(tmp_path: Path) -> None:
    folder = tmp_path / "new.partial"
    folder.mkdir()
    (folder / DONE).write_text(("x" * 63 + "\n") * 4096)
    assert only(tmp_path).done == 4096


def test_a_download_that_is_not_finished_is_told_in_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "new.partial"
    folder.mkdir()
    (folder / MARKER).write_text(json.dumps({"what": "o/n", "total": 10_000, "unit": "bytes"}))
    (folder / "part").write_bytes(b"x" * 4000)
    found = only(tmp_path)
    assert found.unit == "bytes"
    assert (found.of, found.done) == (10_000, found.bytes)


@pytest.mark.parametrize(
    "junk", [None, 7, [], {}, "x", {"repo": 3}, {"at": "now", "valid": "yes"}, {"findings": [1, {}]}]
)
def test_junk_in_what_was_written_down_says_nothing(tmp_path: Path, junk: Any) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1")
    note(folder, validation=junk, source=junk, stats=junk)
    found = only(tmp_path)
    assert (found.validity, found.source) == ("unknown", None)
    assert not near(folder).findings


def test_a_host_that_sends_too_little_does_no_harm() -> None:
    row = DatasetRow(path="/d/x", name="x", bytes=1, files=1, newest={}, stamps=[], texts=[])
    found = summarise("ws", row)
    assert (found.validity, found.stats, found.modality) == ("invalid", False, False)


def test_what_was_not_read_is_not_called_broken() -> None:
    row = DatasetRow(path="/d/x", name="x", bytes=1, files=1, newest={}, stamps=[])
    found = summarise("ws", row)
    assert (found.validity, found.problem) == ("unknown", "not read: there are too many datasets")


def test_no_text_of_a_dataset_carries_a_control_character(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1", tasks=["\x1b]52;c;ZXZpbA==\x07fold\u202e"])
    info = json.loads((folder / "meta/info.json").read_text())
    info["robot_type"] = "\x1b[2Jg1"
    (folder / "meta/info.json").write_text(json.dumps(info))
    note(folder, source={"repo": "a/b\x07", "revision": "\x1b[31m1234567890"})
    told = msgspec.json.encode((only(tmp_path), near(folder))).decode()
    assert "fold" in told and "g1" in told and "a/b" in told
    assert not [char for char in json.loads(json.dumps(told)) if ord(char) < 32 or char == "\u202e"]
    assert "\\u001b" not in told and "\\u0007" not in told


def test_ranges_are_those_of_the_episodes_where_there_is_no_whole(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex3")
    (folder / "meta/stats.json").unlink(missing_ok=True)
    rows = [json.loads(line) for line in (folder / "meta/episodes_stats.jsonl").read_text().splitlines()]
    found = {(each.column, each.name): each for each in near(folder).ranges}
    state = [row["stats"]["observation.state"] for row in rows]
    names = [name for column, name in found if column == "observation.state"]
    assert len(names) == 28
    for index, name in enumerate(names):
        each = found["observation.state", name]
        assert each.low == min(one["min"][index] for one in state)
        assert each.high == max(one["max"][index] for one in state)
    assert found["observation.state", "kLeftElbow"].limits == (-1.0472, 2.0944)


def test_statistics_that_make_no_sense_are_told(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1")
    for text in ("{", '{"action": {"min": "x", "max": []}}', "[]", '{"action": {"min": [1], "max": [2]}}'):
        (folder / "meta/stats.json").write_text(text)
        found = near(folder)
        assert not [each for each in found.ranges if each.column == "action"]


def test_an_unknown_schema_says_what_it_lacks(tmp_path: Path) -> None:
    folder = sets.copy_of(tmp_path / "set", "dex1")
    info = json.loads((folder / "meta/info.json").read_text())
    del info["features"]["action"]
    (folder / "meta/info.json").write_text(json.dumps(info))
    assert only(tmp_path).family == "unknown"
    (problem,) = near(folder).problems
    assert "dex1" in problem and "action" in problem


def test_neither_numpy_nor_pyarrow_is_imported() -> None:
    program = "import sys, dm_isaac_g1.data.summary, dm_isaac_g1.data.detail; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert not {"numpy", "pyarrow", "av", "textual", "asyncssh", "huggingface_hub"} & set(done.stdout.split())
