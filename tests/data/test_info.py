"""meta/info.json: every spelling is read, nothing in it is believed, and what we write is what lerobot writes."""

from __future__ import annotations

import json

import pytest
from sets import make

from dm_isaac_g1.data.info import (
    VIDEO_V2,
    data_file,
    data_file_v3,
    flat_names,
    info_of,
    new_info,
    parse_info,
    read_info,
    video_file,
    video_file_v3,
)
from dm_isaac_g1.data.problems import DataProblem, IntegrityError, SchemaError

FEATURES = {"observation.state": {"dtype": "float32", "shape": [2], "names": ["a", "b"]}}


def raw(**changes):
    made = new_info(version="2.1", robot_type="G1", fps=30, features=FEATURES, episodes=3, frames=90, tasks=1)
    return {key: value for key, value in (made | changes).items() if value is not ...}


def refusal(**changes) -> DataProblem:
    with pytest.raises(DataProblem) as caught:
        info_of(raw(**changes))
    return caught.value


@pytest.mark.parametrize(
    ("spelling", "read"),
    [
        (["a", "b"], ("a", "b")),
        ([["a", "b"]], ("a", "b")),
        ([["a"], ["b"]], ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"motors": [["a", "b"]]}, ("a", "b")),
        ({"b": 1, "a": 0}, ("a", "b")),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_every_spelling_of_names_is_understood(spelling, read):
    assert flat_names(spelling) == read


def test_values_without_a_name_each_are_called_by_their_place():
    names = {"observation.state": FEATURES["observation.state"] | {"names": ["only one"]}}
    feature = info_of(raw(features=names)).features["observation.state"]
    assert feature.labels("observation.state") == ("observation.state[0]", "observation.state[1]")


@pytest.mark.parametrize("version", ["2.0", "2.1", "3.0"])
def test_what_we_write_is_what_a_generator_of_lerobots_layout_writes(tmp_path, version):
    written = json.loads((make(tmp_path, "dex3", version=version) / "meta/info.json").read_text())
    features = {k: v for k, v in written["features"].items() if k in ("observation.state", "action")}
    made = new_info(
        version=version, robot_type=written["robot_type"], fps=30, features=features, episodes=3, frames=123, tasks=1
    )
    assert made == written


def test_the_file_is_kept_as_it_stood(tmp_path):
    root = make(tmp_path, "dex3")
    assert read_info(root).raw == json.loads((root / "meta/info.json").read_text())


def test_an_info_json_without_totals_does_not_get_any():
    info = info_of(raw(total_episodes=..., total_frames=..., total_tasks=...))
    assert (info.total_episodes, info.total_frames, info.total_tasks) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"features": ...}, "no-features"),
        ({"features": {}}, "no-features"),
        ({"codebase_version": "v1.6"}, "unknown-version"),
        ({"codebase_version": ...}, "unknown-version"),
        ({"fps": 0}, "bad-fps"),
        ({"fps": "30"}, "bad-fps"),
        ({"fps": True}, "bad-fps"),
        ({"chunks_size": 0}, "bad-count"),
        ({"total_frames": -1}, "bad-count"),
        ({"total_episodes": "3"}, "bad-count"),
        ({"features": {"task": {"dtype": "string"}}}, "feature-without-shape"),
        ({"features": {"x": {"shape": [1]}}}, "bad-feature"),
        ({"features": {"x": {"dtype": "float32", "shape": [10**12]}}}, "bad-shape"),
        ({"features": {"x": {"dtype": "float32", "shape": [-1]}}}, "bad-shape"),
        ({"data_path": 7}, "bad-path"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(changes, code):
    problem = refusal(**changes)
    assert problem.finding.code == code and problem.finding.place.file == "meta/info.json"


@pytest.mark.parametrize("text", ["", "{", "\x00", '{"fps": NaN}', "[" * 100_000, b"\xff\xfe"])
def test_garbage_is_one_clear_error(text):
    with pytest.raises(DataProblem) as caught:
        parse_info(text, where="there")
    assert caught.value.where == "there"


@pytest.mark.parametrize(
    "template",
    [
        "../{episode_index}.parquet",
        "/etc/passwd",
        "data/../../{episode_index}.parquet",
        "data//x.parquet",
        "data\\..\\x.parquet",
        "data/\n.parquet",
        "{episode_chunk.__class__}",
        "{episode_index:999999999d}",
        "{episode_index!r}",
        "{0}",
        "{video_key}",
        "x" * 2000,
    ],
)
def test_a_path_never_leads_out_of_the_dataset(template):
    with pytest.raises(SchemaError) as caught:
        data_file(info_of(raw(data_path=template)), 3)
    assert caught.value.finding.code in ("path-leaves-dataset", "bad-path")


@pytest.mark.parametrize("key", ["../../x", "a/b", "/etc", "..", "", "a\\b", "a\nb", "a\x1b[2J", "x" * 300])
@pytest.mark.parametrize("template", [VIDEO_V2, "videos/{episode_index}.mp4"])
def test_a_camera_named_to_lead_out_of_a_dataset_is_refused(key, template):
    camera = {"dtype": "video", "shape": [4, 4, 3], "names": None}
    assert refusal(features={key: camera}, video_path=template).finding.code == "bad-feature-name"


def test_files_are_found_by_chunk_and_number():
    info = info_of(raw(chunks_size=10))
    assert data_file(info, 23) == "data/chunk-002/episode_000023.parquet"
    assert video_file(info, "observation.images.ego", 7) == "videos/chunk-000/observation.images.ego/episode_000007.mp4"
    v3 = info_of(raw(codebase_version="v3.0", data_path=...))
    assert data_file_v3(v3, 0, 12) == "data/chunk-000/file-012.parquet"
    assert video_file_v3(v3, "cam", 1, 2).endswith(".mp4")


def test_no_folder_and_no_dataset_are_told_apart(tmp_path):
    with pytest.raises(IntegrityError, match="no such dataset folder"):
        read_info(tmp_path / "nothing")
    with pytest.raises(IntegrityError, match="not a LeRobot dataset"):
        read_info(tmp_path)


def test_an_info_json_that_was_not_downloaded_says_so(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(IntegrityError, match="git-lfs pointer"):
        read_info(tmp_path)
