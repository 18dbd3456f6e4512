"""Which copy of this package a host's Python has. Standard library only, Python 3.8 and later; sent, never installed.

Used by `actions.syncing`, which brings a copy up to date, and by `remote.there_program`, which runs none but ours.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
from typing import Any


def look(checkout: str | None = None) -> dict[str, Any]:
    """Version, folder, digest (`actions.wheel.digest`'s, over the same files), and git's word; None: there is none."""
    said: dict[str, Any] = dict.fromkeys(("version", "folder", "digest", "checkout", "revision", "upstream"))
    spec = importlib.util.find_spec("dm_isaac_g1")
    folder = os.path.dirname(os.path.realpath(spec.origin)) if spec and spec.origin else None
    if folder:
        said.update(folder=folder, digest=digest(folder), version=version())
    if checkout or folder:
        said.update(git(checkout, folder or ""))
    return said


def digest(folder: str) -> str:
    """Of the package's Python files: two copies with the same digest do the same."""
    rows = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(here, name)
                with open(path, "rb") as file:
                    rows["dm_isaac_g1/" + os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    total = hashlib.sha256()
    for name in sorted(rows):
        total.update(f"{name}\n{rows[name]}\n".encode())
    return total.hexdigest()[:16]


def version() -> str | None:
    try:
        from importlib.metadata import version as installed

        return installed("dm-isaac-g1")
    except Exception:
        return None


def git(checkout: str | None, folder: str) -> dict[str, Any]:
    """The checkout that `folder` belongs to (or the one that was named), its revision and what its branch follows."""

    def ask(*args: str) -> str | None:
        command = ["git", "-C", checkout or folder, *args]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None

    try:
        top = ask("rev-parse", "--show-toplevel")
        if top and (checkout or ask("ls-files", "--error-unmatch", os.path.join(folder, "__init__.py"))):
            return {
                "checkout": top,
                "revision": ask("rev-parse", "--short", "HEAD"),
                "upstream": ask("rev-parse", "--abbrev-ref", "@{upstream}"),
            }
    except OSError:
        pass
    return {}
