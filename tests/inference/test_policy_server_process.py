"""`python -m dm_isaac_g1.inference.server`: what it says, how it ends, and what it refuses, in one line each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from servedmodels import groot_checkpoint, onnx_policy, standing
from servedpolicies import Echo, Raw, seeing

from dm_isaac_g1.inference.protocol import pack
from dm_isaac_g1.inference.server import PolicyServer

ARM = {"left_arm": 7}


class Running:
    def __init__(self, *arguments: str, cwd: Path) -> None:
        command = [sys.executable, "-m", "dm_isaac_g1.inference.server", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, "NO_COLOR": "1"},
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.address = self.line.split()[-1] if self.line else ""

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@contextlib.contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[Running]:
    server = Running(*arguments, cwd=cwd)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_policy(tmp_path_factory.mktemp("served") / "reach")


def refused(*arguments: str, cwd: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "dm_isaac_g1.inference.server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)
    assert done.stdout == "" and "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip()


def test_it_says_when_it_serves_and_ends_with_0(model: Path, tmp_path: Path) -> None:
    (tmp_path / "zmq.py").write_text("raise SystemExit('what lies in the working folder is not ours')")
    with running("--model", str(model), "--port", "0", cwd=tmp_path) as server, Raw(server.address) as client:
        port = server.address.rpartition(":")[2]
        assert server.line == f"Server is ready and listening on tcp://127.0.0.1:{port}\n"
        assert client.action(standing(ARM))[0]["left_arm"].shape == (1, 3, 7)
        code, said = refused("--model", str(model), "--port", port, cwd=tmp_path)
        assert code == 1
        assert f"port {port} is taken by" in said and f"(pid {server.process.pid})" in said and "--port" in said
        assert server.end(signal.SIGTERM) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_under_way_be_answered(tmp_path: Path, number: int) -> None:
    policy = Echo()
    with (
        PolicyServer(policy, port=0) as behind,
        running("--proxy", behind.address, "--port", "0", cwd=tmp_path) as server,
        Raw(server.address) as client,
    ):
        with policy.hold():
            client.send({"endpoint": "get_action", "data": {"observation": seeing()}})
            assert policy.entered.wait(10)
            server.process.send_signal(number)
            time.sleep(0.3)
            assert server.process.poll() is None
        assert client.receive()[0]["left_arm"].shape == (1, 5, 7)
        assert server.process.wait(10) == 0


def test_a_second_signal_does_not_wait_for_a_policy_that_hangs(tmp_path: Path) -> None:
    policy = Echo()
    with (
        PolicyServer(policy, port=0) as behind,
        running("--proxy", behind.address, "--port", "0", cwd=tmp_path) as server,
        Raw(server.address) as client,
        policy.hold(),
    ):
        client.send({"endpoint": "get_action", "data": {"observation": seeing()}})
        assert policy.entered.wait(10)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 1


def test_an_allowed_kill_ends_it_with_0(model: Path, tmp_path: Path) -> None:
    with running("--model", str(model), "--port", "0", "--allow-kill", cwd=tmp_path) as server:
        with Raw(server.address) as client:
            assert client.ask({"endpoint": "kill"}) is None
        assert server.process.wait(10) == 0


def test_the_token_comes_from_a_file_that_nobody_else_reads(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    file.chmod(0o644)
    arguments = ("--model", str(model), "--port", "0", "--token-file", str(file))
    code, said = refused(*arguments, cwd=tmp_path)
    assert code == 3 and "others may read it (mode 0644)" in said and "chmod 600" in said
    file.chmod(0o600)
    with running(*arguments, cwd=tmp_path) as server, Raw(server.address) as client:
        assert client.ask({"endpoint": "ping"}) == {"error": "Unauthorized: Invalid API token"}
        assert client.ask({"endpoint": "ping", "api_token": "s3cret"})["status"] == "ok"
        seen = (
            Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
            + Path(f"/proc/{server.process.pid}/environ").read_bytes()
        )
        assert b"s3cret" not in seen
        code, said = server.end()
        assert code == 0 and "s3cret" not in said
    for text in ("", "\n", "a\x07b", "x" * 5000):
        file.write_text(text)
        code, said = refused(*arguments, cwd=tmp_path)
        assert code == 2 and "holds no token" in said


def test_bad_input_is_one_line_and_an_exit_code(model: Path, tmp_path: Path) -> None:
    partial = groot_checkpoint(tmp_path / "checkpoint-5")
    (partial / "trainer_state.json").unlink()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for arguments, code, words in (
        (("--model", str(tmp_path / "nothing")), 2, "no such model folder"),
        (("--model", str(partial)), 3, "the save was cut off"),
        (("--dataset", str(tmp_path)), 1, "not a LeRobot dataset"),
        (("--proxy", "spark:5555"), 2, "no address"),
        (("--model", str(model), "--port", "70000"), 2, "port 70000"),
        (("--model", str(model), "--bind", "203.0.113.1"), 2, "cannot listen on 203.0.113.1 port 0: Cannot assign"),
        (("--model", str(model), "--token-file", str(fifo)), 2, "named pipe"),
    ):
        found, said = refused(*(arguments if "--port" in arguments else (*arguments, "--port", "0")), cwd=tmp_path)
        assert (found, words in said, said.count("\n")) == (code, True, 0), said
        assert said.startswith("error: ")


def test_an_open_address_without_a_token_is_warned_of(model: Path, tmp_path: Path) -> None:
    with running("--model", str(model), "--port", "0", "--bind", "127.0.0.1", cwd=tmp_path) as server:
        assert server.end() == (0, "")
    with running("--model", str(model), "--port", "0", "--bind", "0.0.0.0", cwd=tmp_path) as server:
        assert server.line.startswith("Server is ready and listening on tcp://0.0.0.0:")
        assert "warning: anybody who reaches 0.0.0.0" in server.end()[1]


def test_a_robots_client_finds_the_next_server_on_the_same_port(model: Path, tmp_path: Path) -> None:
    """A REQ socket that was connected to the old server is served by the new one."""
    context: Any = zmq.Context()
    robot = context.socket(zmq.REQ)
    robot.setsockopt(zmq.RCVTIMEO, 10_000)
    robot.setsockopt(zmq.LINGER, 0)
    frame = pack({"endpoint": "get_action", "data": {"observation": standing(ARM)}})
    try:
        with running("--model", str(model), "--port", "0", cwd=tmp_path) as old:
            port = old.address.rpartition(":")[2]
            robot.connect(old.address)
            robot.send(frame)
            assert len(robot.recv()) > 100
            old.end()
        late = threading.Timer(0.2, robot.send, (frame,))
        with running("--model", str(model), "--port", port, cwd=tmp_path):
            late.run()
            assert len(robot.recv()) > 100
    finally:
        context.destroy(linger=0)
