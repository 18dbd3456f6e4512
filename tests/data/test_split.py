"""Splitting shared parquet files: by the episode_index column, nothing changed, nothing lost, nothing half."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import COMBINED, copy_of

from dm_isaac_g1.core.errors import Interrupted
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.problems import DataProblem, RefusedOutput
from dm_isaac_g1.data.split import split
from dm_isaac_g1.data.work import Work


def whole(root):
    """All rows of a dataset, as lists by column."""
    dataset = Dataset.open(root)
    table = pa.concat_tables([dataset.read(e.index).replace_schema_metadata() for e in dataset.episodes])
    return {name: table.column(name).to_pylist() for name in dataset.info.columns}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def refused(*given, **more) -> DataProblem:
    with pytest.raises(DataProblem) as caught:
        split(*given, **more)
    return caught.value


@pytest.mark.parametrize("version", ["2.0", "2.1", "3.0"])
@pytest.mark.parametrize("family", ["hospitality", "groot"])
def test_every_number_comes_out_as_it_went_in(tmp_path, version, family):
    options = {"version": version, "layout": "combined", "tasks": ("Fold.", "Put."), "video": "h264", "cameras": 1}
    source = copy_of(tmp_path / "in", family, **options)
    result = split(source, tmp_path / "out")
    assert (result.path, result.episodes, result.frames) == (tmp_path / "out", 3, 123)
    assert whole(tmp_path / "out") == whole(source)
    out = Dataset.open(tmp_path / "out")
    assert out.version == "2.1" and [e.file for e in out.episodes] == [
        f"data/chunk-000/episode_{n:06d}.parquet" for n in range(3)
    ]
    assert out.tasks == {0: "Fold.", 1: "Put."} and [e.tasks for e in out.episodes] == [
        ("Fold.",),
        ("Put.",),
        ("Fold.",),
    ]
    for e in out.episodes:
        assert out.path_of(e.videos[out.cameras[0]].file).is_file()


def test_it_is_as_if_it_had_been_written_so(tmp_path):
    """The same files as of the dataset that never shared any, down to the statistics."""
    apart = copy_of(tmp_path / "apart", "dex3")
    split(copy_of(tmp_path / "in", "dex3", layout="combined"), tmp_path / "out")
    for file in ("info.json", "tasks.jsonl", "episodes.jsonl"):
        assert lines_or_json(tmp_path / "out/meta" / file) == lines_or_json(apart / "meta" / file)
    ours, theirs = (lines(root / "meta/episodes_stats.jsonl") for root in (tmp_path / "out", apart))
    for one, two in zip(ours, theirs, strict=True):
        for column, statistics in two["stats"].items():
            for name, values in statistics.items():
                assert np.allclose(one["stats"][column][name], values, rtol=1e-6, atol=1e-9)
    for number in range(3):
        file = f"data/chunk-000/episode_{number:06d}.parquet"
        assert pq.read_table(tmp_path / "out" / file).equals(pq.read_table(apart / file))


def lines_or_json(path):
    return lines(path) if path.suffix == ".jsonl" else json.loads(path.read_text())


def test_the_input_is_not_touched(tmp_path):
    source = copy_of(tmp_path / "in", "dex3", layout="combined", video="h264", cameras=1)
    before = {p: p.read_bytes() for p in source.rglob("*") if p.is_file()}
    split(source, tmp_path / "out")
    assert {p: p.read_bytes() for p in source.rglob("*") if p.is_file()} == before


def test_rows_decide_even_where_files_have_other_names(tmp_path):
    """Two files, the later episodes in the first of them, and a data_path that promises a file each."""
    source = copy_of(tmp_path / "in", "dex3", layout="combined")
    table = pq.read_table(source / COMBINED)
    pq.write_table(table.slice(81), source / COMBINED)
    pq.write_table(table.slice(0, 81), source / "data/chunk-000/train-00001.parquet")
    info = json.loads((source / "meta/info.json").read_text())
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    (source / "meta/info.json").write_text(json.dumps(info))
    split(source, tmp_path / "out")
    assert whole(tmp_path / "out")["frame_index"] == [*range(40), *range(41), *range(42)]


def test_a_split_that_says_less_than_there_is_becomes_all_for_training(tmp_path):
    source = copy_of(tmp_path / "in", "dex3", layout="combined", defect="partial_splits")
    split(source, tmp_path / "out")
    assert Dataset.open(tmp_path / "out").info.splits == {"train": "0:3"}


def test_what_is_split_already_is_not_split_again(tmp_path):
    assert refused(copy_of(tmp_path / "in", "dex3"), tmp_path / "out").finding.code == "already-split"
    assert not (tmp_path / "out").exists()


DEFECTS = {
    "missing_column": "missing-column",
    "null_value": "null",
    "nan": "not-finite",
    "inf": "not-finite",
    "missing_episode": "missing-episode",
    "missing_video": "missing-video",
    "short_vector": "wrong-width",
    "bad_length_meta": "length-differs",
    "no_episodes_jsonl": "no-episodes-jsonl",
    "no_tasks_jsonl": "no-tasks-jsonl",
    "lfs_pointer": "lfs-pointer",
    "truncated_parquet": "unreadable",
    "ragged_timestamps": "ragged-timestamps",
    "task_index_out_of_range": "unknown-task",
    "video_short": "video-short",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_nothing_wrong_is_split(tmp_path, defect):
    source = copy_of(tmp_path / "in", "dex3", layout="combined", video="h264", cameras=1, defect=defect)
    problem = refused(source, tmp_path / "out")
    assert problem.finding.code == DEFECTS[defect] and str(source) in problem.line()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("defect", ["list_type", "f64"])
def test_other_ways_to_write_the_same_numbers_become_lerobots(tmp_path, defect):
    apart = copy_of(tmp_path / "apart", "dex3")
    split(copy_of(tmp_path / "in", "dex3", layout="combined", defect=defect), tmp_path / "out")
    assert pq.read_schema(tmp_path / "out/data/chunk-000/episode_000001.parquet") == pq.read_schema(
        apart / "data/chunk-000/episode_000001.parquet"
    )


def test_videos_that_episodes_share_without_times_are_refused(tmp_path):
    source = copy_of(tmp_path / "in", "dex3", layout="combined", video="h264", cameras=1)
    info = json.loads((source / "meta/info.json").read_text())
    info["video_path"] = "videos/{video_key}/all.mp4"
    (source / "meta/info.json").write_text(json.dumps(info))
    assert refused(source, tmp_path / "out").finding.code == "shared-video"


def test_an_interrupted_split_goes_on_where_it_ended(tmp_path, monkeypatch):
    source = copy_of(tmp_path / "in", "dex3", layout="combined", episodes=4)
    work = Work(lambda event: work.cancel() if getattr(event, "done", None) == 2 else None)
    with pytest.raises(Interrupted):
        split(source, tmp_path / "out", work)
    assert not (tmp_path / "out").exists()
    written = []
    real = Dataset.read
    monkeypatch.setattr(Dataset, "read", lambda self, n, *more: written.append(n) or real(self, n, *more))
    split(source, tmp_path / "out")
    assert 0 not in written and 3 in written
    assert whole(tmp_path / "out") == whole(source)


def test_an_output_that_is_not_empty_is_refused(tmp_path):
    source = copy_of(tmp_path / "in", "dex3", layout="combined")
    shutil.copytree(source, tmp_path / "out")
    with pytest.raises(RefusedOutput):
        split(source, tmp_path / "out")
    assert whole(tmp_path / "out") == whole(source)
