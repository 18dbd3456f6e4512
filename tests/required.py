"""What a test may need of its machine: there, or skipped with the reason; never skipped in CI.

A missing program skips the test, and fails it where DM_G1_REQUIRE_SSHD, DM_G1_REQUIRE_DOCKERD or DM_G1_REQUIRE_TMUX is
set, as in CI, so that a skip cannot hide there.
"""

from __future__ import annotations

import os
import shutil

import pytest


def require_sshd() -> str:
    """The path of OpenSSH's server, for a test that starts one."""
    return _require("sshd", "DM_G1_REQUIRE_SSHD", ("/usr/sbin/sshd", "/usr/local/sbin/sshd"))


def require_dockerd() -> str:
    """The path of a Docker engine, for a test that starts one as root."""
    if os.geteuid() != 0:
        _missing("starting dockerd needs root", "DM_G1_REQUIRE_DOCKERD")
    return _require("dockerd", "DM_G1_REQUIRE_DOCKERD", ("/usr/sbin/dockerd", "/usr/bin/dockerd"))


def require_tmux() -> str:
    """The path of tmux, for a test that looks at a real terminal."""
    return _require("tmux", "DM_G1_REQUIRE_TMUX", ("/usr/bin/tmux",))


def _require(program: str, variable: str, places: tuple[str, ...]) -> str:
    found = shutil.which(program) or next((place for place in places if os.access(place, os.X_OK)), None)
    if found is None:
        _missing(f"{program} is not installed", variable)
    return found or ""


def _missing(reason: str, variable: str) -> None:
    if os.environ.get(variable):
        pytest.fail(f"{reason}, and {variable} is set", pytrace=False)
    pytest.skip(f"{reason} ({variable} makes this a failure)")
