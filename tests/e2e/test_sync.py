"""A host's copy of dm-g1 is brought up to date: a checkout by git, anything else by the wheel. Both runtimes."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from machines import Machines

from dm_isaac_g1 import __version__

pytestmark = [pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(180)]

SOURCE = Path(__file__).resolve().parents[2] / "src" / "dm_isaac_g1"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def venv_on(machines: Machines) -> Path:
    """A virtual environment in the workspace, which the host and its container both see, as the host's python."""
    folder = machines.workspace / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    document = yaml.safe_load(machines.profile.read_text())
    document["hosts"]["workstation"]["python"] = str(folder / "bin" / "python")
    machines.profile.write_text(yaml.safe_dump(document))
    return folder


def site(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))


def sync(machines: Machines, *arguments: str, exits: int = 0) -> list[dict[str, Any]]:
    return machines.events("remote", "sync", "--host", "workstation", *arguments, exits=exits)


def main_place(events: list[dict[str, Any]]) -> dict[str, Any]:
    place: dict[str, Any] = events[-1]["data"]["places"][0]
    return place


@pytest.fixture
def checkout(machines: Machines) -> tuple[Path, Path]:
    """(an upstream's working copy, a checkout on the host that is a commit behind and on its python's path)."""
    work, bare, there = machines.folder / "work", machines.workspace / "up.git", machines.workspace / "dm-g1"
    package = work / "src" / "dm_isaac_g1"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0"\n')
    git(work, "init", "-q")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "First")
    git(work, "clone", "-q", "--bare", str(work), str(bare))
    git(work, "remote", "add", "origin", str(bare))
    git(work, "push", "-q", "-u", "origin", "main")
    git(machines.workspace, "clone", "-q", str(bare), str(there))
    (package / "__init__.py").write_text('__version__ = "1"\n')
    git(work, "commit", "-q", "-a", "-m", "Second, with news")
    git(work, "push", "-q", "origin", "main")
    (site(venv_on(machines)) / "dm.pth").write_text(f"{there / 'src'}\n")
    return work, there


def test_a_checkout_is_pulled_and_says_both_commits(machines: Machines, checkout: tuple[Path, Path]) -> None:
    work, there = checkout
    old, new = git(there, "rev-parse", "--short", "HEAD"), git(work, "rev-parse", "--short", "HEAD")
    dry = main_place(sync(machines, "--dry-run"))
    assert (dry["revision"], dry["changed"]) == (old, False)
    place = main_place(sync(machines))
    assert (place["revision"], place["changed"]) == (new, True)
    assert place["note"] == f"was {old}, 1 commit newer, newest: Second, with news"
    assert git(there, "rev-parse", "--short", "HEAD") == new
    again = main_place(sync(machines))
    assert (again["changed"], again["note"]) == (False, "up to date")


def test_a_checkout_that_cannot_be_fast_forwarded_is_left_as_it_is(
    machines: Machines, checkout: tuple[Path, Path]
) -> None:
    _, there = checkout
    (there / "src" / "dm_isaac_g1" / "__init__.py").write_text('__version__ = "mine"\n')
    git(there, "commit", "-q", "-a", "-m", "Mine")
    mine = git(there, "rev-parse", "HEAD")
    failure = sync(machines, exits=1)[-1]
    assert failure["event"] == "failure"
    assert "fast-forward" in failure["what"]
    assert git(there, "rev-parse", "HEAD") == mine


def test_what_is_no_checkout_gets_our_wheel_and_says_both_versions(machines: Machines) -> None:
    folder = venv_on(machines)
    place = main_place(sync(machines))
    assert (place["changed"], place["version"], place["note"]) == (
        True,
        __version__,
        f"installed {__version__} (was none)",
    )
    assert Path(place["folder"]) == site(folder) / "dm_isaac_g1"
    for mine in SOURCE.rglob("*.py"):
        theirs = site(folder) / "dm_isaac_g1" / mine.relative_to(SOURCE)
        assert theirs.read_bytes() == mine.read_bytes(), mine
    assert not list(machines.workspace.glob("*.whl*")), "nothing is left lying about"
    again = main_place(sync(machines))
    assert (again["changed"], again["note"]) == (False, "up to date")
    info = next(site(folder).glob("dm_isaac_g1-*.dist-info"))
    text = (info / "METADATA").read_text().replace(f"\nVersion: {__version__}\n", "\nVersion: 0.0.1\n")
    (info / "METADATA").write_text(text)
    (site(folder) / "dm_isaac_g1" / "__init__.py").write_text("# older\n")
    assert main_place(sync(machines))["note"] == f"installed {__version__} (was 0.0.1)"


def test_a_python_without_pip_is_told_in_one_line(machines: Machines) -> None:
    folder = venv_on(machines)
    for name in ("pip", "pip-*"):
        for path in site(folder).glob(name):
            path.rename(path.with_name(f"gone-{path.name}"))
    failure = sync(machines, exits=1)[-1]
    assert "No module named pip" in failure["what"]
    assert not os.path.exists(site(folder) / "dm_isaac_g1")
    assert not list(machines.workspace.glob("*.whl*"))
