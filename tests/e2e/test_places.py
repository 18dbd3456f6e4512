"""Datasets are worked on where they lie, by the host's own dm-g1, over a real sshd; both runtimes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from machines import Machines

from dm_isaac_g1.lab import seed

pytestmark = [pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(120)]

#: Another `compute_stats` in the host's own dm-g1: it takes long, and has started something.
SLOW = """
import sys
if "data" in sys.argv:
    import dm_isaac_g1.data.stats.compute as compute
    def compute_stats(path, *, work, **more):
        import subprocess, time
        subprocess.Popen(["sleep", "{mark}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            work.progress("Counting", 1)
            time.sleep(0.05)
    compute.compute_stats = compute_stats
"""


def with_host(machines: Machines, **fields: Any) -> None:
    """Write fields of workstation into the profile."""
    document = yaml.safe_load(machines.profile.read_text())
    document["hosts"]["workstation"].update(fields)
    machines.profile.write_text(yaml.safe_dump(document))


def running(word: str) -> list[str]:
    """Processes of this machine with `word` in their command line; those in a container are among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if word in line and "--profile" not in line:
                    found.append(line)
    return found


def gone(word: str) -> None:
    deadline = time.monotonic() + 10
    while left := running(word):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_a_dataset_is_worked_on_where_it_lies(machines: Machines) -> None:
    meta = machines.workspace / "datasets" / seed.NAME / "meta"
    written = meta / "relative_stats.json"
    written.unlink()
    said = machines.events("data", "stats", "--path", seed.NAME, "--on", "workstation")
    assert said[-1]["data"]["host"] == "workstation"
    assert written.is_file()
    (listed,) = [
        event for event in machines.events("data", "list") if event["event"] == "datasets" and event["datasets"]
    ]
    assert [each["name"] for each in listed["datasets"]] == [seed.NAME]
    wrong = machines.events("data", "stats", "--path", "nothing", "--on", "workstation", exits=1)[-1]
    assert wrong["where"].startswith("workstation")


@pytest.mark.slow
def test_detached_it_is_a_job_of_the_host(machines: Machines) -> None:
    job = machines.events("data", "stats", "--path", seed.NAME, "--on", "workstation", "--detach")[-1]["data"]["id"]
    machines.events("train", "monitor", "--job-id", job, "--follow")
    assert machines.job(job)["state"] == "succeeded"
    log = machines.run("train", "logs", "--job-id", job).stdout
    assert f"Computed the statistics of {seed.NAME}" in log
    assert machines.leftovers(job) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whoever_goes_leaves_nothing_running_there(machines: Machines, number: signal.Signals) -> None:
    mark = f"3{os.getpid() % 10000:04d}.{int(number):02d}"
    patch = machines.workspace / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SLOW.format(mark=mark))
    with_host(machines, env={"PYTHONPATH": str(patch)})
    argv = machines.argv("--json", "data", "stats", "--path", seed.NAME, "--on", "workstation")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "Counting" not in json.loads(process.stdout.readline()).get("text", ""):
            pass
        assert running(f"sleep {mark}")
        process.send_signal(number)
        assert process.wait(20) == (130 if number == signal.SIGINT else -number)
    gone(f"sleep {mark}")
    gone(f"data stats --path {seed.NAME}")
