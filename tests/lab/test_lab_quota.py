"""A lab that may not mount anything: its quota is a disk to the guard, and what the guard says of it comes true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dm_isaac_g1.lab import disk, seed
from dm_isaac_g1.lab.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.timeout(300)]

#: Room for two checkpoints of this policy (121 MB each) and a bit: the third is written before the first goes.
DISK = 300 * 1000 * 1000
RECIPE = {
    "trainer": "bc",
    "datasets": [seed.NAME],
    "steps": 100,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "save_steps": 20,
    "save_total_limit": 2,
    "options": {"hidden_size": 640, "layers": 3},
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(disk, "choose", lambda: "quota")
    here = Lab(tmp_path / "lab")
    here.up(DISK)
    monkeypatch.setenv("DM_G1_LAB_DIR", str(here.layout.root))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    yield here
    here.reset()


def dm_g1(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).with_name("dm-g1")), "--profile", "lab", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL, check=False)


def said(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_guard_refuses_and_a_forced_run_fails_at_just_that_save(kept: Lab, tmp_path: Path) -> None:
    recipe = str(tmp_path / "recipe.yaml")
    refused = dm_g1("train", "start", "--recipe", recipe)
    assert refused.returncode == 3, (refused.stdout, refused.stderr)
    named = re.search(r"step (\d+)", refused.stderr)
    assert named, refused.stderr
    assert int(named[1]) == 60
    started = said(dm_g1("--json", "train", "start", "--recipe", recipe, "--force"))[-1]
    job = started["data"]["id"]  # type: ignore[index]
    followed = dm_g1("--json", "train", "monitor", "--job-id", job, "--follow")
    assert followed.returncode == 1, followed.stderr
    output = Path(kept.layout.workspace("workstation")) / "checkpoints" / job
    broken = [path.name for path in output.glob("checkpoint-*") if not (path / "trainer_state.json").exists()]
    assert broken == ["checkpoint-60"], sorted(os.listdir(output))
    listed = [event["job"] for event in said(dm_g1("--json", "train", "list")) if event["event"] == "job"]
    (ended,) = [one for one in listed if one["spec"]["id"] == job]  # type: ignore[index]
    assert (ended["state"], ended["diagnosis"]["code"]) == ("failed", "disk-full")  # type: ignore[index]
    # What is cleaned up comes back to the quota.
    done = said(dm_g1("--json", "checkpoints", "clean", "--yes"))[-1]["data"]
    assert done["said"] == done["freed"]  # type: ignore[index]
    # All but what lay over the edge: other programs' writes are not held.
    assert 0 <= done["freed"] - done["avail_change"] < 1 << 20  # type: ignore[index]
