"""A Docker engine of the tests' own, and a container with a real Python in it. Nothing is downloaded.

The container's root file system is a few empty folders; the machine's own /usr is mounted into it read-only, which
gives it bash, coreutils and python3.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from required import require_dockerd

IMAGE = "dm-g1-test"


def _die_with_parent() -> None:
    """A killed test run leaves no engine behind: prctl(2), PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Engine:
    """A running dockerd. `docker(...)` is the command line against it."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.socket = str(folder / "d.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [
            self.binary,
            "-H",
            f"unix://{self.socket}",
            "--data-root",
            str(self.folder / "data"),
            "--exec-root",
            str(self.folder / "exec"),
            "-p",
            str(self.folder / "pid"),
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
        ]
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdout=log, stderr=log, start_new_session=True, preexec_fn=_die_with_parent
            )
        deadline = time.monotonic() + 60
        while self.docker("version", check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self.folder / "dockerd.log").read_text()[-2000:]
                pytest.fail(f"dockerd did not start:\n{log_text}", pytrace=False)
            time.sleep(0.2)

    def docker(self, *args: str, check: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = ["docker", "-H", f"unix://{self.socket}", *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done

    def load_image(self) -> None:
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for name, mode in (("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("etc", 0o755), ("usr", 0o755)):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                archive.addfile(entry)
            for name in ("tmp", "root", "workspace"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
                archive.addfile(entry)
            for name in ("bin", "sbin", "lib", "lib64", "lib32"):
                if Path("/", name).is_symlink():
                    entry = tarfile.TarInfo(name)
                    entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                    archive.addfile(entry)
            passwd = b"root:x:0:0:root:/root:/bin/bash\n"
            entry = tarfile.TarInfo("etc/passwd")
            entry.size = len(passwd)
            archive.addfile(entry, io.BytesIO(passwd))
        self.docker("import", "-", IMAGE, stdin=tar.getvalue())

    def container(self, name: str, *options: str, command: tuple[str, ...] = ("sleep", "infinity")) -> str:
        """Start a container that just waits, as the ones that people work in do; returns its name."""
        self.docker(
            "run", "-d", "--name", name, "--network", "none", "-v", "/usr:/usr:ro",
            "-e", "PATH=/usr/local/bin:/usr/bin:/bin", "-e", "HOME=/root", *options, IMAGE, *command,
        )  # fmt: skip
        return name

    def processes(self, name: str) -> list[str]:
        """Command lines in the container, its first process left out."""
        done = self.docker("top", name, "-eo", "pid,stat,args", check=False)
        rows = [line.split(None, 2) for line in done.stdout.decode().splitlines()[1:]]
        return [row[2] for row in rows[1:] if not row[1].startswith("Z")]

    def inspect(self, name: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.docker("inspect", name).stdout)[0]
        return found

    def stop(self) -> None:
        if self._process is None:
            return
        names = self.docker("ps", "-aq", check=False).stdout.decode().split()
        if names:
            self.docker("rm", "-f", *names, check=False)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """One Docker engine for all tests of the session."""
    binary = require_dockerd()
    # Not under pytest's folders: a socket's path must be short, and containers' files outlive a test.
    folder = Path(tempfile.mkdtemp(prefix="dm-g1-dockerd-", dir="/tmp"))
    running = Engine(binary, folder)
    try:
        running.start()
        running.load_image()
        yield running
    finally:
        running.stop()
        for mount in ("data", "exec"):
            subprocess.run(["umount", "-R", str(folder / mount)], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
