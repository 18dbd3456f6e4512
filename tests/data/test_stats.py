"""meta/stats.json and the statistics of every episode: GR00T's and LeRobot's definitions, exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sets import copy_of
from sets_defects import change_episode, set_column

from dm_isaac_g1.core.errors import Interrupted
from dm_isaac_g1.core.events import Progress
from dm_isaac_g1.data.problems import DataError, DataProblem
from dm_isaac_g1.data.stats.column import groot_statistics, mean_and_std
from dm_isaac_g1.data.stats.compute import compute_stats
from dm_isaac_g1.data.stats.episode import QUANTILES, episodes_stats_row
from dm_isaac_g1.data.stats.quantiles import quantiles, two_tails
from dm_isaac_g1.data.stats.spool import Spool
from dm_isaac_g1.data.work import Work

SIX = ["mean", "std", "min", "max", "q01", "q99"]


def table_of(root: Path) -> pa.Table:
    """All rows of a v2.x or v3.0 dataset in order."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(root.glob("data/*/*.parquet"))])


def column_of(table: pa.Table, name: str) -> np.ndarray:
    """(frames, width)."""
    values = np.array(table.column(name).to_pylist())
    return values.reshape(len(values), -1)


def read(root: Path, file: str) -> Any:
    return json.loads((root / file).read_text())


def rows_of(root: Path) -> dict[int, Any]:
    lines = (root / "meta" / "episodes_stats.jsonl").read_text().splitlines()
    return {row["episode_index"]: row["stats"] for row in map(json.loads, lines)}


# --- meta/stats.json --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["hospitality", "groot", "trifinger43"])
def test_stats_json_is_what_float64_gives_of_the_float32_data(tmp_path: Path, family: str) -> None:
    root = copy_of(tmp_path / "set", family)
    compute_stats(root)
    found, table = read(root, "meta/stats.json"), table_of(root)
    features = read(root, "meta/info.json")["features"]
    assert list(found) == [name for name, feature in features.items() if "float" in feature["dtype"]]
    assert "timestamp" in found
    for name, statistics in found.items():
        rows = column_of(table, name).astype(np.float32).astype(np.float64)
        low, high = np.quantile(rows, [0.01, 0.99], axis=0)
        exact = {"min": rows.min(axis=0), "max": rows.max(axis=0), "q01": low, "q99": high}
        assert list(statistics) == SIX
        for key, values in exact.items():
            assert statistics[key] == values.tolist(), (name, key)
        np.testing.assert_allclose(statistics["mean"], rows.mean(axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(statistics["std"], rows.std(axis=0), rtol=1e-12, atol=1e-14)


def test_stats_json_has_gr00ts_indentation_and_ends_without_a_newline(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot")
    compute_stats(root)
    text = (root / "meta/stats.json").read_text()
    assert text == json.dumps(json.loads(text), indent=4)


def test_a_file_of_no_episode_is_left_out_and_said(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot")
    compute_stats(root)
    before = read(root, "meta/stats.json")
    data = root / "data" / "chunk-000"
    shutil.copy(data / "episode_000001.parquet", data / "episode_000099.parquet")
    result = compute_stats(root)
    assert read(root, "meta/stats.json") == before
    assert [f.place.file for f in result.findings if f.code == "orphan-file"] == [
        "data/chunk-000/episode_000099.parquet"
    ]


def test_computing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        root = copy_of(tmp_path / name, "groot")
        result = compute_stats(root)
        texts.append([(root / file).read_bytes() for file in result.files])
    assert texts[0] == texts[1]


# --- Episodes ---------------------------------------------------------------------------------------------------------


def test_every_episode_has_lerobots_row(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex3")
    (root / "meta" / "episodes_stats.jsonl").unlink()
    compute_stats(root)
    rows = rows_of(root)
    assert sorted(rows) == [0, 1, 2]
    for number, row in rows.items():
        table = pq.read_table(root / "data" / "chunk-000" / f"episode_{number:06d}.parquet")
        assert set(row) == set(table.column_names)
        for name, statistics in row.items():
            values = column_of(table, name)
            assert list(statistics) == ["min", "max", "mean", "std", "count"]
            assert statistics["count"] == [len(values)]
            assert statistics["min"] == values.min(axis=0).tolist()
            assert statistics["max"] == values.max(axis=0).tolist()
            np.testing.assert_allclose(statistics["mean"], values.mean(axis=0), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(statistics["std"], values.std(axis=0), rtol=1e-12, atol=1e-14)


def test_an_episodes_row_keeps_lerobots_shapes() -> None:
    row = episodes_stats_row(
        {
            "scalar": np.arange(4, dtype=np.float32),
            "column": np.arange(4).reshape(4, 1),
            "vector": np.ones((4, 3), np.float32),
            "pose": np.zeros((4, 2, 2)),
            "flag": np.array([True, False, True, True]),
        },
        quantiles=QUANTILES,
    )
    assert row["scalar"]["min"] == [0.0]
    assert row["column"]["max"] == [3]
    assert isinstance(row["column"]["max"][0], int)
    assert row["vector"]["mean"] == [1.0, 1.0, 1.0]
    assert row["pose"]["std"] == [[0.0, 0.0], [0.0, 0.0]]
    assert row["flag"]["min"] == [0]
    assert row["flag"]["mean"] == [0.75]
    assert row["scalar"]["q10"] == pytest.approx([0.3])
    assert list(row["scalar"]) == ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"]


def test_integers_beyond_float64_keep_their_extremes() -> None:
    values = np.array([2**60 + 1, 2**60 + 3])
    assert episodes_stats_row({"index": values})["index"]["max"] == [2**60 + 3]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_row_of_what_is_no_number_is_refused_with_its_place(wrong: float) -> None:
    values = np.zeros((5, 3), np.float32)
    values[3, 1] = wrong
    with pytest.raises(DataError) as refused:
        episodes_stats_row({"first": np.zeros(5), "action": values})
    assert refused.value.finding.place.frame == 3
    assert refused.value.finding.place.joint == "action"


def test_a_value_whose_square_is_infinite_is_refused() -> None:
    with pytest.raises(DataError, match="action"):
        episodes_stats_row({"first": np.zeros(5), "action": np.array([0.0, 1e300, 0, 0, 0])})


def test_pictures_statistics_stay_and_are_computed_only_when_asked(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex1", video="h264", cameras=1)
    camera = next(name for name, f in read(root, "meta/info.json")["features"].items() if f["dtype"] == "video")
    before = rows_of(root)
    compute_stats(root)
    assert {n: row[camera] for n, row in rows_of(root).items()} == {n: row[camera] for n, row in before.items()}

    (root / "meta" / "episodes_stats.jsonl").unlink()
    result = compute_stats(root)
    assert camera not in rows_of(root)[0]
    assert "no-picture-statistics" in [finding.code for finding in result.findings]

    compute_stats(root, images=True)
    for row in rows_of(root).values():
        assert row[camera]["count"] == [16]
        for key in ("min", "max", "mean", "std"):
            values = np.array(row[camera][key])
            assert values.shape == (3, 1, 1)
            assert (values >= 0).all() and (values <= 1).all()
        assert (np.array(row[camera]["min"]) <= row[camera]["mean"]).all()


# --- Versions ---------------------------------------------------------------------------------------------------------


def test_v30_has_ten_statistics_of_everything_and_of_every_episode(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex3", version="3.0", video="h264", cameras=1)
    listed = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet")
    (root / "meta" / "stats.json").write_text("{}")
    compute_stats(root)
    found, table = read(root, "meta/stats.json"), table_of(root)
    rows = column_of(table, "observation.state").astype(np.float64)
    state = found["observation.state"]
    assert list(state) == ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"]
    assert state["count"] == [len(rows)]
    for key, q in {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}.items():
        np.testing.assert_array_equal(state[key], np.quantile(rows, q, axis=0))
    assert found["index"]["max"] == [len(rows) - 1]
    again = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet")
    kept = [name for name in listed.column_names if not name.startswith("stats/")]
    assert again.select(kept).equals(listed.select(kept))
    first = column_of(table, "action")[: again.column("length")[0].as_py()]
    assert again.column("stats/action/max")[0].as_py() == first.max(axis=0).tolist()
    assert again.column("stats/action/count")[0].as_py() == [len(first)]
    camera = next(name for name in found if name.startswith("observation.images"))
    assert np.array(found[camera]["mean"]).shape == (3, 1, 1)


def test_v20_keeps_what_stats_json_says_of_cameras_and_gets_no_rows(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "dex1", version="2.0", video="h264", cameras=1)
    camera = next(name for name, f in read(root, "meta/info.json")["features"].items() if f["dtype"] == "video")
    known = {key: [[[0.5]]] * 3 for key in ("mean", "std", "min", "max")}
    (root / "meta" / "stats.json").write_text(json.dumps({camera: known, "gone": known}))
    compute_stats(root)
    after = read(root, "meta/stats.json")
    assert after[camera] == known
    assert list(after["action"]) == SIX
    assert "gone" not in after
    assert not (root / "meta" / "episodes_stats.jsonl").exists()


# --- What is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defect", ["nan", "inf", "null_value", "short_vector", "truncated_parquet", "missing_episode"])
def test_bad_data_is_an_error_and_leaves_the_old_statistics(tmp_path: Path, defect: str) -> None:
    root = copy_of(tmp_path / "set", "groot", defect=defect)
    before = {path: path.read_bytes() for path in sorted((root / "meta").iterdir())}
    with pytest.raises(DataProblem) as problem:
        compute_stats(root)
    assert problem.value.finding.place.episode is not None
    assert {path: path.read_bytes() for path in sorted((root / "meta").iterdir())} == before


def test_beyond_float32_is_an_error_that_names_the_column(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot")

    def change(table: pa.Table, first: int) -> pa.Table:
        values = np.array(table.column("action").to_pylist(), np.float64)
        values[first + 2, 4] = 1e300
        return set_column(table, "action", values.tolist(), pa.list_(pa.float64()))

    change_episode(root, change)
    with pytest.raises(DataProblem, match="action"):
        compute_stats(root)


def test_an_interruption_changes_nothing(tmp_path: Path) -> None:
    root = copy_of(tmp_path / "set", "groot")
    before = {path: path.read_bytes() for path in sorted((root / "meta").iterdir())}
    steps = 0

    def tell(event: object) -> None:
        nonlocal steps
        assert isinstance(event, Progress)
        steps += 1
        if steps == 20:
            work.cancel()

    work = Work(tell)
    with pytest.raises(Interrupted):
        compute_stats(root, work=work)
    assert {path: path.read_bytes() for path in sorted((root / "meta").iterdir())} == before


# --- Columns ----------------------------------------------------------------------------------------------------------

COLUMNS = hnp.arrays(
    np.float32,
    st.integers(1, 400),
    elements=st.one_of(st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0, -1.0])),
)


@settings(deadline=None, max_examples=60)
@given(COLUMNS)
def test_a_column_has_numpys_quantiles_bit_for_bit(column: np.ndarray) -> None:
    exact = np.quantile(column.astype(np.float64), [0.01, 0.99])
    assert two_tails(column, 0.01, 0.99) == tuple(exact)
    rows = np.stack([column, column[::-1]]).astype(np.float64)
    np.testing.assert_array_equal(quantiles(rows, QUANTILES), np.quantile(rows, QUANTILES, axis=1))


@pytest.mark.parametrize(
    "column",
    [
        np.random.default_rng(0).standard_normal(50_000),
        np.random.default_rng(1).standard_normal(50_001).cumsum(),
        np.sin(np.arange(60_000) / 70),
        np.repeat([0.0, 1.0], 30_000),
        np.where(np.random.default_rng(2).random(50_000) < 0.995, 0.0, 7.0),
        np.ones(40_000),
        np.arange(40_000.0)[::-1],
        np.concatenate([np.zeros(49_000), np.full(1_000, -3.0), np.arange(500)]),
    ],
    ids=["normal", "walk", "sine", "two", "rare", "constant", "falling", "late"],
)
def test_long_columns_have_them_too_whatever_their_shape(column: np.ndarray) -> None:
    column = column.astype(np.float32)
    exact = np.quantile(column.astype(np.float64), [0.01, 0.99])
    found = groot_statistics(column)
    assert (found["q01"], found["q99"]) == tuple(exact)
    assert (found["min"], found["max"]) == (column.min(), column.max())


def test_sums_do_not_drift_as_float32s_do() -> None:
    column = np.random.default_rng(0).normal(1000.0, 0.5, 700_000).astype(np.float32)
    exact = column.astype(np.longdouble)
    mean, std = mean_and_std(column)
    assert mean == pytest.approx(float(exact.mean()), rel=1e-14)
    assert std == pytest.approx(float(exact.std()), rel=1e-11)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=12), st.integers(0, 3))
def test_a_spool_gives_back_every_column_from_memory_and_from_disk(lengths: list[int], held: int) -> None:
    import tempfile

    with (
        tempfile.TemporaryDirectory() as folder,
        Spool(3, np.float32, Path(folder), held=held * 240, block=240) as spool,
    ):
        rows = np.random.default_rng(0).standard_normal((3, sum(lengths)), dtype=np.float32)
        start = 0
        for length in lengths:
            spool.append(rows[:, start : start + length])
            start += length
        assert len(spool) == start
        for value in range(3):
            np.testing.assert_array_equal(spool.column(value), rows[value])
        assert list(Path(folder).iterdir()) == []
