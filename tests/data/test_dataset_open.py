"""Datasets of every version: opened by their meta files alone, rows found where they really are."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of, make
from sets_families import FAMILIES

from dm_isaac_g1.data.columns import integers, matrix
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.problems import DataProblem, IntegrityError, SchemaError
from dm_isaac_g1.data.work import Work


def everything(dataset):
    return {e.index: dataset.read(e.index) for e in dataset.episodes}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_version_and_layout_gives_the_same_numbers(tmp_path, family):
    sets = {
        (version, layout): everything(
            Dataset.open(copy_of(tmp_path / f"{version}{layout}", family, version=version, layout=layout))
        )
        for version, layout in (("2.0", "episodes"), ("2.1", "episodes"), ("2.1", "combined"), ("3.0", "combined"))
    }
    first = sets.pop(("2.0", "episodes"))
    for read in sets.values():
        for number, table in first.items():
            assert read[number].combine_chunks().equals(table.combine_chunks())


def test_opening_reads_nothing_but_meta(tmp_path):
    root = copy_of(tmp_path, "dex3", video="h264")
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "videos")
    dataset = Dataset.open(root)
    assert (dataset.frames, dataset.fps, len(dataset.cameras), dataset.family.name) == (123, 30, 4, "dex3")


def test_only_the_columns_asked_for_are_read(tmp_path):
    for version in ("2.1", "3.0"):
        dataset = Dataset.open(copy_of(tmp_path / version, "dex3", version=version))
        assert dataset.read(1, ["action", "index"]).column_names == ["action", "index"]


def test_episodes_of_a_shared_file_can_be_read_in_any_order(tmp_path):
    dataset = Dataset.open(copy_of(tmp_path, "dex1", version="3.0", per_file=3))
    for number in (2, 0, 1, 1, 2, 0):
        assert set(integers(dataset.read(number), "episode_index").tolist()) == {number}


def test_a_shared_file_larger_than_a_batch_is_read_right(tmp_path, monkeypatch):
    monkeypatch.setattr("dm_isaac_g1.data.rows._BATCH", 16)
    dataset = Dataset.open(copy_of(tmp_path, "dex1", version="3.0", per_file=3))
    for number, length in enumerate((40, 41, 42)):
        table = dataset.read(number)
        assert integers(table, "frame_index").tolist() == list(range(length))
        assert set(integers(table, "episode_index").tolist()) == {number}


def test_the_wrong_file_index_of_lerobot_04_is_put_right_and_told(tmp_path):
    options = {"version": "3.0", "episodes": 5, "per_file": 2}
    right = everything(Dataset.open(copy_of(tmp_path / "right", "dex3", **options)))
    told = []
    dataset = Dataset.open(copy_of(tmp_path / "wrong", "dex3", **options, defect="wrong_file_index"), Work(told.append))
    for number, table in everything(dataset).items():
        assert table.combine_chunks().equals(right[number].combine_chunks())
    assert {finding.code for finding in dataset.findings} == {"wrong-file-index"}
    assert [finding.place.episode for finding in dataset.findings] == [2, 4] and len(told) == 2


def test_an_episode_that_no_file_has_is_an_error(tmp_path):
    root = copy_of(tmp_path, "dex3", version="3.0", episodes=4)
    (root / "data/chunk-000/file-001.parquet").unlink()
    with pytest.raises(IntegrityError, match="no parquet file has its rows") as caught:
        Dataset.open(root).read(3)
    assert caught.value.finding.place.episode == 3 and str(root) in caught.value.line()


def test_shared_files_that_info_json_denies_say_how_to_split_them(tmp_path):
    root = copy_of(tmp_path, "dex3", layout="combined")
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    path.write_text(json.dumps(info))
    with pytest.raises(IntegrityError, match="episode 1 has no file") as caught:
        Dataset.open(root).read(1)
    assert "data split" in (caught.value.finding.fix or "")


def test_rows_of_an_episode_that_lie_apart_are_an_error(tmp_path):
    root = copy_of(tmp_path, "dex3", version="3.0")
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table.slice(1), table.slice(0, 1)]), path)
    with pytest.raises(IntegrityError, match="do not follow one another"):
        Dataset.open(root).read(0)


@pytest.mark.parametrize("version", ["2.1", "3.0"])
def test_another_length_than_listed_is_an_error_with_both_numbers(tmp_path, version):
    root = copy_of(tmp_path, "dex3", version=version, defect="bad_length_meta")
    with pytest.raises(IntegrityError, match=r"has 41 frames, meta/episodes.* says \d+"):
        Dataset.open(root).read(1)


def test_looking_for_all_finds_what_is_not_listed_and_what_is_there_twice(tmp_path):
    root = copy_of(tmp_path, "dex3", layout="combined")
    listed = root / "meta/episodes.jsonl"
    text = listed.read_text()
    listed.write_text("\n".join(text.splitlines()[:2]))
    with pytest.raises(IntegrityError, match="not listed") as caught:
        Dataset.open(root).locate_all()
    assert caught.value.finding.place.episode == 2
    listed.write_text(text)
    shutil.copy(root / "data/chunk-000/file-000.parquet", root / "data/chunk-000/file-001.parquet")
    with pytest.raises(IntegrityError, match="and so has"):
        Dataset.open(root).locate_all()


def test_a_missing_column_names_the_episode(tmp_path):
    dataset = Dataset.open(copy_of(tmp_path, "dex3", defect="missing_column"))
    with pytest.raises(SchemaError) as caught:
        dataset.read(1, ["observation.state"])
    assert caught.value.finding.place.episode == 1


def test_an_episode_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(IntegrityError, match="no episode 3"):
        Dataset.open(copy_of(tmp_path, "dex3")).read(3)


def test_links_may_not_leave_the_dataset(tmp_path):
    root = copy_of(tmp_path / "set", "dex3")
    secret = make(tmp_path / "other", "dex3") / "data/chunk-000/episode_000001.parquet"
    path = root / "data/chunk-000/episode_000001.parquet"
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(SchemaError, match="leads out of the dataset"):
        Dataset.open(root).read(1)
    with pytest.raises(SchemaError):
        Dataset.open(root).path_of("../other/meta/info.json")


def test_a_snapshot_in_hugging_faces_cache_may_link_to_its_blobs(tmp_path):
    repo = tmp_path / "datasets--unitreerobotics--G1"
    root = copy_of(repo / "snapshots" / "abc", "dex3")
    path = root / "data/chunk-000/episode_000001.parquet"
    (repo / "blobs").mkdir()
    path.rename(repo / "blobs" / "0123")
    path.symlink_to(os.path.relpath(repo / "blobs" / "0123", path.parent))
    assert len(Dataset.open(root).read(1)) == 41


def test_caches_of_tools_do_not_count_as_data(tmp_path):
    dataset = Dataset.open(copy_of(tmp_path, "dex3"))
    before = dataset.bytes()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/huggingface").write_bytes(b"x" * 1000)
    assert dataset.bytes() == before > 0


def test_a_problem_crosses_processes_whole(tmp_path):
    with pytest.raises(DataProblem) as caught:
        Dataset.open(copy_of(tmp_path, "dex3", defect="missing_episode")).read(1)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value) and again.finding == caught.value.finding
    assert again.line() == caught.value.line()


def test_values_are_views_of_what_arrow_read(tmp_path):
    table = Dataset.open(copy_of(tmp_path, "dex3")).read(0, ["action"])
    values = matrix(table, "action", 28)
    assert np.shares_memory(values, matrix(table, "action", 28))
