"""The README's tour is true: every command of it is run here, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.train, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[1]


def block(title: str) -> str:
    """The first shell block under a heading of the README."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"^## {re.escape(title)}\n.*?```sh\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def run(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DM_G1_LAB_DIR": str(tmp_path / "lab")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, timeout=300, env=environment
    )


def test_the_tour_runs_as_it_is_written(tmp_path: Path) -> None:
    tour = block("The tour, without the screen")
    assert tour.count("dm-g1") >= 10
    try:
        done = run(tour, tmp_path)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        said = ("workstation", "Started", "step 600 of 600", "lab-bc", "SIMULATED", "FIT", "right_arm", "is valid")
        for words in (*said, "Computed"):
            assert words in done.stdout, words
        served = run(block("Into service"), tmp_path)
        assert served.returncode == 0, served.stdout[-3000:] + served.stderr[-3000:]
        for words in ("In service", "serving", "p50", "Back to", "checkpoint-500", "checkpoint-600", "rollback"):
            assert words in served.stdout, words
    finally:
        run("dm-g1 lab reset --yes", tmp_path)


def test_the_commands_for_datasets_run_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hubserver import HubServer
    from sets import make

    made = make(tmp_path / "hub", "hospitality", video="h264", cameras=2, frames=45)
    monkeypatch.chdir(tmp_path)
    with HubServer() as hub:
        hub.add("unitreerobotics/G1_Fold_Towel", made)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        commands = block("Datasets")
        assert commands.count("dm-g1 data") >= 9
        # `more` stands for another dataset that was converted in the same way.
        more = make(tmp_path / "source", "hospitality", video="h264", cameras=2, frames=50, tasks=["Wipe it."], seed=1)
        done = run(f"dm-g1 data convert --input {more} --output more --format groot\n{commands}", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {"fold", "fold_inspire", "all", "all_v3", "G1_Fold_Towel"} <= {each.name for each in tmp_path.iterdir()}
    assert run("dm-g1 data validate --path all --deep", tmp_path).returncode == 0


def test_a_new_profile_is_written_and_is_right(tmp_path: Path) -> None:
    first = block("Your own machines").splitlines()[0]
    done = run(f"{first}\ndm-g1 profile check mine", tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 8
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
