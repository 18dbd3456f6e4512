"""What every test stands on: a home of its own, and honest skips for what a machine may lack.

A test that needs OpenSSH's sshd, a Docker engine or tmux says so with `required`, or the fixtures here.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dm_isaac_g1.core import redact
from required import require_dockerd, require_sshd

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: no worker sits idle while the other ends a long one alone.

    They are those with slow tests, or with servers to start; of the rest, those with many tests.
    """
    long = {item.path for item in items if {"slow", "sshd", "dockerd"} & {mark.name for mark in item.iter_markers()}}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in long, -count[item.path]))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A HOME, XDG folders and a working folder of the test's own; none of the user's variables."""
    # Secrets that a test makes known are taken out of no other test's texts.
    monkeypatch.setattr(redact, "_values", set(redact._values))
    monkeypatch.setattr(redact, "_known", redact._known)
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


@pytest.fixture
def sshd() -> str:
    return require_sshd()


@pytest.fixture
def dockerd_binary() -> str:
    return require_dockerd()
