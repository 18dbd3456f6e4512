"""Two hosts behind a real sshd for deploys: `workstation` has checkpoints, `spark` serves them; and a robot that asks.

The models are folders of a few bytes; the server is `tiny_server.py`, which misbehaves as its model's folder says.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sshd as openssh
import yaml
from serving import SERVER, SPEC

#: Seconds that the test's models take to load.
LOAD_S = 0.3


@dataclass
class Fleet:
    """A test's two hosts. `at` is the machines' common folder."""

    at: Path
    sshd: openssh.Sshd
    port: int
    profile: Path
    document: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        return self.at / "workstation" / "checkpoints"

    @property
    def models(self) -> Path:
        """Spark's store."""
        return self.at / "spark" / "models"

    def model(self, run: str, step: int = 100, *, size: int = 1000, **behaviour: Any) -> str:
        """A checkpoint on workstation; what to deploy. `value`: what each of its actions is."""
        folder = self.checkpoints / run / f"checkpoint-{step}"
        write_model(folder, size=size, **behaviour)
        return f"workstation:{run}/checkpoint-{step}"

    def argv(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("dm-g1")), "--profile", str(self.profile), "--json", *words]

    def run(self, *words: str, exits: int | None = 0, timeout: float = 60) -> list[dict[str, Any]]:
        """A command's events. Its exit code must be `exits`."""
        done = subprocess.run(
            self.argv(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.env},
        )
        assert exits is None or done.returncode == exits, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def deploy(self, what: str, *words: str, exits: int | None = 0) -> dict[str, Any]:
        """Deploy it and say yes; the last event."""
        return self.run("deploy", what, "--yes", *words, exits=exits)[-1]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.env},
        )

    def kill_when(self, when: Callable[[dict[str, Any]], bool], *words: str, after: float = 0.0) -> dict[str, Any]:
        """Start a command and kill -9 it `after` seconds from the first event for which `when` is true."""
        process = self.start(*words)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event: dict[str, Any] = json.loads(line)
                if when(event):
                    time.sleep(after)
                    return event
                assert event["event"] not in ("result", "failure"), event
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            process.communicate()
        raise AssertionError("it ended before that")

    def status(self) -> dict[str, Any]:
        """What serves on spark, as `deploy status` says."""
        said = self.run("deploy", "status", exits=None)
        found: dict[str, Any] = next(each for each in said if each["event"] == "deployments")["deployments"][0]
        return found

    def history(self) -> list[dict[str, Any]]:
        lines = (self.models / "deploys.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines][::-1]

    def record(self) -> dict[str, Any] | None:
        place = self.models / "txn.json"
        return json.loads(place.read_text()) if place.exists() else None

    def configure(self, **serve: Any) -> None:
        """Change how spark serves."""
        self.document["hosts"]["spark"]["serve"].update(serve)
        self.profile.write_text(yaml.safe_dump(self.document))

    def servers(self) -> list[int]:
        """The servers' processes."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if str(SERVER).encode() in words and any(str(self.models).encode() in word for word in words):
                        found.append(int(entry.name))
        return found

    def clear(self) -> None:
        """End all that runs on the hosts, as losing power does: supervisors first, so that nothing is started again."""
        for first in (True, False):
            for pid, line in self._processes():
                if not first or "supervisor.py" in line:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while self._processes() and time.monotonic() < until:
            time.sleep(0.05)

    def _processes(self) -> list[tuple[int, str]]:
        """Processes that work in the hosts' folders, and their command lines."""
        folders = [str(self.at / host).encode() for host in ("workstation", "spark")]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes()
                    said = line + (entry / "environ").read_bytes()
                    if any(folder in said for folder in folders):
                        found.append((int(entry.name), line.replace(b"\0", b" ").decode(errors="replace")))
        return found


def write_model(folder: Path, *, size: int = 1000, **behaviour: Any) -> Path:
    """A model for `tiny_server.py`: an ONNX policy by its sidecar, with weights of `size` bytes that nobody reads."""
    folder.mkdir(parents=True, exist_ok=True)
    behaviour = {"load_s": LOAD_S, **behaviour}
    (folder / "behave.json").write_text(json.dumps(behaviour))
    told = {
        "format": "onnx",
        "file": "policy.onnx",
        "state": SPEC.state,
        "action": SPEC.action,
        "horizon": SPEC.horizon,
        "also": ["behave.json"],
    }
    (folder / "policy.json").write_text(json.dumps(told))
    seed = json.dumps(behaviour).encode()
    (folder / "policy.onnx").write_bytes((seed * (size // len(seed) + 1))[:size])
    (folder / "trainer_state.json").write_text('{"global_step": 100}')
    return folder


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@contextlib.contextmanager
def fleet(at: Path, server: openssh.Sshd, **serve: Any) -> Iterator[Fleet]:
    """The fleet over a running sshd, with a profile of its own."""
    port = free_port()
    command = [sys.executable, str(SERVER), "--model", "{model}", "--port", "{port}", "--bind", "{bind}"]

    def host(name: str, role: str, **more: Any) -> dict[str, Any]:
        folder = str(at / name)
        (at / name).mkdir(parents=True, exist_ok=True)
        return {
            "ssh": "box",
            "roles": [role],
            "python": sys.executable,
            "paths": {"workspace": folder, "caches": f"{folder}/caches"},
            **more,
        }

    document = {
        "ssh_config": str(server.config),
        "hosts": {
            "workstation": host("workstation", "train"),
            "spark": host(
                "spark", "serve", port=port, serve={"how": "process", "command": command, "load_s": 20.0, **serve}
            ),
        },
    }
    profile = at / "fleet.yaml"
    profile.write_text(yaml.safe_dump(document))
    made = Fleet(at, server, port, profile, document)
    try:
        yield made
    finally:
        made.clear()
