"""A disk that is too small: seen before the launch, refused, and with --force everything happens as it was said."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import Machines, RuntimeName, fleet
from test_main_job import until_training

pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(300)]

#: Room for two checkpoints of the test's policy (121 MB each) and a bit: the third is written before the first goes.
DISK = 300 * 1000 * 1000
POLICY = {"options": {"hidden_size": 640, "layers": 3}, "steps": 100, "save_steps": 20}


@pytest.fixture
def small(runtime: RuntimeName, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    """Machines whose workstation has a workspace of 300 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    engine = request.getfixturevalue("engine") if runtime == "docker" else None
    with fleet(tmp_path, runtime, engine, disk=DISK) as machines:
        machines.write_recipe(**POLICY)
        yield machines


def refusal(machines: Machines) -> tuple[str, int]:
    """The guard's answer to a launch, and the step of the save that it says will fail."""
    done = machines.run("train", "start", "--recipe", str(machines.recipe))
    assert done.returncode == 3, (done.returncode, done.stdout, done.stderr)
    named = re.search(r"step (\d+)", done.stderr)
    assert named, done.stderr
    assert "--force" in done.stderr, "it says what can be done"
    return done.stderr, int(named[1])


def test_a_launch_that_cannot_finish_is_refused_and_forced_fails_at_just_that_save(small: Machines) -> None:
    said, step = refusal(small)
    assert not list((small.workspace / "jobs").glob("*")), "nothing was started"
    job = small.start("--force")
    small.events("train", "monitor", "--job-id", job, "--follow", exits=1)
    ended = small.job(job)
    assert ended["state"] == "failed"
    assert ended["spec"]["forced"], "the force is on record"
    assert ended["diagnosis"]["code"] == "disk-full", ended["diagnosis"]
    output = small.workspace / "checkpoints" / job
    steps = {
        int(path.name.split("-")[1]): (path / "trainer_state.json").exists() for path in output.glob("checkpoint-*")
    }
    assert step == 60, said
    broken = [number for number, complete in steps.items() if not complete]
    assert broken == [step], f"{steps}\n{said}"


def test_the_clean_up_frees_what_it_said(small: Machines) -> None:
    job = small.start("--force")
    small.events("train", "monitor", "--job-id", job, "--follow", exits=1)
    before = os.statvfs(small.workspace)
    plan = small.events("checkpoints", "clean", "--dry-run")[-1]["data"]
    done = small.events("checkpoints", "clean", "--yes")[-1]["data"]
    after = os.statvfs(small.workspace)
    freed = (after.f_bavail - before.f_bavail) * before.f_frsize
    assert plan["would_free"] == done["said"] == done["freed"] == freed > 0, (plan, done, freed)


def test_the_forecast_of_a_running_training_names_the_save_too(small: Machines) -> None:
    small.write_recipe(**{**POLICY, "steps": 4000, "save_steps": 1000})
    job = small.start("--force")
    until_training(small, job)
    forecasts = small.events("disk", "forecast")
    ours = [one for event in forecasts if event["event"] == "forecasts" for one in event["forecasts"]]
    failing = [one["failing"] for one in ours if one["verdict"] == "FAIL"]
    assert [save["run"] for save in failing] == [job], ours
    small.events("train", "stop", "--job-id", job, "--mode", "kill", "--wait", "--yes")
