"""meta/relative_stats.json is what NVIDIA's definition gives in float64: every window of every episode, every step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of
from sets_defects import change_episode, set_column

from dm_isaac_g1.core.robot import ACTION_23, INSPIRE_53
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.stats.compute import compute_stats
from dm_isaac_g1.data.stats.groups import RELATIVE

RELATIVE_STATS = "meta/relative_stats.json"


def read(root: Path, file: str) -> Any:
    return json.loads((root / file).read_text())


def change(root: Path, file: str, **values: Any) -> None:
    path = root / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def windows(root: Path, group: str, horizon: int) -> np.ndarray:
    """(windows, horizon, joints) float32, built one by one, as generate_rel_stats does."""
    modality = read(root, "meta/modality.json")
    slices = {kind: modality[kind][group] for kind in ("state", "action")}
    found = []
    for path in sorted(root.glob("data/*/*.parquet")):
        table = pq.read_table(path)
        columns = {}
        for kind, default in (("state", "observation.state"), ("action", "action")):
            column = slices[kind].get("original_key", default)
            values = np.array(table.column(column).to_pylist(), np.float64)
            columns[kind] = values[:, slices[kind]["start"] : slices[kind]["end"]]
        for i in range(len(table) - horizon + 1):
            chunk = columns["action"][i : i + horizon] - columns["state"][i]
            found.append(chunk.astype(np.float32))
    return np.array(found)


def assert_same(found: dict[str, Any], every: np.ndarray) -> None:
    exact = every.astype(np.float64)
    low, high = np.quantile(exact, [0.01, 0.99], axis=0)
    assert list(found) == ["max", "min", "q01", "q99", "mean", "std"]
    for key, values in {"max": exact.max(axis=0), "min": exact.min(axis=0), "q01": low, "q99": high}.items():
        assert found[key] == values.tolist(), key
    np.testing.assert_allclose(found["mean"], exact.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found["std"], exact.std(axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", ["groot", "inspire53", "trifinger43"])
@pytest.mark.parametrize("horizon", [1, 16, 30])
def test_every_number_is_that_of_a_brute_force_in_float64(tmp_path: Path, family: str, horizon: int) -> None:
    root = copy_of(tmp_path / "set", family)
    result = compute_stats(root, horizon=horizon)
    found = read(root, RELATIVE_STATS)
    assert list(found) == ["left_arm", "right_arm"] == list(result.relative)
    for group in found:
        every = windows(root, group, horizon)
        assert np.shape(found[group]["mean"]) == (horizon, 7)
        assert_same(found[group], every)


def test_columns_of_doubles_are_subtracted_as_doubles(tmp_path: Path) -> None:
    """As NVIDIA's loader has them: float64 columns are not rounded before they are subtracted."""
    root = copy_of(tmp_path / "set", "groot")
    for path in sorted(root.glob("data/*/*.parquet")):
        table = pq.read_table(path)
        for number, column in enumerate(("observation.state", "action")):
            values = np.array(table.column(column).to_pylist(), np.float64)
            values += np.random.default_rng(number).standard_normal(values.shape) * 1e-9
            table = set_column(table, column, values.tolist(), pa.list_(pa.float64()))
        pq.write_table(table, path)
    compute_stats(root)
    for group in RELATIVE:
        assert_same(read(root, RELATIVE_STATS)[group], windows(root, group, 30))


def test_one_episode_of_doubles_among_floats_is_said(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot")

    def doubles(table: pa.Table, first: int) -> pa.Table:
        values = np.array(table.column("action").to_pylist(), np.float64) / 3
        return set_column(table, "action", values.tolist(), pa.list_(pa.float64()))

    change_episode(root, doubles)
    result = compute_stats(root)
    assert [finding.place.file for finding in result.findings if finding.code == "cast"] == [
        "data/chunk-000/episode_000001.parquet"
    ]


def test_the_relative_groups_are_those_of_unitree_g1() -> None:
    assert set(RELATIVE) == {"left_arm", "right_arm"}
    assert {group.name for group in ACTION_23.groups if group.relative} == set(RELATIVE)
    assert {"left_arm", "right_arm"} <= {group.name for group in INSPIRE_53.groups}


def test_the_horizon_is_noted_since_the_file_does_not_say_it(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot")
    compute_stats(root, horizon=16)
    assert read(root, "meta/dm_g1.json")["relative"]["horizon"] == 16
    compute_stats(root, horizon=8)
    assert read(root, "meta/dm_g1.json")["relative"]["horizon"] == 8
    assert len(read(root, RELATIVE_STATS)["left_arm"]["mean"]) == 8


def test_short_episodes_add_nothing_and_are_counted(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot", frames=29, growth=5)
    result = compute_stats(root)
    assert_same(read(root, RELATIVE_STATS)["left_arm"], windows(root, "left_arm", 30))
    short = [finding for finding in result.findings if finding.code == "short-episodes"]
    assert len(short) == 1
    assert "1 of 3 episodes" in short[0].what


def test_all_short_is_an_error_that_names_a_horizon_and_writes_nothing(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot", frames=10)
    before = sorted(path.name for path in (root / "meta").iterdir())
    with pytest.raises(DataProblem) as problem:
        compute_stats(root)
    assert problem.value.finding.code == "episodes-too-short"
    assert problem.value.finding.fix == "--horizon 12"
    assert sorted(path.name for path in (root / "meta").iterdir()) == before
    compute_stats(root, horizon=12)
    compute_stats(root, relative=False)


def test_a_dataset_without_relative_groups_gets_none_and_asking_is_an_error(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex3")
    assert compute_stats(root).relative == ()
    assert not (root / RELATIVE_STATS).exists()
    with pytest.raises(DataProblem, match="left_arm"):
        compute_stats(root, relative=True)


@pytest.mark.parametrize(
    ("group", "what"),
    [
        ({"start": 0, "end": 99}, "values 0 to 99"),
        ({"start": 3, "end": 3}, "values 3 to 3"),
        ({"start": 0, "end": 6}, "has 6 values, state left_arm has 7"),
        ({"start": 0, "end": 7, "original_key": "teleop.gone"}, "teleop.gone"),
        ({"start": "0", "end": 7}, "values 0 to 7"),
        (None, "values None to None"),
    ],
)
def test_a_modality_that_the_columns_do_not_have_is_an_error(tmp_path: Path, group: Any, what: str) -> None:
    root = copy_of(tmp_path / "set", "groot")
    modality = read(root, "meta/modality.json")
    modality["action"]["left_arm"] = group
    change(root, "meta/modality.json", action=modality["action"])
    with pytest.raises(DataProblem, match=what) as problem:
        compute_stats(root)
    assert problem.value.finding.place.file == "meta/modality.json"
