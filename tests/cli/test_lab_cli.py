"""The main job from the command line, on the lab: real SSH hosts, a real training, a disk that really fills."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from running import dm_g1, lines, start, validator

pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.timeout(300), pytest.mark.usefixtures("lab")]


def result(said: list[dict[str, Any]]) -> dict[str, Any]:
    assert said[-1]["event"] == "result", said[-1]
    return said[-1]["data"]


def agents() -> set[int]:
    """Processes on this machine that are an agent of ours."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
                env = (entry / "environ").read_bytes()
            except OSError:
                continue
            mine = os.environ["DM_G1_LAB_DIR"].encode()
            if b"-I" in argv and b"-u" in argv and mine in env:
                found.add(int(entry.name))
    return found


def wait_for(seen: Any, within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not seen():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.2)


def test_a_training_is_started_watched_stopped_and_listed() -> None:
    begun = lines(dm_g1("--lab", "--json", "train", "start", "--steps", "400", "--save-steps", "100"))
    id = result(begun)["id"]

    def training() -> bool:
        seen = result(lines(dm_g1("train", "monitor", "--job-id", id, "--json")))
        return bool(seen["step"] and seen["step"] > 20 and seen["loss"])

    wait_for(training, 90)
    said = lines(dm_g1("train", "monitor", "--job-id", id, "--json"))
    seen = result(said)
    (metrics,) = [event for event in said if event["event"] == "metrics"]
    losses = [(point["step"], point["value"]) for point in metrics["points"] if point["name"] == "loss"]
    assert losses[-1][1] == seen["loss"]
    assert len(losses) == seen["points"]["loss"]
    assert [step for step, _ in losses] == sorted({step for step, _ in losses})
    assert seen["max_steps"] == 400
    assert seen["rate"] > 0
    assert seen["eta"] > 0

    log = dm_g1("train", "logs", "--job-id", id, "--tail", "0").stdout
    assert log.count("'loss'") >= len(losses)

    stopped = result(lines(dm_g1("train", "stop", "--job-id", id, "--wait", "--json", timeout=120)))
    assert stopped["state"] == "stopped"
    listed = lines(dm_g1("train", "list", "--json"))
    assert result(listed)["jobs"] == [{"id": id, "host": "workstation", "state": "stopped", "cause": None}]

    folder = os.path.join(os.environ["DM_G1_LAB_DIR"], "workstation", "workspace", "checkpoints", id)
    steps = sorted(path.name for path in Path(folder).glob("checkpoint-*"))
    assert steps, "stopping at a checkpoint left none"
    state = json.loads((Path(folder) / steps[-1] / "trainer_state.json").read_text())
    recorded = [(each["step"], each["loss"]) for each in state["log_history"] if "loss" in each]
    seen = lines(dm_g1("train", "monitor", "--job-id", id, "--json"))
    (metrics,) = [event for event in seen if event["event"] == "metrics"]
    curve = {point["step"]: point["value"] for point in metrics["points"] if point["name"] == "loss"}
    assert [(step, pytest.approx(value, rel=1e-3)) for step, value in recorded] == sorted(curve.items())


def test_a_save_that_will_not_fit_is_refused_and_with_force_fails_just_there() -> None:
    assert dm_g1("lab", "up", "--disk", "140M").returncode == 0
    plan = ("train", "start", "--steps", "30", "--save-steps", "10", "--json")
    refused = dm_g1(*plan)
    assert refused.returncode == 3
    failure = lines(refused)[-1]
    assert "the save at step 30 will fail" in failure["what"]
    assert "--force" in failure["fix"]
    assert lines(dm_g1("train", "list", "--json"))[-1]["data"]["jobs"] == []

    started = result(lines(dm_g1(*plan, "--force")))
    assert "step 30" in started["forced"]
    id = started["id"]
    done = lines(dm_g1("train", "monitor", "--job-id", id, "--follow", "--json", timeout=120))
    seen = result(done)
    assert (seen["state"], seen["step"]) == ("failed", 30)
    jobs = [event["job"] for event in done if event["event"] == "job"]
    assert jobs[-1]["diagnosis"]["code"] == "disk-full"
    (listed,) = lines(dm_g1("train", "list", "--json"))[-1]["data"]["jobs"]
    assert "disk" in listed["cause"]

    dry = result(lines(dm_g1("checkpoints", "clean", "--dry-run", "--json")))
    assert dm_g1("checkpoints", "clean").returncode == 3
    cleaned = result(lines(dm_g1("checkpoints", "clean", "--yes", "--json")))
    assert dry["would_free"] == cleaned["said"] == cleaned["freed"]
    assert abs(cleaned["avail_change"] - cleaned["freed"]) < 64 * 1024
    assert result(lines(dm_g1("checkpoints", "list", "--json")))["count"] == 1


