"""The end-to-end tests' machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerd import engine
from machines import Machines, RuntimeName, fleet

from required import require_dockerd, require_sshd

__all__ = ["engine"]


@pytest.fixture(params=["bare", "docker"])
def runtime(request: pytest.FixtureRequest) -> RuntimeName:
    """Each test is run for both runtimes."""
    require_sshd()
    if request.param == "docker":
        require_dockerd()
    chosen: RuntimeName = request.param
    return chosen


@pytest.fixture
def machines(runtime: RuntimeName, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    """A real sshd, and for `docker` a container of a real engine; ordinary disks."""
    found = request.getfixturevalue("engine") if runtime == "docker" else None
    with fleet(tmp_path, runtime, found) as up:
        yield up
