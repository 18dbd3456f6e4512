"""Checkpoints as the agent measures them: a size is what removing frees, and who is being written is known in time."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dm_isaac_g1.core.runs import Checkpoint
from dm_isaac_g1.finetuning.remedies import freed
from dm_isaac_g1.remote import agent_checkpoints
from dm_isaac_g1.remote.agent_checkpoints import FRESH, ask_checkpoints, measure, watched

NAMES = ("model.safetensors", "optimizer.pt", "trainer_state.json", "global_step1/shard.pt")


def save(folder: Path, *names: str, size: int = 300_000) -> Path:
    for name in names or NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(size))
    return folder


def available(folder: Path) -> int:
    os.sync()
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB that nobody else writes to."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    where, image = tmp_path / "disk", tmp_path / "image"
    where.mkdir()
    if request.param == "tmpfs":
        mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(where)]
    else:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("needs mkfs.ext4")
        with image.open("wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, timeout=30)
        mount = ["mount", "-o", "loop", str(image), str(where)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False, timeout=30)
    if made.returncode:
        pytest.skip(f"this machine mounts no {request.param}: {made.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True, timeout=30)


def test_a_size_is_what_removing_frees(small: Path) -> None:
    for step in (10, 20):
        save(small / "run" / f"checkpoint-{step}")
    ten, _ = ask_checkpoints(str(small / "run"))
    before = available(small)
    shutil.rmtree(ten["path"])
    assert available(small) - before == ten["size"] > 1_200_000
    assert ten["shared"] == 0


def test_what_is_linked_elsewhere_is_said_not_to_be_freed(small: Path) -> None:
    folder = save(small / "run" / "checkpoint-10")
    (small / "models").mkdir()
    os.link(folder / "model.safetensors", small / "models" / "served.safetensors")
    (row,) = ask_checkpoints(str(small / "run"))
    assert row["shared"] == (folder / "model.safetensors").stat().st_blocks * 512
    said = freed(Checkpoint(**row))
    before = available(small)
    shutil.rmtree(folder)
    assert available(small) - before == said > 900_000


def test_links_inside_count_once_and_are_freed_and_holes_count_nothing(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-1", "model.safetensors", size=1 << 20)
    os.link(folder / "model.safetensors", folder / "again.safetensors")
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    found = measure(str(folder))
    assert 1 << 20 <= found["size"] < 2 << 20
    assert (found["shared"], found["weights"], found["inodes"]) == (0, 1 << 20, 3)
    os.link(folder / "again.safetensors", tmp_path / "outside")
    assert measure(str(folder))["shared"] == 1 << 20


# Being written: by two looks and by age.


def row(size: int = 1, mtime: float = 0.0) -> dict[str, float]:
    return {"size": size, "mtime": mtime, "inodes": 1}


def looks(*seen: tuple[float, float, float, int]) -> float:
    """Seconds without a change after looks of (monotonic, wall, mtime, size)."""
    look = None
    for mono, wall, mtime, size in seen:
        look = watched(row(size, mtime), look, mono, wall)
    assert look is not None
    return look[2]


def test_a_first_look_goes_by_age() -> None:
    assert looks((100, 1000, 999, 1)) == 1
    assert looks((100, 1000, 940, 1)) == 60


def test_a_writer_that_died_between_two_looks_is_not_taken_to_write_at_the_second() -> None:
    assert looks((100, 1000, 999, 1), (130, 1030, 1004, 2)) == 26 >= FRESH


def test_two_looks_in_quick_succession_do_not_end_a_save() -> None:
    assert looks((100, 1000, 999, 1), (100.1, 1000.1, 999, 1)) == pytest.approx(1.1)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0], ids=["behind", "ahead"])
def test_files_on_another_clock_are_being_written_while_they_move_and_no_longer(ahead: float) -> None:
    moving = [(100.0 + 10 * n, 1000.0 + 10 * n, 1000.0 + 10 * n + ahead, n) for n in range(3)]
    assert looks(*moving) == 0
    assert looks(*moving, (126.0, 1026.0, moving[-1][2], 2)) == 6 >= FRESH


def test_a_clock_that_is_set_back_ends_no_save_and_makes_none() -> None:
    quiet = looks((100, 1000, 940, 1), (110, 10, 940, 1))
    assert quiet == 70
    assert looks((100, 1000, 999, 1), (110, 10, 9, 2)) == 1


def test_an_incomplete_one_may_pause_longer_than_one_that_is_complete(tmp_path: Path) -> None:
    for step, names in ((10, NAMES), (20, NAMES[:2])):
        folder = save(tmp_path / f"checkpoint-{step}", *names)
        for each in [*folder.rglob("*"), folder]:
            os.utime(each, (time.time() - 12,) * 2)
    assert [(each["step"], each["writing"]) for each in ask_checkpoints(str(tmp_path))] == [(10, False), (20, True)]


def test_nothing_is_being_written_once_the_job_has_ended(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint-10", "model.safetensors")
    assert [each["writing"] for each in ask_checkpoints(str(tmp_path))] == [True]
    assert [each["writing"] for each in ask_checkpoints(str(tmp_path), ended=True)] == [False]


def test_of_a_folder_that_is_removed_nothing_is_kept(tmp_path: Path) -> None:
    folder = save(tmp_path / "checkpoint-10")
    ask_checkpoints(str(tmp_path))
    shutil.rmtree(folder)
    ask_checkpoints(str(tmp_path))
    assert agent_checkpoints._seen[str(tmp_path)] == {}
