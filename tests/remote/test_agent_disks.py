"""The disk of a lab that may not mount: a folder kept at a size is a file system of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dm_isaac_g1.remote.agent_disks import ask_disks, used

SIZE = 8 << 20


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.setenv("DM_G1_LAB_QUOTA", f"{folder}:{SIZE}")
    return folder


def of(*paths: Path) -> list[dict[str, object]]:
    return [next(row for row in ask_disks({"x": str(path)})) for path in paths]


def test_it_has_a_size_a_device_and_a_mount_of_its_own(kept: Path) -> None:
    inside, outside = of(kept / "checkpoints", kept.parent)
    assert inside["dev"] != outside["dev"]
    assert (inside["mount"], inside["total"], inside["avail"]) == (str(kept), SIZE, SIZE)
    assert outside["total"] == os.statvfs(kept).f_blocks * os.statvfs(kept).f_frsize
    both = ask_disks({"a": str(kept), "b": str(kept / "not" / "yet"), "c": "/"})
    assert sorted(row["paths"] for row in both if row["dev"] == inside["dev"]) == [["a", "b"]]


def test_a_neighbour_whose_name_begins_alike_is_not_in_it(kept: Path) -> None:
    neighbour = kept.parent / "workspace-2"
    neighbour.mkdir()
    (row,) = of(neighbour)
    assert row["dev"] == neighbour.stat().st_dev


def test_what_is_written_is_gone_from_it_and_comes_back(kept: Path) -> None:
    (kept / "deep").mkdir()
    (kept / "deep" / "file").write_bytes(b"x" * (3 << 20))
    (row,) = of(kept)
    held = sum(path.stat().st_blocks * 512 for path in (kept / "deep", kept / "deep" / "file"))
    assert row["avail"] == SIZE - held
    (kept / "more").write_bytes(b"x" * (9 << 20))
    assert [each["avail"] for each in of(kept)] == [0]
    (kept / "more").unlink()
    assert [each["avail"] for each in of(kept)] == [SIZE - held]


def test_through_a_link_it_is_the_same(kept: Path) -> None:
    link = kept.parent / "link"
    link.symlink_to(kept)
    (one,), (other,) = of(link), of(kept)
    assert [one[name] for name in ("dev", "mount", "total")] == [other[name] for name in ("dev", "mount", "total")]


@pytest.mark.parametrize("said", ["", ":", "no-size", "/tmp:", "/tmp:-5", "/tmp:lots"])
def test_a_quota_that_makes_no_sense_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    monkeypatch.setenv("DM_G1_LAB_QUOTA", said)
    (row,) = of(tmp_path)
    assert row["dev"] == tmp_path.stat().st_dev


def test_whoever_asks_learns_of_what_was_just_removed_however_long_a_count_is_believed(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dm_isaac_g1.remote.agent_disks.BELIEVED", 1e9)  # as counting takes seconds on a busy machine
    (kept / "file").write_bytes(b"x" * (3 << 20))
    paths = {"x": str(kept)}
    full = [row["avail"] for row in ask_disks(paths)]
    (kept / "file").unlink()
    assert [row["avail"] for row in ask_disks(paths, believe=True)] == full, "a sample may be late"
    assert [row["avail"] for row in ask_disks(paths)] == [SIZE]
    assert [row["avail"] for row in ask_disks(paths, believe=True)] == [SIZE]


def test_a_count_that_began_before_another_does_not_take_its_place(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dm_isaac_g1.remote.agent_disks.BELIEVED", 1e9)
    (kept / "file").write_bytes(b"x" * (3 << 20))
    walk = os.walk

    def slow(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
        yield from walk(folder)
        monkeypatch.setattr(os, "walk", walk)
        (kept / "file").unlink()
        assert used(str(kept)) == 0

    monkeypatch.setattr(os, "walk", slow)
    assert used(str(kept)) > 0
    assert used(str(kept), believe=True) == 0


def test_counting_costs_at_most_a_twentieth_of_the_time(kept: Path) -> None:
    for number in range(300):
        (kept / f"file{number}").write_bytes(b"x")
    began = time.process_time()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        used(str(kept), believe=True)
        time.sleep(0.001)
    assert time.process_time() - began < 0.25
