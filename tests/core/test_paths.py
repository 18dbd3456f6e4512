from __future__ import annotations

from pathlib import Path

import pytest

from dm_isaac_g1.core import paths


def test_folders_follow_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    assert paths.config_dir() == tmp_path / "c" / "dm-g1"
    assert paths.state_dir() == tmp_path / "s" / "dm-g1"
    assert paths.lab_dir() == tmp_path / "s" / "dm-g1" / "lab"


@pytest.mark.parametrize("value", [None, "", "relative/folder"])
def test_an_unset_empty_or_relative_xdg_variable_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, own_home: Path, value: str | None
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    if value is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert paths.config_dir() == own_home / ".config" / "dm-g1"


def test_the_lab_goes_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    monkeypatch.setenv("DM_G1_LAB_DIR", "~/my lab")
    assert paths.lab_dir() == own_home / "my lab"


def test_what_is_shipped_is_found_from_a_checkout() -> None:
    assert (paths.shipped("profiles") / "lab.yaml").is_file()
    assert paths.shipped("themes").name == "themes"


def test_what_is_shipped_is_found_from_an_installed_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / "site-packages" / "dm_isaac_g1"
    (installed / "_shipped" / "profiles").mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", installed)
    assert paths.shipped("profiles") == installed / "_shipped" / "profiles"
