"""This package as a wheel: what pip installs is what we are."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dm_isaac_g1.actions import syncing, wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    name, content = wheel.build()
    (folder / name).write_bytes(content)
    target = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*command, str(folder / name)], check=True, timeout=60, capture_output=True)
    return target


def look(site: Path) -> dict[str, object]:
    """What a host's Python would say of that copy."""
    program = f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv = ['-', '']; exec({syncing.LOOK!r})"
    done = subprocess.run([sys.executable, "-S", "-c", program], check=True, capture_output=True, timeout=30)
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_the_installed_copy_is_the_same_as_ours(installed: Path) -> None:
    said = look(installed)
    assert said["digest"] == wheel.digest()
    assert said["folder"] == str(installed / "dm_isaac_g1")
    assert said["checkout"] is None


def test_a_changed_file_is_another_copy(installed: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "site"
    shutil.copytree(installed, copy)
    (copy / "dm_isaac_g1" / "core" / "units.py").write_text("changed = True\n")
    assert look(copy)["digest"] != wheel.digest()


def test_profiles_and_themes_go_along(installed: Path) -> None:
    assert (installed / "dm_isaac_g1" / "_shipped" / "profiles" / "lab.yaml").is_file()


def test_the_same_content_gives_the_same_bytes() -> None:
    assert wheel.build() == wheel.build()


def test_every_file_stands_in_the_record() -> None:
    import io

    _, content = wheel.build()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith("RECORD")]
        listed = [line.split(",")[0] for line in archive.read(record).decode().splitlines()]
        assert sorted(listed) == sorted(archive.namelist())
