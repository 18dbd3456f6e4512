"""Pictures and files of a test are whole or not there; JSON has no NaN."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.inference.evaluation import examine, metrics, plots
from dm_isaac_g1.inference.evaluation.openloop import Traces
from dm_isaac_g1.inference.evaluation.results import EvaluationError, Trajectory, plain, write_json


def one(steps: int = 90, values: int = 23) -> tuple[Traces, Trajectory]:
    recorded = np.cumsum(np.ones((steps, values), np.float32), axis=0) * np.arange(values)
    predicted = recorded + np.linspace(0, 1, values, dtype=np.float32)
    names = tuple((f"g{place // 8}", f"joint_{place}$x") for place in range(values))
    traces = Traces(4, 30.0, names, recorded, predicted, tuple(range(0, steps, 16)))
    return traces, metrics.trajectory(4, steps, recorded, predicted, names)


def test_a_trajectory_becomes_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plots.save(tmp_path / "a.png", *one(), title="a $set")
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (1600, int(100 * (6 * 2.2 + 0.8)))
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_picture_is_asked_for_by_its_ending(tmp_path: Path) -> None:
    with pytest.raises(DmG1Error, match=r"ends with \.png, \.svg, \.pdf"):
        plots.check(tmp_path / "a.jpeg")
    with pytest.raises(DmG1Error, match="no such folder"):
        plots.check(tmp_path / "away" / "a.png")
    assert plots.path_for(tmp_path / "a.png", 3, several=True).name == "a-000003.png"


def test_the_terminal_gets_the_worst_joints_as_few_points() -> None:
    traces, found = one(steps=5000)
    curves = examine.curves(traces, found)
    assert [joint["name"] for joint in curves["joints"]] == [f"joint_{n}$x" for n in range(22, 22 - examine.CURVES, -1)]
    assert all(len(joint["recorded"]) == len(curves["times"]) <= examine.POINTS for joint in curves["joints"])
    worst = curves["joints"][0]
    assert worst["predicted"][0] - worst["recorded"][0] == pytest.approx(1.0, abs=1e-3)
    json.dumps(curves, allow_nan=False)


def test_what_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": -float("inf")}})
    assert json.loads(path.read_text()) == {"a": None, "b": [1.0, None], "c": {"d": None}}
    assert plain((1, 2.5)) == [1, 2.5]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(EvaluationError, match="cannot be written"):
        write_json(tmp_path / "a.json", {})
    assert os.listdir(tmp_path) == ["a.json"]