def test_the_fleet_is_printed_once_and_streamed_until_interrupted() -> None:
    assert dm_g1("lab", "up").returncode == 0
    text = dm_g1("--no-ui")
    assert text.returncode == 0
    assert "workstation (simulated)" in text.stdout
    assert "\x1b" not in text.stdout
    once = lines(dm_g1("--no-ui", "--json"))
    assert {event["host"] for event in once if event["event"] == "host"} == {"workstation", "spark"}
    assert {event["event"] for event in once} >= {"host", "sample", "forecasts"}

    stream = start("--no-ui", "--watch", "--json", "--interval", "0.2")
    assert stream.stdout is not None
    samples = 0
    while samples < 6:
        event = json.loads(stream.stdout.readline())
        validator().validate(event)
        samples += event["event"] == "sample"
    stream.send_signal(signal.SIGINT)
    _, errors = stream.communicate(timeout=10)
    assert (stream.returncode, errors) == (130, "")
    wait_for(lambda: not agents(), 5)


def test_a_command_keeps_its_bytes_its_streams_and_its_exit_code() -> None:
    assert dm_g1("lab", "up").returncode == 0
    done = dm_g1("remote", "exec", "--host", "spark", "printf 'a\\tb\\n'; echo oops >&2; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, "a\tb\n", "oops\n")
    words = dm_g1("remote", "exec", "printf", "%s|", "a b", "$HOME", "it's")
    assert words.stdout == "a b|$HOME|it's|"
    long = start("remote", "exec", "echo begun; sleep 1000.25")
    assert long.stdout is not None
    assert long.stdout.readline() == "begun\n"
    long.send_signal(signal.SIGINT)
    assert long.wait(10) == 130
    wait_for(
        lambda: "1000.25" not in dm_g1("remote", "exec", "ps -ef | grep -v grep | grep 1000.2[5] || true").stdout, 10
    )


def test_ctrl_c_while_starting_loses_no_job_and_leaves_no_process() -> None:
    assert dm_g1("lab", "up").returncode == 0
    for delay in (0.1, 0.25, 0.4, 0.55, 0.7):
        process = start("train", "start", "--steps", "1000000")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
        # -2: it came before Python had come to us.
        assert process.returncode in (0, 130) or (process.returncode == -2 and "cli" not in errors), errors
        assert "cli" not in errors or "Traceback" not in errors
        assert "Traceback" not in out
    wait_for(lambda: not agents(), 5)
    for job in lines(dm_g1("train", "list", "--json"))[-1]["data"]["jobs"]:
        assert job["state"] in ("running", "queued")
        ended = lines(dm_g1("train", "stop", "--job-id", job["id"], "--mode", "kill", "--yes", "--wait", "--json"))
        assert result(ended)["state"] == "stopped"


def test_an_unknown_job_is_a_usage_error_everywhere() -> None:
    assert dm_g1("lab", "up").returncode == 0
    for command in ("stop", "logs", "monitor"):
        done = dm_g1("train", command, "--job-id", "20990101T000000-none-ffffff")
        assert done.returncode == 2
        assert done.stderr.startswith("dm-g1: no job '20990101T000000-none-ffffff' on workstation, spark")


def test_the_lab_goes_up_and_down_as_often_as_one_likes() -> None:
    for command, up in (("up", True), ("up", True), ("status", True), ("down", False), ("down", False), ("up", True)):
        assert result(lines(dm_g1("lab", command, "--json")))["up"] is up
