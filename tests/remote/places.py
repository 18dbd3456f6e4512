"""Where the jobs of a test run: on this machine, or in a container reached as a host's container is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from dockerd import Engine
from localruntime import LocalRuntime, agent_ask

from dm_isaac_g1.core.profile import Docker
from dm_isaac_g1.core.runs import JobInfo, JobSpec
from dm_isaac_g1.remote.docker import DockerRuntime
from dm_isaac_g1.remote.jobs import Jobs, new_job_id

#: The stop ladder in a hurry.
QUICK: Mapping[str, float] = {
    "interrupt_s": 0.6,
    "terminate_s": 0.6,
    "grace_s": 0.3,
    "settle_s": 0.3,
    "tick_s": 0.05,
    "heartbeat_s": 0.2,
}


@dataclass
class Place:
    """A runtime, its jobs, and a look at what really runs there."""

    runtime: Any
    jobs: Jobs
    root: str
    #: Command lines of processes that carry a job's marker.
    processes: Callable[[str], list[str]]

    def spec(self, *argv: str, **more: Any) -> JobSpec:
        return JobSpec(
            id=new_job_id("test", time.time()), name="test", kind="command", argv=argv, **{"cwd": "/tmp", **more}
        )

    async def start(self, *argv: str, waits: Mapping[str, float] = QUICK, **more: Any) -> JobInfo:
        return await self.jobs.start(self.spec(*argv, **more), waits={**QUICK, **waits})

    async def until(self, id: str, good: Callable[[JobInfo], bool], timeout: float = 20.0) -> JobInfo:
        deadline = time.monotonic() + timeout
        while not good(job := await self.jobs.get(id)):
            assert time.monotonic() < deadline, f"still {job}"
            await asyncio.sleep(0.05)
        return job

    async def ended(self, id: str, timeout: float = 20.0) -> JobInfo:
        return await self.until(id, lambda job: job.state.ended, timeout)

    async def said(self, job: JobInfo, word: str, timeout: float = 20.0) -> str:
        """The log, once it says `word`."""
        deadline = time.monotonic() + timeout
        while True:
            done = await self.runtime.run(["cat", f"{job.folder}/log"])
            if word.encode() in done.stdout:
                return str(done.stdout.decode(errors="replace"))
            assert time.monotonic() < deadline, done.stdout
            await asyncio.sleep(0.05)


def bare(root: Path) -> Place:
    runtime = LocalRuntime()
    folder = str(root / "jobs")
    return Place(runtime, Jobs("here", runtime, agent_ask(runtime), lambda: folder), folder, carriers)


def carriers(id: str) -> list[str]:
    """Command lines of this machine's processes that carry a job's marker."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"DM_G1_JOB={id}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


class ForwardingServer(asyncssh.SSHServer):
    """Lets anybody in and forwards Unix sockets, as sshd does by default. For loopback."""

    def begin_auth(self, username: str) -> bool:
        return False

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True


@dataclass
class Link:
    """An SSH connection that can be cut and made anew, as `remote.link` does."""

    port: int
    connection: asyncssh.SSHClientConnection | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __call__(self) -> asyncssh.SSHClientConnection:
        async with self._one:
            if self.connection is None or self.connection.is_closed():
                self.connection = await asyncssh.connect(
                    "127.0.0.1", self.port, username="test", known_hosts=None, client_keys=None, config=None
                )
            return self.connection

    async def cut(self) -> None:
        assert self.connection is not None
        self.connection.abort()
        await self.connection.wait_closed()


@contextlib.asynccontextmanager
async def ssh_link() -> AsyncIterator[Link]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(ForwardingServer, "127.0.0.1", 0, server_host_keys=[key])
    link = Link(server.sockets[0].getsockname()[1])
    try:
        yield link
    finally:
        if link.connection is not None:
            link.connection.abort()
        server.close()


@contextlib.asynccontextmanager
async def docker_place(engine: Engine) -> AsyncIterator[Place]:
    name = engine.container(f"box-{os.urandom(4).hex()}")
    try:
        async with (
            ssh_link() as link,
            DockerRuntime("spark", Docker(container=name, socket=engine.socket), link) as runtime,
        ):
            root = "/workspace/jobs"
            jobs = Jobs("spark", runtime, agent_ask(runtime), lambda: root)
            yield Place(runtime, jobs, root, lambda _id: engine.processes(name))
    finally:
        engine.docker("rm", "-f", name, check=False)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Any:
    """A file system of this size, mounted at `folder`."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"mounting a tmpfs needs root: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=True)


def fill(folder: Path) -> None:
    """Write until the disk is full to the last block."""
    with contextlib.suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
