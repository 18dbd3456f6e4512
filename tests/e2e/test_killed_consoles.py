"""A hundred consoles killed with -9 at random moments: nothing of them stays on the hosts, and the training goes on."""

from __future__ import annotations

import os
import pty
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import sshd as openssh
from dockerd import Engine
from machines import Machines, fleet
from test_main_job import until_training

from required import require_dockerd, require_sshd

pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(900)]

CONSOLES = 100
#: Every other one is the real console in a terminal, the rest is the watch without a screen.
WAYS = (("--no-ui", "--watch", "--json", "--interval", "0.2"), ())


def test_a_hundred_killed_consoles_leave_nothing_and_lose_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    require_sshd()
    require_dockerd()
    engine: Engine = request.getfixturevalue("engine")
    with fleet(tmp_path, "docker", engine) as machines:
        machines.write_recipe(steps=100_000, save_steps=100_000)
        job = machines.start()
        until_training(machines, job)
        before = machines.job(job)
        rng = random.Random(6123)
        for number in range(CONSOLES):
            way, connected = WAYS[number % 2], number // 2 % 2 == 0
            console_that_is_killed(machines, way, rng.uniform(0.0, 0.8), connected=connected)
        after = machines.job(job)
        assert (after["state"], after["pid"]) == ("running", before["pid"])
        machines.events("train", "stop", "--job-id", job, "--mode", "kill", "--wait", "--yes")
        assert machines.leftovers(job) == []
        wait_for_no_agent(machines)


def console_that_is_killed(machines: Machines, way: tuple[str, ...], after: float, *, connected: bool) -> None:
    """Open a console and kill it `after` seconds from its start, or from its first agent's where it is `connected`."""
    near, far = pty.openpty()
    process = subprocess.Popen(
        machines.argv(*way),
        stdin=far,
        stdout=far,
        stderr=far,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(far)
    os.set_blocking(near, False)
    deadline = time.monotonic() + 30
    while connected and not agents(machines):
        read(near)
        assert time.monotonic() < deadline, "it never asked its hosts"
    end = time.monotonic() + after
    while time.monotonic() < end:
        read(near)
    assert process.poll() is None, "the console is still there when it is killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    os.close(near)
    wait_for_no_agent(machines)


def read(near: int) -> None:
    """What the console wrote, thrown away; a moment's sleep where it wrote nothing."""
    try:
        os.read(near, 65536)
    except BlockingIOError:
        time.sleep(0.02)


def wait_for_no_agent(machines: Machines) -> None:
    """No agent is left two seconds later, on the host or in the container."""
    deadline = time.monotonic() + 2
    while left := agents(machines):
        assert time.monotonic() < deadline, f"agents stay: {left}"
        time.sleep(0.05)


def agents(machines: Machines) -> list[int]:
    """Agents below this test's sshd, or in its container (which has the test's folder mounted)."""
    assert machines.sshd.process is not None
    below = openssh.descendants(machines.sshd.process.pid)
    return [pid for pid in openssh.agents() if pid in below or mounts(pid, machines.folder)]


def mounts(pid: int, folder: Path) -> bool:
    """Whether a process sees a mount of `folder`."""
    try:
        return str(folder) in Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False
