"""A lab for the command line's tests, in a folder and with variables of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import dm_g1


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a lab will be; whatever stands there at the end is taken down and removed."""
    folder = tmp_path / "l"
    monkeypatch.setenv("DM_G1_LAB_DIR", str(folder))
    monkeypatch.setenv("DM_G1_PROFILE", "lab")
    yield folder
    assert dm_g1("lab", "reset", "--yes").returncode == 0
