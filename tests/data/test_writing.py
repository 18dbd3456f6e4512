"""What is written is what lerobot writes, whole or not at all."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of

from dm_isaac_g1.data.columns import matrix
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import DEFAULT_FEATURES
from dm_isaac_g1.data.writing import write_json, write_jsonl, write_meta, write_parquet

WIDE = {"state": {"dtype": "float32", "shape": [3], "names": None}}


@pytest.mark.parametrize("family", ["dex3", "hospitality", "trifinger43"])
def test_a_file_that_is_read_and_written_again_is_the_same_table(tmp_path, family):
    dataset = Dataset.open(copy_of(tmp_path / "set", family))
    features = {name: dataset.info.features[name].raw for name in dataset.info.columns}
    table = dataset.read(1)
    write_parquet(tmp_path / "x", {n: matrix(table, n, dataset.info.features[n].width) for n in features}, features)
    again = pq.read_table(tmp_path / "x")
    assert again.equals(table) and again.schema.equals(table.schema, check_metadata=True)


def test_a_file_has_one_row_group_and_dictionaries_where_values_repeat(tmp_path):
    columns = {name: np.arange(5) for name in DEFAULT_FEATURES}
    write_parquet(tmp_path / "x", columns, DEFAULT_FEATURES)
    facts = pq.ParquetFile(tmp_path / "x").metadata
    assert facts.num_row_groups == 1
    group = facts.row_group(0)
    kinds = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {name for name, column in kinds.items() if column.has_dictionary_page} == {"episode_index", "task_index"}
    assert {column.compression for column in kinds.values()} == {"SNAPPY"}


def test_scalars_are_scalars_and_numbers_get_the_features_type(tmp_path):
    features = {"a": {"dtype": "float32", "shape": [1]}, "b": {"dtype": "int64", "shape": [1]}, **WIDE}
    columns = {"state": np.ones((2, 3)), "a": np.ones((2, 1)), "b": np.array([1, 2], np.int32)}
    write_parquet(tmp_path / "x", columns, features)
    schema = pq.read_schema(tmp_path / "x")
    assert [str(schema.field(name).type) for name in features] == [
        "float",
        "int64",
        "fixed_size_list<element: float>[3]",
    ]
    hugging_face = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert hugging_face["a"] == {"dtype": "float32", "_type": "Value"}
    assert hugging_face["state"] == {"feature": hugging_face["a"], "length": 3, "_type": "Sequence"}


def test_texts_and_more_axes_are_written_too(tmp_path):
    features = {"text": {"dtype": "string", "shape": [1]}, "grid": {"dtype": "float32", "shape": [2, 2]}}
    grid = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    write_parquet(tmp_path / "x", {"text": pa.array(["a", "b"]), "grid": grid}, features)
    assert pq.read_table(tmp_path / "x").to_pydict() == {"text": ["a", "b"], "grid": grid.tolist()}


@pytest.mark.parametrize("columns", [{}, {"state": np.ones((2, 4))}, {"state": np.ones((2, 3)), "more": np.ones(2)}])
def test_columns_that_are_not_the_features_are_refused(tmp_path, columns):
    with pytest.raises(ValueError):
        write_parquet(tmp_path / "x", columns, WIDE)
    assert not (tmp_path / "x").exists()


def test_a_full_disk_names_the_file():
    with pytest.raises(OSError) as caught:
        write_parquet("/dev/full", {"state": np.ones((2, 3))}, WIDE)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_leaves_the_old_file(tmp_path, value):
    for name, write, given in (("a", write_json, {"x": value}), ("b", write_jsonl, [{"x": 1}, {"x": value}])):
        (tmp_path / name).write_text("old")
        with pytest.raises(ValueError):
            write(tmp_path / name, given)
        assert (tmp_path / name).read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_null_is_json(tmp_path):
    write_jsonl(tmp_path / "x", [{"task": "null", "x": None}, {"x": 0.1}])
    assert [json.loads(line) for line in (tmp_path / "x").read_text().splitlines()] == [
        {"task": "null", "x": None},
        {"x": 0.1},
    ]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("old")

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / "x", {"new": True})
    assert (tmp_path / "x").read_text() == "old" and os.listdir(tmp_path) == ["x"]


def test_text_is_written_as_it_is(tmp_path):
    write_json(tmp_path / "x", {"task": "摺る"})
    write_jsonl(tmp_path / "y", [{"task": "摺る"}])
    assert "摺る" in (tmp_path / "x").read_text() and "摺る" in (tmp_path / "y").read_text()


def test_meta_is_read_back_as_it_was_written(tmp_path):
    source = Dataset.open(copy_of(tmp_path / "a", "dex3", tasks=("Fold.", "Put.")))
    rows = [{"episode_index": e.index, "tasks": list(e.tasks), "length": e.length} for e in source.episodes]
    write_meta(tmp_path / "b", info=source.info.raw, episodes=rows, tasks=source.tasks)
    again = Dataset.open(tmp_path / "b")
    assert (again.info, again.episodes, again.tasks) == (source.info, source.episodes, source.tasks)
