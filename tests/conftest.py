"""What every test stands on: a home of its own, and honest skips for what a machine may lack.

A test that needs OpenSSH's sshd or a Docker engine says so with `require_sshd()` or `require_dockerd()` (or the
fixtures `sshd` and `dockerd_binary`): it is skipped with the reason where it is missing, and fails where
DM_G1_REQUIRE_SSHD or DM_G1_REQUIRE_DOCKERD is set, as in CI, so that a skip cannot hide there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

#: Variables of the user that would reach into a test.
_PERSONAL = (
    "DM_G1_PROFILE",
    "DM_G1_LAB_DIR",
    "WORKSTATION_HOST",
    "WORKSTATION_USER",
    "WORKSTATION_PASSWORD",
    "WORKSTATION_SSH_PORT",
    "SPARK_HOST",
    "SPARK_USER",
    "SPARK_PASSWORD",
    "SPARK_SSH_PORT",
    "GROOT_SERVER_HOST",
    "GROOT_SERVER_PORT",
    "HF_TOKEN",
    "GITHUB_TOKEN",
    "WANDB_API_KEY",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A HOME, XDG folders and a working folder of the test's own; none of the user's variables."""
    home = tmp_path_factory.mktemp("home")
    work = home / "work"
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for variable, folder in (
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_STATE_HOME", ".local/state"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_CACHE_HOME", ".cache"),
    ):
        monkeypatch.setenv(variable, str(home / folder))
    for variable in _PERSONAL:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(work)
    return home


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


@pytest.fixture
def sshd() -> str:
    return require_sshd()


@pytest.fixture
def dockerd_binary() -> str:
    return require_dockerd()


def _require(program: str, variable: str, places: tuple[str, ...]) -> str:
    found = shutil.which(program) or next((place for place in places if os.access(place, os.X_OK)), None)
    if found is None:
        _missing(f"{program} is not installed", variable)
    return found or ""


def _missing(reason: str, variable: str) -> None:
    if os.environ.get(variable):
        pytest.fail(f"{reason}, and {variable} is set", pytrace=False)
    pytest.skip(f"{reason} ({variable} makes this a failure)")
