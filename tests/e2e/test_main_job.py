"""The main job, as a user does it: launch a fine-tune, watch it, stop it; on both runtimes, over a real sshd."""

from __future__ import annotations

import json
import time

import pytest
from machines import Machines

pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(300)]


def logged(machines: Machines, job: str) -> dict[str, dict[int, float]]:
    """What the trainer itself says that it logged: the last checkpoint's trainer_state.json."""
    output = machines.workspace / "checkpoints" / job
    newest = max(output.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    curves: dict[str, dict[int, float]] = {}
    for entry in history:
        for name in ("loss", "grad_norm", "learning_rate"):
            if name in entry:
                curves.setdefault(name, {})[entry["step"]] = float(entry[name])
    return curves


def seen(events: list[dict[str, object]], job: str) -> dict[str, dict[int, float]]:
    """What dm-g1 says of the same run."""
    curves: dict[str, dict[int, float]] = {}
    for event in events:
        if event["event"] == "metrics" and event["run"] == job:
            for point in event["points"]:  # type: ignore[attr-defined]
                curves.setdefault(point["name"], {})[point["step"]] = point["value"]
    return curves


def test_a_fine_tune_is_launched_watched_and_every_number_is_the_trainers_own(machines: Machines) -> None:
    job = machines.start()
    events = machines.end(job)
    assert machines.job(job)["state"] == "succeeded"
    truth, shown = logged(machines, job), seen(events, job)
    assert len(truth["loss"]) == 12
    for name, points in truth.items():
        for step, value in points.items():
            assert shown[name][step] == pytest.approx(value, rel=1e-3), (name, step)
    assert shown["loss"][120] < shown["loss"][10] / 3, "the loss falls"
    saved = [event for event in machines.events("checkpoints", "list") if event["event"] == "checkpoints"]
    assert [point["step"] for point in saved[0]["checkpoints"]] == [80, 120]
    assert all(point["complete"] and not point["writing"] for point in saved[0]["checkpoints"])
    assert machines.leftovers(job) == []


def test_a_stop_at_the_next_checkpoint_loses_no_step_and_leaves_no_process(machines: Machines) -> None:
    machines.write_recipe(steps=20_000, save_steps=20_000)
    job = machines.start()
    until_training(machines, job)
    machines.events("train", "stop", "--job-id", job, "--mode", "checkpoint", "--wait")
    ended = machines.job(job)
    assert ended["state"] == "stopped"
    assert ended["exit"]["code"] == 0
    assert machines.leftovers(job) == []
    assert [path.name for path in (machines.workspace / "checkpoints" / job).glob("checkpoint-*")]


def test_a_kill_leaves_no_process(machines: Machines) -> None:
    machines.write_recipe(steps=20_000, save_steps=20_000)
    job = machines.start()
    until_training(machines, job)
    machines.events("train", "stop", "--job-id", job, "--mode", "kill", "--wait", "--yes")
    assert machines.job(job)["state"] == "stopped"
    assert machines.leftovers(job) == []


def test_two_consoles_stop_one_job_and_both_are_told_the_same(machines: Machines) -> None:
    machines.write_recipe(steps=20_000, save_steps=20_000)
    job = machines.start()
    until_training(machines, job)
    first = machines.events("train", "stop", "--job-id", job, "--mode", "checkpoint")
    second = machines.events("train", "stop", "--job-id", job, "--mode", "checkpoint", "--wait")
    assert first[-1]["event"] == second[-1]["event"] == "result"
    assert machines.job(job)["state"] == "stopped"


def until_training(machines: Machines, job: str) -> None:
    """Wait until the run has logged a step."""
    log = machines.workspace / "jobs" / job / "log"
    deadline = time.monotonic() + 60
    while not log.exists() or b"'loss'" not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.2)
