"""A lab of the tests' own: up once a module, gone at its end with whatever still ran on it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from dm_isaac_g1.lab.lab import Lab

Ssh = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    here = Lab(tmp_path_factory.mktemp("lab") / "l")
    here.up()
    yield here
    here.reset()


def run(lab: Lab, name: str, command: str, *, stdin: bytes = b"", timeout: float = 30) -> Ssh:
    """A command on a lab host, through the OpenSSH client."""
    argv = ["ssh", "-F", str(lab.layout.ssh_config), f"lab-{name}", command]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False)


def connect(lab: Lab, name: str = "workstation", **more: object) -> asyncssh.connect:
    """A connection to a lab host, through asyncssh and the lab's own ssh_config."""
    return asyncssh.connect(f"lab-{name}", config=[str(lab.layout.ssh_config)], **more)


async def eventually(seen, *, within: float = 10.0) -> None:
    """Wait until `seen()` is true."""
    deadline = asyncio.get_running_loop().time() + within
    while not seen():
        assert asyncio.get_running_loop().time() < deadline, "did not come true in time"
        await asyncio.sleep(0.05)


def exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state[state.rindex(")") + 2] not in "ZX"
