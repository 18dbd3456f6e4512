"""Every folder that dm-g1 knows on the user's machine.

Follows the XDG base directory specification: a variable that is unset, empty or relative counts as unset.
https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

_NAME = "dm-g1"
_PACKAGE = Path(__file__).resolve().parents[1]


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    base = Path(value) if Path(value).is_absolute() else Path.home() / fallback
    return base / _NAME


def config_dir() -> Path:
    """What the user edits: profiles/, recipes/, themes/, .env. It may not exist."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def state_dir() -> Path:
    """What the console remembers between starts, and the lab. It may not exist."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """What can be had again: models from the Hub. It may not exist."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def make_state_dir() -> Path:
    """The same, made where it is missing; for the user alone, since reports and journals lie there. Raises OSError."""
    folder = state_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def lab_dir() -> Path:
    """The embedded lab's folder: $DM_G1_LAB_DIR, or `lab` in the state folder. It may not exist."""
    value = os.environ.get("DM_G1_LAB_DIR")
    return expanded(value).absolute() if value else state_dir() / "lab"


def shipped(kind: Literal["profiles", "themes"]) -> Path:
    """The folder that came with dm-g1: inside the installed wheel, or beside `src/` in a checkout."""
    installed = _PACKAGE / "_shipped" / kind
    return installed if installed.is_dir() else _PACKAGE.parents[1] / kind


def expanded(text: str) -> Path:
    """The path with a leading `~` as the user's home; `~somebody` stays as it is where there is no such user."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  Path.expanduser raises RuntimeError for an unknown user
