"""One host by hand: a command is fed, streamed and ended; the fleet is told as the schema says. Both runtimes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from machines import Machines

pytestmark = [pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(120)]


def running(word: str) -> list[str]:
    """Processes of this machine with `word` in their command line; those in a container are among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if word in line and "remote exec" not in line:
                    found.append(line)
    return found


def feed(machines: Machines, data: bytes, *command: str) -> subprocess.CompletedProcess[bytes]:
    argv = machines.argv("remote", "exec", "--host", "workstation", *command)
    return subprocess.run(argv, input=data, capture_output=True, timeout=60, check=False)


def test_what_is_piped_in_reaches_the_command_to_the_last_byte(machines: Machines) -> None:
    data = bytes(range(256)) * 4096
    done = feed(machines, data, "cat")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data
    assert feed(machines, b"", "cat").stdout == b""


def test_a_command_that_reads_nothing_ends_all_the_same(machines: Machines) -> None:
    begun = time.monotonic()
    done = feed(machines, b"x" * 10_000_000, "head -c 3; echo oops >&2; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"xxx", b"oops\n")
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as endless:
        argv = machines.argv("remote", "exec", "--host", "workstation", "echo done")
        done = subprocess.run(argv, stdin=endless.stdout, capture_output=True, timeout=60, check=False)
        endless.kill()
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert time.monotonic() - begun < 30


def test_what_a_command_says_of_errors_comes_while_it_runs(machines: Machines) -> None:
    argv = machines.argv("remote", "exec", "--host", "workstation", "echo early >&2; echo now; sleep 20")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        begun = time.monotonic()
        assert process.stderr.readline() == b"early\n"
        assert time.monotonic() - begun < 15
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_the_command_and_what_it_started(machines: Machines, number: signal.Signals) -> None:
    second = f"1{os.getpid() % 10000:04d}.{int(number):02d}"
    command = f"sleep {second} & trap '' TERM; echo begun; sleep {second}; sleep {second}"
    argv = machines.argv("remote", "exec", "--host", "workstation", command)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert running(f"sleep {second}")
        process.send_signal(number)
        assert process.wait(15) == 130
    deadline = time.monotonic() + 5
    while left := running(f"sleep {second}"):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_the_fleet_and_every_answer_are_as_the_schema_says(machines: Machines) -> None:
    once = machines.events("--no-ui")
    assert {event["host"] for event in once if event["event"] == "host"} == {"workstation", "spark"}
    assert {event["event"] for event in once} >= {"host", "sample", "forecasts"}
    for command in (("hosts",), ("train", "list"), ("checkpoints", "list"), ("disk", "forecast"), ("profile", "list")):
        assert machines.events(*command)[-1]["event"] == "result"
    assert machines.events("remote", "gpu", "--host", "spark")[-1]["event"] == "result"
    assert machines.events("remote", "exec", "exit 7", exits=7)[-1]["code"] == 7
    assert machines.events("train", "monitor", exits=2)[-1]["event"] == "failure"
    assert machines.events("checkpoints", "clean")[-1]["data"]["would_free"] == 0
