"""The guard against real disks and real trainings. `scripts/bench forecast` does the same with 50 of them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dm_isaac_g1.core.forecasts import Verdict
from dm_isaac_g1.core.runs import Checkpoint, SavePlan
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.guard import forecast
from dm_isaac_g1.finetuning.remedies import remedies
from dm_isaac_g1.finetuning.timeline import Writer
from dm_isaac_g1.remote.agent_questions import ask_checkpoints, ask_disks

MB = 1_000_000


@contextlib.contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs root, to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=32M", "tmpfs") as folder:
        yield folder


def disk_at(folder: Path) -> Disk:
    row = ask_disks({"here": str(folder)})[0]
    return Disk(**{**row, "paths": tuple(row["paths"])})


def checkpoints_in(folder: Path, **more: Any) -> tuple[Checkpoint, ...]:
    known = set(Checkpoint.__struct_fields__)
    return tuple(
        Checkpoint(**({k: v for k, v in row.items() if k in known} | more))
        for row in ask_checkpoints(str(folder), ended=True)
    )


def save(folder: Path, step: int, *, weights: int = MB, optimizer: int = 2 * MB, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(weights))
    (path / "optimizer.pt").write_bytes(bytes(optimizer))
    if complete:
        (path / "trainer_state.json").write_text("{}")
    return path


def test_h9_the_reserve_of_ext4_for_root_is_not_ours(tmp_path: Path) -> None:
    """mkfs.ext4 keeps 5 % for root: what an ordinary user may write is less than what is free."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("needs mkfs.ext4")
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "5", str(image)], check=True)
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as folder:
        space = os.statvfs(folder)
        ours, everyone = space.f_bavail * space.f_frsize, space.f_bfree * space.f_frsize
        assert everyone - ours > 2 * MB
        disk = disk_at(folder)
        assert disk.avail == ours
        plan = SavePlan(save_steps=1, max_steps=1, checkpoint_bytes=(ours + everyone) // 2, weights_bytes=1)
        assert forecast(disk, [Writer(run="a", plan=plan, rate=1.0)], reserve=0).verdict is Verdict.FAIL


def test_h10_a_disk_without_inodes_fails_the_save_before_it_happens(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=32M,nr_inodes=9", "tmpfs") as folder:
        save(folder / "run", 1)  # run, checkpoint-1 and its three files: five of nine, and one for the root
        plan = SavePlan(save_steps=1, max_steps=2, final_save=False)
        run = Writer(run="a", plan=plan, step=1, rate=1.0, checkpoints=checkpoints_in(folder / "run"))
        word = forecast(disk_at(folder), [run], reserve=0)
        assert word.verdict is Verdict.FAIL and "inodes" in word.reason
        with pytest.raises(OSError, match="No space left"):
            save(folder / "run", 2)


def test_h13_sparse_and_linked_files_count_what_they_take(tmpfs: Path) -> None:
    path = save(tmpfs / "run", 1)
    with (path / "sparse").open("wb") as file:
        file.truncate(500 * MB)
    os.link(path / "model.safetensors", path / "again.safetensors")
    (checkpoint,) = checkpoints_in(tmpfs / "run")
    assert 3 * MB <= checkpoint.size < 3.1 * MB
    used = 32 * 1024 * 1024 - disk_at(tmpfs).avail
    assert checkpoint.size == used


def test_h15_a_disk_remounted_read_only_is_seen(tmpfs: Path) -> None:
    save(tmpfs / "run", 1)
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    plan = SavePlan(save_steps=1, max_steps=3, checkpoint_bytes=MB)
    word = forecast(disk_at(tmpfs), [Writer(run="a", plan=plan, step=1, rate=1.0)], reserve=0)
    assert word.verdict is Verdict.FAIL and "read-only" in word.reason


def test_a_remedy_frees_what_it_promises(tmpfs: Path) -> None:
    output, elsewhere = tmpfs / "run", tmpfs / "deployed"
    for step in (1, 2, 3):
        save(output, step)
    save(output, 4, complete=False)
    elsewhere.mkdir()
    os.link(output / "checkpoint-2" / "model.safetensors", elsewhere / "model.safetensors")
    linked = os.stat(elsewhere / "model.safetensors").st_blocks * 512
    there = tuple(
        Checkpoint(**{f: getattr(c, f) for f in c.__struct_fields__} | {"shared": linked if c.step == 2 else 0})
        for c in checkpoints_in(output)
    )
    offered = [r for r in remedies(ended=[("run", there)]) if r.kind in ("quarantine", "old-run")]
    assert sorted((r.path or "")[-1] for r in offered) == ["1", "2", "4"]
    assert offered[0].kind == "quarantine" and offered[0].risk == "none"
    for remedy in offered:
        before = disk_at(tmpfs).avail
        shutil.rmtree(remedy.path or "")
        assert disk_at(tmpfs).avail - before == remedy.bytes


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "benches" / "forecast.py"
    spec = importlib.util.spec_from_file_location("bench_forecast", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_forecast"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.train
@pytest.mark.slow
def test_real_trainings_fail_at_the_save_that_was_forecast(bench: ModuleType) -> None:
    """Never optimistic; exact but for one at most of twelve forecasts."""
    pytest.importorskip("transformers", reason="needs the train extra")
    pytest.importorskip("pyarrow", reason="needs the train extra")
    try:
        outcomes = list(bench.play_many(6, seed=2))
    except PermissionError as error:
        pytest.skip(str(error))
    grades = [outcome.grade(said) for outcome in outcomes for said in (outcome.before, outcome.later)]
    assert "optimistic" not in grades, outcomes
    assert grades.count("exact") >= len(grades) - 1, outcomes
    assert {outcome.actual is None for outcome in outcomes} == {True, False}  # some fit, some failed
