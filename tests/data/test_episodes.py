"""The lists in meta/: read whole, or one error that names the file and line."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of

from dm_isaac_g1.data.episodes import Clip, missing_numbers, read_episodes, read_tasks
from dm_isaac_g1.data.info import read_info
from dm_isaac_g1.data.problems import DataProblem

V3 = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture
def v2(tmp_path):
    return copy_of(tmp_path, "dex3", tasks=("Fold.", "Put."), video="h264", cameras=1)


@pytest.fixture
def v3(tmp_path):
    return copy_of(tmp_path, "dex3", version="3.0", tasks=("Fold.", "Put."), video="h264", cameras=1)


def episodes(root):
    return read_episodes(root, read_info(root))


def tasks(root):
    return read_tasks(root, read_info(root))


def problem(read, root):
    with pytest.raises(DataProblem) as caught:
        read(root)
    return caught.value.finding


def change_rows(root, change, file=V3):
    table = pq.read_table(root / file)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), root / file)


def test_episodes_of_v2_have_a_file_and_a_video_each(v2):
    first, second, third = episodes(v2)
    assert [e.length for e in (first, second, third)] == [40, 41, 42]
    assert [e.start for e in (first, second, third)] == [0, 40, 81]
    assert second.tasks == ("Put.",) and second.file == "data/chunk-000/episode_000001.parquet"
    key = "observation.images.cam_left_high"
    assert second.videos == {key: Clip(f"videos/chunk-000/{key}/episode_000001.mp4")}


def test_episodes_of_v3_share_files_and_videos(v3):
    first, second, third = episodes(v3)
    assert first.file == second.file != third.file
    key = "observation.images.cam_left_high"
    assert second.videos[key].file == first.videos[key].file
    assert second.videos[key].start == pytest.approx(40 / 30) and second.videos[key].end == pytest.approx(81 / 30)


def test_tasks_of_both_versions_are_the_same(v2, v3):
    assert tasks(v2) == tasks(v3) == {0: "Fold.", 1: "Put."}


def test_episodes_in_any_order_are_read_by_their_numbers(v2):
    path = v2 / "meta/episodes.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    assert [(e.index, e.start) for e in episodes(v2)] == [(0, 0), (1, 40), (2, 81)]


def test_gaps_are_told_without_counting_to_infinity(v2):
    rows = [{"episode_index": n, "length": 1} for n in (0, 2, 3, 2**53 - 1)]
    (v2 / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    missing = missing_numbers(episodes(v2))
    assert missing[:2] == (1, 4) and len(missing) == 1000


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"episode_index": 1}', "bad-episode"),
        ('{"episode_index": -1, "length": 3}', "bad-episode"),
        ('{"episode_index": 1.5, "length": 3}', "bad-episode"),
        ('{"episode_index": true, "length": 3}', "bad-episode"),
        ('{"episode_index": 1, "length": 99999999999999999999}', "bad-episode"),
        ('{"episode_index": 7, "length": 3, "tasks": 3}', "bad-episode"),
        ("[]", "bad-episode"),
        ('{"episode_ind', "not-json"),
        ('{"episode_index": 1, "length": NaN}', "not-json"),
    ],
)
def test_a_line_that_is_no_episode_is_named(v2, line, code):
    path = v2 / "meta/episodes.jsonl"
    path.write_text(path.read_text() + line)
    found = problem(episodes, v2)
    assert found.code == code and found.place.file == "meta/episodes.jsonl:4"


def test_an_episode_without_frames_and_one_twice_are_refused(v2):
    path = v2 / "meta/episodes.jsonl"
    text = path.read_text()
    path.write_text(text + '{"episode_index": 9, "length": 0}')
    assert problem(episodes, v2).code == "empty-episode"
    path.write_text(text + '{"episode_index": 2, "length": 42}')
    assert (problem(episodes, v2).code, problem(episodes, v2).place.episode) == ("duplicate-episode", 2)


@pytest.mark.parametrize(
    ("file", "read", "code"), [("episodes", episodes, "no-episodes-jsonl"), ("tasks", tasks, "no-tasks-jsonl")]
)
def test_a_missing_list_says_what_repairs_it(v2, file, read, code):
    (v2 / f"meta/{file}.jsonl").unlink()
    found = problem(read, v2)
    assert found.code == code and "data repair" in (found.fix or "")
    (v2 / f"meta/{file}.jsonl").write_text("\n")
    assert problem(read, v2).code == f"no-{file}"


def test_one_task_number_has_one_text(v2):
    path = v2 / "meta/tasks.jsonl"
    path.write_text(path.read_text() + '{"task_index": 1, "task": "Something else."}')
    assert problem(tasks, v2).code == "duplicate-task"
    path.write_text('{"task_index": 0, "task": null}')
    assert problem(tasks, v2).code == "bad-task"


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("length", None, "bad-episode"),
        ("length", 0, "empty-episode"),
        ("data/file_index", -1, "bad-episode"),
        ("videos/observation.images.cam_left_high/to_timestamp", 0.0, "bad-clip"),
        ("videos/observation.images.cam_left_high/from_timestamp", float("nan"), "bad-clip"),
        ("videos/observation.images.cam_left_high/to_timestamp", float("inf"), "bad-clip"),
        ("videos/observation.images.cam_left_high/file_index", None, "bad-episode"),
        ("episode_index", 0, "duplicate-episode"),
    ],
)
def test_a_row_of_v3_that_makes_no_sense_is_named(v3, column, value, code):
    change_rows(v3, lambda rows: rows[1].update({column: value}))
    found = problem(episodes, v3)
    assert found.code == code and (found.place.file or "").startswith("meta/episodes")


def test_lists_of_v3_that_are_missing_or_broken_are_named(v3):
    (v3 / "meta/tasks.parquet").write_bytes(b"PAR1")
    assert problem(tasks, v3).place.file == "meta/tasks.parquet"
    (v3 / V3).unlink()
    assert problem(episodes, v3).code == "no-episodes-parquet"


def test_the_text_of_a_task_may_stand_in_a_column_called_task(v3):
    table = pa.table({"task_index": [0], "task": ["Fold."]})
    pq.write_table(table, v3 / "meta/tasks.parquet")
    assert tasks(v3) == {0: "Fold."}
