"""Reading datasets for bc: every spelling that is met, one clear line for every broken one, nothing filled in."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from lerobot_sets import edit_info, make, write_episode

from dm_isaac_g1.finetuning.bc.dataset import DatasetError, load


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "set")


def problem(folder) -> str:
    with pytest.raises(DatasetError) as caught:
        load([folder])
    line = caught.value.line()
    assert "\n" not in line and str(folder) in line
    return line


def parquet(folder, number):
    return folder / "data" / "chunk-000" / f"episode_{number:06d}.parquet"


def test_all_episodes_and_names_are_read(folder):
    found = load([folder])
    assert [e.state.shape for e in found.episodes] == [(40, 5)] * 3
    assert [e.action.shape for e in found.episodes] == [(40, 3)] * 3
    assert found.action_names == ("a0", "a1", "a2") and found.fps == 30 and found.frames == 120


def test_statistics_are_over_all_frames(folder):
    found = load([folder])
    whole = np.concatenate([e.action for e in found.episodes])
    assert np.allclose(found.statistics()["action_mean"], whole.mean(0), atol=1e-6)
    assert np.allclose(found.statistics()["action_std"], whole.std(0), atol=1e-6)


@pytest.mark.parametrize("kind", ["fixed", "list", "wide"])
def test_every_way_to_write_vectors_reads_the_same(folder, kind):
    values = np.random.default_rng(1).normal(size=(40, 5))
    write_episode(folder, 0, values, values[:, :3], kind=kind)
    assert np.allclose(load([folder]).episodes[0].state, values, atol=1e-6)


@pytest.mark.parametrize(
    "names",
    [["a", "b", "c"], [["a", "b", "c"]], {"motors": ["a", "b", "c"]}, None],
    ids=["flat", "nested", "dict", "null"],
)
def test_every_spelling_of_names_is_understood(folder, names):
    info = json.loads((folder / "meta" / "info.json").read_text())
    info["features"]["action"]["names"] = names
    edit_info(folder, features=info["features"])
    wanted = ("a", "b", "c") if names else ("action[0]", "action[1]", "action[2]")
    assert load([folder]).action_names == wanted


def test_two_datasets_are_joined_and_must_agree(folder, tmp_path):
    assert len(load([folder, make(tmp_path / "b", seed=5)]).episodes) == 6
    with pytest.raises(DatasetError, match="action names differ"):
        load([folder, make(tmp_path / "c", action=2)])


def test_no_folder(tmp_path):
    assert "no such dataset folder" in problem(tmp_path / "nothing")


def test_not_a_dataset(tmp_path):
    (tmp_path / "photos").mkdir()
    assert "not a LeRobot dataset" in problem(tmp_path / "photos")


def test_version_3_says_convert(folder):
    edit_info(folder, codebase_version="v3.0")
    assert "v3.0" in problem(folder) and "convert" in problem(folder)


def test_a_missing_column_is_named_with_those_there(folder):
    info = json.loads((folder / "meta" / "info.json").read_text())
    info["features"]["action.left_arm"] = info["features"].pop("action")
    edit_info(folder, features=info["features"])
    assert "column action is missing (found: action.left_arm, observation.state)" in problem(folder)


def test_a_column_missing_in_a_file(folder):
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(parquet(folder, 1)).drop_columns(["action"]), parquet(folder, 1))
    assert "episode_000001.parquet: column action is missing" in problem(folder)


@pytest.mark.parametrize("kind", ["fixed", "list"])
def test_a_wrong_width(folder, kind):
    write_episode(folder, 2, np.zeros((40, 4)), np.zeros((40, 3)), kind=kind)
    assert "frames of 4 values, meta/info.json says 5" in problem(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_found(folder, value):
    state = np.zeros((40, 5))
    state[17, 3] = value
    write_episode(folder, 1, state, np.zeros((40, 3)))
    assert f"column observation.state is {value} in frame 17, value 3" in problem(folder)


def test_an_empty_frame(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [[0.0] * 5] * 39 + [None]
    table = pa.table({"observation.state": pa.array(rows, pa.list_(pa.float32())), "action": [[0.0] * 3] * 40})
    pq.write_table(table, parquet(folder, 0))
    assert "column observation.state has 1 empty frames" in problem(folder)


def test_words_instead_of_numbers(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"observation.state": ["a"] * 40, "action": ["b"] * 40}), parquet(folder, 0))
    assert "holds string, expected numbers" in problem(folder)


def test_a_length_that_differs(folder):
    write_episode(folder, 0, np.zeros((39, 5)), np.zeros((39, 3)))
    assert "episode 0 has 39 frames, meta/episodes.jsonl says 40" in problem(folder)


def test_a_missing_file(folder):
    parquet(folder, 2).unlink()
    assert "episode 2 has no file" in problem(folder)


def test_a_truncated_file(folder):
    parquet(folder, 0).write_bytes(parquet(folder, 0).read_bytes()[:200])
    assert "not readable as parquet" in problem(folder)


def test_a_git_lfs_pointer_says_download(folder):
    parquet(folder, 0).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git-lfs pointer" in problem(folder)


@pytest.mark.parametrize("text", ["", "\n\n", '{"episode_index": 0, "length": 0}\n'])
def test_no_episodes(folder, text):
    (folder / "meta" / "episodes.jsonl").write_text(text)
    assert "no episodes" in problem(folder)


def test_a_broken_line_of_episodes_is_named(folder):
    (folder / "meta" / "episodes.jsonl").write_text('{"episode_index": 0, "length": 40}\n{"episode_ind')
    assert "episodes.jsonl:2: not an episode" in problem(folder)


def test_no_episodes_file(folder):
    (folder / "meta" / "episodes.jsonl").unlink()
    assert "No such file" in problem(folder)


def test_garbage_info(folder):
    (folder / "meta" / "info.json").write_bytes(b"\xff\x00{")
    assert "not readable as JSON" in problem(folder)
