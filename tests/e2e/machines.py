"""A fleet of real machines: an OpenSSH server, and behind it a host of each runtime, with a disk that can fill.

`workstation` runs its commands on the host itself or in a container of a real Docker engine; `spark` is always bare.
The command line is run as a user runs it: as a process, with a profile file.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jsonschema
import sshd as openssh
import yaml
from dockerd import Engine

from dm_isaac_g1.lab import seed

RuntimeName = Literal["bare", "docker"]

#: The interpreter's own folders: a container sees them read-only, so that the real trainer runs there.
_PYTHON = sorted({sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2])})


@dataclass
class Machines:
    """The fleet of a test. `workspace` is workstation's, seen from this side."""

    folder: Path
    sshd: openssh.Sshd
    runtime: RuntimeName
    workspace: Path
    profile: Path

    def argv(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("dm-g1")), "--profile", str(self.profile), *arguments]

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A command as a user would type it."""
        return subprocess.run(
            self.argv(*arguments), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def events(self, *arguments: str, exits: int = 0, timeout: float = 120) -> list[dict[str, Any]]:
        """The same with --json: its event lines, each as the schema says. The exit code must be `exits`."""
        done = self.run("--json", *arguments, timeout=timeout)
        assert done.returncode == exits, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        said = [json.loads(line) for line in done.stdout.splitlines()]
        for line in said:
            self.schema.validate(line)
        return said

    @cached_property
    def schema(self) -> jsonschema.Draft202012Validator:
        """The schema of event lines, as the command publishes it."""
        return jsonschema.Draft202012Validator(json.loads(self.run("schema").stdout))

    def start(self, *arguments: str) -> str:
        """Start the test's recipe; the job's id."""
        return str(self.events("train", "start", "--recipe", str(self.recipe), *arguments)[-1]["data"]["id"])

    def end(self, job: str, timeout: float = 180) -> list[dict[str, Any]]:
        """Follow a job to its end; the events."""
        return self.events("train", "monitor", "--job-id", job, "--follow", timeout=timeout, exits=0)

    def job(self, job: str) -> dict[str, Any]:
        """The job as `train list` says now."""
        for event in self.events("train", "list"):
            if event["event"] == "job" and event["job"]["spec"]["id"] == job:
                found: dict[str, Any] = event["job"]
                return found
        raise AssertionError(f"no job {job}")

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    def write_recipe(self, **more: Any) -> None:
        recipe = {
            "trainer": "bc",
            "datasets": [seed.NAME],
            "steps": 120,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "save_steps": 40,
            "save_total_limit": 2,
            **more,
        }
        self.recipe.write_text(yaml.safe_dump(recipe))

    def leftovers(self, job: str) -> list[str]:
        """Processes that carry the job's marker, anywhere on this machine."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"DM_G1_JOB={job}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                        found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found


@contextlib.contextmanager
def mounted(folder: Path, size: int | None) -> Iterator[Path]:
    """`folder` as a file system of its own, `size` bytes large (None: an ordinary folder)."""
    folder.mkdir(parents=True, exist_ok=True)
    if size is None:
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def fleet(
    folder: Path, runtime: RuntimeName, engine: Engine | None, *, disk: int | None = None, port: int | None = None
) -> Iterator[Machines]:
    """Bring the machines up; `port`: reach them through something that listens there (a proxy)."""
    with openssh.running(folder / "sshd") as server, mounted(folder / "workspace", disk) as workspace:
        seed.write(workspace / "datasets" / seed.NAME)
        if port is not None:
            server.know(port)
            server.write_config(port)
        host: dict[str, Any] = {
            "ssh": "box",
            "roles": ["train"],
            "runtime": "bare",
            "python": sys.executable,
            "paths": {"workspace": str(workspace), "caches": str(workspace / "caches")},
        }
        name = f"dm-g1-{os.getpid()}-{folder.name}"[:60]
        if runtime == "docker":
            assert engine is not None
            shared: Sequence[str] = [part for path in _PYTHON for part in ("-v", f"{path}:{path}:ro")]
            engine.container(name, *shared, "-v", f"{workspace}:{workspace}")
            host["runtime"] = {"docker": {"container": name, "socket": engine.socket}}
        spark = {
            "ssh": "box",
            "roles": ["serve"],
            "runtime": "bare",
            "python": sys.executable,
            "paths": {"workspace": str(folder / "spark"), "caches": str(folder / "spark" / "caches")},
        }
        profile = folder / "fleet.yaml"
        document = {
            "ssh_config": str(server.config),
            "hosts": {"workstation": host, "spark": spark},
            "defaults": {"thresholds": {"disk_reserve_gb": 0.002, "disk_reserve_share": 0.01}},
        }
        profile.write_text(yaml.safe_dump(document))
        machines = Machines(folder, server, runtime, workspace, profile)
        machines.write_recipe()
        try:
            yield machines
        finally:
            if runtime == "docker" and engine is not None:
                engine.docker("rm", "-f", name, check=False)
