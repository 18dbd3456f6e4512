"""What a dataset says of itself and its rows deny is refused by whatever makes another dataset of it."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of

from dm_isaac_g1.data.combine import combine
from dm_isaac_g1.data.convert import convert_to_groot, convert_to_inspire
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.problems import DataProblem, IntegrityError
from dm_isaac_g1.data.repair import plan_repair, repair
from dm_isaac_g1.data.split import split
from dm_isaac_g1.data.validate import validate_dataset
from dm_isaac_g1.data.versions.v21 import to_v21
from dm_isaac_g1.data.versions.v30 import to_v30


def with_column(path, name, values):
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, pa.array(values(table))), path)


def test_instructions_that_an_earlier_merge_mixed_up_are_refused_not_carried_on(tmp_path):
    """A merge that wrote every text into episodes.jsonl and left each row with task 0, as of its own first set."""
    root = copy_of(tmp_path / "a", "dex3", tasks=("Fold.", "Put."))
    path = root / "data/chunk-000/episode_000001.parquet"
    with_column(path, "task_index", lambda table: np.zeros(len(table), np.int64))
    for make_of in (lambda: combine([root], tmp_path / "c"), lambda: to_v30(root, tmp_path / "v")):
        with pytest.raises(IntegrityError, match=r"rows say 'Fold\.'.*'Put\.'") as caught:
            make_of()
        assert (caught.value.finding.code, caught.value.finding.place.episode) == ("task-differs", 1)


def test_a_list_of_episodes_that_was_cut_off_is_no_smaller_dataset(tmp_path):
    root = copy_of(tmp_path / "a", "dex3")
    path = root / "meta/episodes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    for make_of in (
        lambda: combine([root], tmp_path / "c"),
        lambda: to_v30(root, tmp_path / "v"),
        lambda: convert_to_inspire(root, tmp_path / "i"),
    ):
        with pytest.raises(IntegrityError, match=r"counts 3 episodes, 2 are listed.*episode_000002\.parquet"):
            make_of()
    assert not plan_repair(root).steps  # info.json is right, the list is not
    path.unlink()  # what the error says
    repair(plan_repair(root))
    combine([root], tmp_path / "c")
    assert len(Dataset.open(tmp_path / "c").episodes) == 3


def test_parquet_files_of_no_episode_are_told(tmp_path):
    root = copy_of(tmp_path / "a", "dex3")
    shutil.copy(root / "data/chunk-000/episode_000002.parquet", root / "data/chunk-000/episode_000007.parquet")
    (found,) = combine([root], tmp_path / "c").findings
    assert (found.code, found.place.file) == ("orphan-parquet", "data/chunk-000/episode_000007.parquet")


@pytest.mark.parametrize("shift, code", [(5.0, "timestamp-start"), (0.0, "ragged-timestamps")])
def test_times_that_are_not_frame_by_rate_are_refused(tmp_path, shift, code):
    """Begun late; or each step off by less than anyone tolerates, which adds up to frames."""
    root = copy_of(tmp_path / "a", "dex3")
    path = root / "data/chunk-000/episode_000001.parquet"
    step = 1 / 30 + (0 if shift else 5e-5)
    with_column(path, "timestamp", lambda table: (np.arange(len(table)) * step + shift).astype(np.float32))
    for make_of in (lambda: combine([root], tmp_path / "c"), lambda: to_v30(root, tmp_path / "v")):
        with pytest.raises(IntegrityError) as caught:
            make_of()
        assert caught.value.finding.code == code and "--retime" in str(caught.value.fix)
    repair(plan_repair(root, retime=True))
    combine([root], tmp_path / "c")


def test_shared_files_that_are_listed_wrongly_are_told_whatever_is_made_of_them(tmp_path):
    """As lerobot 0.4.0 to 0.4.4 list them; the rows are found by their column."""
    root = copy_of(tmp_path / "a", "hospitality", version="3.0", defect="wrong_file_index")
    for name, make_of in {"g": convert_to_groot, "s": split, "v": to_v21}.items():
        codes = [finding.code for finding in make_of(root, tmp_path / name).findings]
        assert codes.count("wrong-file-index") == 1, name


def test_rows_in_disorder_are_left_out_and_not_renumbered(tmp_path):
    """The frames of an episode in another order: no new numbers make them a recording."""
    root = copy_of(tmp_path / "a", "hospitality")
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(np.roll(np.arange(len(table)), 7)), path)
    for options in ({}, {"renumber": True}):
        with pytest.raises(IntegrityError) as caught:
            convert_to_groot(root, tmp_path / "g", **options)
        assert caught.value.fix == "--drop-episode 1 leaves it out"
    assert convert_to_groot(root, tmp_path / "g", drop_episodes=(1,)).episodes == 2


@pytest.mark.parametrize("defect", ["nan", "short_vector", "bad_length_meta", "task_index_out_of_range", "video_short"])
def test_what_is_proposed_for_one_bad_episode_helps(tmp_path, defect):
    """With the same output: what the first try finished is no longer what is wanted."""
    root = copy_of(tmp_path / "a", "hospitality", video="h264", cameras=1, defect=defect)
    with pytest.raises(DataProblem) as caught:
        convert_to_groot(root, tmp_path / "g")
    assert caught.value.fix == "--drop-episode 1 leaves it out"
    assert convert_to_groot(root, tmp_path / "g", drop_episodes=(1,)).episodes == 2


def test_the_command_for_missing_instructions_finds_those_that_episodes_name(tmp_path):
    root = copy_of(tmp_path / "a", "dex3", tasks=("Fold.", "Put."), defect="no_tasks_jsonl")
    (found,) = validate_dataset(root).findings
    assert found.fix == f"dm-g1 data repair --path {root}"
    repair(plan_repair(root))
    assert validate_dataset(root).findings == ()


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    root = copy_of(tmp_path / "a", "dex3")
    (root / "meta/info.json").unlink()
    os.mkfifo(root / "meta/info.json")
    assert validate_dataset(root).codes("error") == {"not-a-dataset"}
