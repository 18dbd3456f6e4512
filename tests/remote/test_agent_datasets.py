"""Datasets as the agent tells them: found within bounds, measured by a look at what changed, never through a link."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from dm_isaac_g1.remote import agent_datasets
from dm_isaac_g1.remote.agent_datasets import DEPTH, MOST, TEXT, TEXTS, ask_datasets


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    agent_datasets._seen.clear()


def dataset(folder: Path, info: str = '{"fps": 30}', episodes: int = 3) -> Path:
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(info)
    (folder / "data/chunk-000").mkdir(parents=True)
    for number in range(episodes):
        (folder / f"data/chunk-000/episode_{number:06d}.parquet").write_bytes(b"x" * 1000)
    return folder


def age(folder: Path, seconds: float) -> None:
    """Everything in it is so much older."""
    for base, folders, names in os.walk(folder, topdown=False):
        for name in names + folders + ["."]:
            path = Path(base, name)
            then = path.lstat().st_mtime - seconds
            os.utime(path, (then, then), follow_symlinks=False)


def ask(folder: Path, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer as it comes over the wire."""
    answer: dict[str, Any] = json.loads(json.dumps(ask_datasets(str(folder), known or {})))
    return answer


def by_name(answer: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in answer["rows"]}


def test_datasets_are_found_at_every_depth_that_is_allowed_and_not_below(tmp_path: Path) -> None:
    dataset(tmp_path / "a")
    dataset(tmp_path / "b/c/d")
    dataset(tmp_path / "e/f/g/h")
    dataset(tmp_path / "a/inner")
    assert DEPTH == 3
    assert sorted(by_name(ask(tmp_path))) == ["a", "b/c/d"]


def test_bytes_files_and_texts_are_those_of_the_folder(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "a", info='{"a": 1}')
    (folder / ".cache/huggingface").mkdir(parents=True)
    (folder / ".cache/huggingface/x").write_bytes(b"y" * 5000)
    (folder / "meta/stats.json").write_text("{}")
    row = by_name(ask(tmp_path))["a"]
    assert (row["bytes"], row["files"]) == (3000 + 8 + 2, 5)
    assert row["texts"] == ['{"a": 1}', None, None, None]
    assert [stamp is not None for stamp in row["stamps"]] == [True, False, False, False, True, False]
    assert row["stamps"][0][1] == 8


def test_what_did_not_change_is_told_without_its_texts(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "a")
    first = by_name(ask(tmp_path))["a"]
    known = {first["path"]: first["stamps"]}
    assert by_name(ask(tmp_path, known))["a"]["texts"] is None
    (folder / "meta/dm_g1.json").write_text('{"tool": "1"}')
    again = by_name(ask(tmp_path, known))["a"]
    assert again["texts"][1] == '{"tool": "1"}'


def test_a_file_that_comes_or_goes_is_seen_and_what_stands_still_is_not_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dataset(tmp_path / "a", episodes=50)
    age(tmp_path, 3600)
    assert by_name(ask(tmp_path))["a"]["files"] == 51
    listed: list[str] = []
    real = os.scandir

    def scandir(path: str) -> Any:
        listed.append(str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert by_name(ask(tmp_path))["a"]["files"] == 51
    assert [Path(path).name for path in listed] == ["meta"]
    (folder / "data/chunk-000/episode_000099.parquet").write_bytes(b"x")
    assert by_name(ask(tmp_path))["a"]["files"] == 52


def test_a_partial_dataset_is_measured_anew_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "new.partial"
    (folder / "data").mkdir(parents=True)
    (folder / ".dm-g1-partial.json").write_text('{"what": "converting", "total": 9}')
    (folder / ".dm-g1-done.jsonl").write_text('{"episode": 0}\n{"episode": 1}\n')
    growing = folder / "data/episode.parquet"
    growing.write_bytes(b"x")
    age(tmp_path, 3600)
    before = by_name(ask(tmp_path))["new.partial"]
    assert before["texts"][2:] == ['{"what": "converting", "total": 9}', '{"episode": 0}\n{"episode": 1}\n']
    with growing.open("ab") as file:  # in place: no folder's time changes
        file.write(b"y" * 999)
    after = by_name(ask(tmp_path))["new.partial"]
    assert after["bytes"] - before["bytes"] == 999
    assert after["newest"]["data"] > before["newest"]["data"]


def test_links_are_never_followed_out_of_the_folder(tmp_path: Path) -> None:
    outside = dataset(tmp_path / "outside", info='{"secret": 1}', episodes=20)
    inside = tmp_path / "datasets"
    inside.mkdir()
    (inside / "linked").symlink_to(outside)
    mine = dataset(inside / "mine")
    (mine / "videos").symlink_to(outside)
    (mine / "meta/dm_g1.json").symlink_to(outside / "meta/info.json")
    rows = by_name(ask(inside))
    assert list(rows) == ["mine"]
    assert rows["mine"]["files"] == 6  # the links are files here
    assert rows["mine"]["texts"][1] is None


def test_texts_are_cut_and_an_answer_is_bounded(tmp_path: Path) -> None:
    for number in range(15):
        dataset(tmp_path / f"d{number:02d}", info="x" * (TEXT * 3), episodes=1)
    seen: dict[str, Any] = {}
    for _ in range(10):
        answer = ask(tmp_path, seen)
        told = [row for row in answer["rows"] if row["texts"] is not None]
        assert sum(len(row["texts"][0]) for row in told) <= TEXTS + TEXT + 1
        assert all(len(row["texts"][0]) == TEXT + 1 for row in told)
        assert len(json.dumps(answer)) < 4 << 20
        seen |= {row["path"]: row["stamps"] for row in told}
        if not answer["more"]:
            break
    assert len(seen) == 15


def test_more_datasets_than_fit_are_said_to_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST == 500
    monkeypatch.setattr(agent_datasets, "MOST", 4)
    for number in range(6):
        dataset(tmp_path / f"d{number}", episodes=1)
    answer = ask(tmp_path)
    assert (len(answer["rows"]), answer["more"]) == (4, True)
    monkeypatch.setattr(agent_datasets, "MOST", 6)
    assert ask(tmp_path)["more"] is False


def test_a_folder_of_endless_folders_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_datasets, "FOLDERS", 20)
    for number in range(60):
        (tmp_path / f"f{number}").mkdir()
    answer = ask(tmp_path)
    assert (answer["rows"], answer["more"]) == ([], True)


def test_what_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "a")
    (folder / "meta/info.json").unlink()
    os.mkfifo(folder / "meta/info.json")
    (folder / "meta/dm_g1.json").write_bytes(b"\xff\xfe\x00")
    began = time.monotonic()
    row = by_name(ask(tmp_path))["a"]
    assert time.monotonic() - began < 2
    assert row["texts"][:2] == [None, "\ufffd\ufffd\x00"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert ask(tmp_path / "no/such") == {"rows": [], "more": False}


def test_a_folder_that_is_a_dataset_is_one(tmp_path: Path) -> None:
    dataset(tmp_path / "a")
    assert list(by_name(ask(tmp_path / "a"))) == ["."]
