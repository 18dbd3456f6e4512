"""Combining datasets: no instruction lost, every index right, and what does not go together stays apart."""

from __future__ import annotations

import errno
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of

from dm_isaac_g1.core.errors import Interrupted, UsageError
from dm_isaac_g1.data.choosing import chosen
from dm_isaac_g1.data.combine import combine
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.problems import DataProblem, SchemaError
from dm_isaac_g1.data.work import Work


def info(root, **changes):
    path = root / "meta/info.json"
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(value))
    return value


def column(dataset, name, number):
    return dataset.read(number).column(name).to_pylist()


def instructions(root):
    """Of every row, as a reader finds it: task_index looked up in the tasks."""
    dataset = Dataset.open(root)
    return [dataset.tasks[i] for e in dataset.episodes for i in column(dataset, "task_index", e.index)]


@pytest.fixture
def three(tmp_path):
    """Of three versions, with tasks that overlap and numbers of tasks that mean different things in each."""
    video = {"video": "h264", "cameras": 1}
    return [
        copy_of(tmp_path / "a", "dex3", tasks=("Fold.", "Put."), **video),
        copy_of(tmp_path / "b", "dex3", tasks=("Put.", "Pour."), version="3.0", seed=1, **video),
        copy_of(tmp_path / "c", "dex3", tasks=("Wipe.",), version="2.0", seed=2, **video),
    ]


def test_every_row_keeps_its_instruction(three, tmp_path):
    combine(three, tmp_path / "out")
    assert instructions(tmp_path / "out") == [task for root in three for task in instructions(root)]
    assert Dataset.open(tmp_path / "out").tasks == {0: "Fold.", 1: "Put.", 2: "Pour.", 3: "Wipe."}


def test_every_index_is_written_anew(three, tmp_path):
    result = combine(three, tmp_path / "out")
    assert (result.episodes, result.frames, result.tasks) == (9, 369, 4)
    out = Dataset.open(tmp_path / "out")
    assert (out.info.total_episodes, out.info.total_frames, out.info.total_tasks) == (9, 369, 4)
    assert out.info.splits == {"train": "0:9"}
    for e in out.episodes:
        assert column(out, "episode_index", e.index) == [e.index] * e.length
        assert column(out, "index", e.index) == list(range(e.start, e.start + e.length))
        assert column(out, "frame_index", e.index) == list(range(e.length))
        stats = json.loads((tmp_path / "out/meta/episodes_stats.jsonl").read_text().splitlines()[e.index])
        assert stats["episode_index"] == e.index and stats["stats"]["episode_index"]["max"] == [e.index]


def test_nothing_else_of_the_numbers_changes(three, tmp_path):
    combine(three, tmp_path / "out")
    out, number = Dataset.open(tmp_path / "out"), 0
    for root in three:
        source = Dataset.open(root)
        for e in source.episodes:
            for name in ("observation.state", "action", "timestamp"):
                assert column(out, name, number) == column(source, name, e.index)
            number += 1


def test_statistics_are_those_of_the_rows_that_are_there(three, tmp_path):
    combine(three, tmp_path / "out")
    out = Dataset.open(tmp_path / "out")
    for row in map(json.loads, (tmp_path / "out/meta/episodes_stats.jsonl").read_text().splitlines()):
        values = np.array(column(out, "action", row["episode_index"]))
        assert np.allclose(row["stats"]["action"]["mean"], values.mean(0)) and row["stats"]["action"]["count"] == [
            len(values)
        ]
    state = np.concatenate([np.array(column(out, "observation.state", e.index)) for e in out.episodes])
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())["observation.state"]
    assert np.allclose(stats["mean"], state.mean(0)) and np.allclose(stats["q99"], np.quantile(state, 0.99, axis=0))


def test_videos_are_linked_and_those_that_were_shared_are_cut(three, tmp_path):
    from dm_isaac_g1.data.video import count_packets

    assert combine(three, tmp_path / "out").videos == {"linked": 7, "remuxed": 2}
    out = Dataset.open(tmp_path / "out")
    for e in out.episodes:
        assert count_packets(out.path_of(e.videos[out.cameras[0]].file)).frames == e.length


def test_the_inputs_are_not_touched(three, tmp_path):
    before = {p: p.read_bytes() for root in three for p in root.rglob("*") if p.is_file()}
    combine(three, tmp_path / "out")
    assert {p: p.read_bytes() for root in three for p in root.rglob("*") if p.is_file()} == before


def test_it_is_noted_where_every_episode_came_from(three, tmp_path):
    combine(three, tmp_path / "out", episodes=["0:3", "1", "0,2"])
    sources = json.loads((tmp_path / "out/meta/combined.json").read_text())["sources"]
    assert [(s["name"], s["episodes"], s["original_episodes"]) for s in sources] == [
        ("a", "0:3", [0, 1, 2]),
        ("b", "3:4", [1]),
        ("c", "4:6", [0, 2]),
    ]
    assert [s["frames"] for s in sources] == [123, 41, 82]


def test_of_chosen_episodes_only_their_own_tasks_come_along(three, tmp_path):
    combine(three[:2], tmp_path / "out", episodes=["1", "1"])
    assert Dataset.open(tmp_path / "out").tasks == {0: "Put.", 1: "Pour."}
    assert set(instructions(tmp_path / "out")) == {"Put.", "Pour."}


def test_annotations_that_groot_looks_up_among_the_tasks_are_renumbered_too(tmp_path):
    roots = [copy_of(tmp_path / n, "dex3", tasks=(n, "both")) for n in ("b", "a")]
    for root in roots:
        features = info(root)["features"]
        features["annotation.human.note"] = {"dtype": "int64", "shape": [1], "names": None}
        info(root, features=features)
        for path in root.glob("data/*/*.parquet"):
            table = pq.read_table(path)
            pq.write_table(table.append_column("annotation.human.note", pa.array([1] * len(table))), path)
    combine(roots, tmp_path / "out")
    out = Dataset.open(tmp_path / "out")
    noted = {out.tasks[i] for e in out.episodes for i in column(out, "annotation.human.note", e.index)}
    assert noted == {"both"}


# --- Weights and episodes --------------------------------------------------------------------------------------------


def test_weights_are_noted_and_change_no_frame(three, tmp_path):
    told = []
    result = combine(three, tmp_path / "out", weights=[1, 1, 2], work=Work(told.append))
    assert result.frames == 369
    assert [finding.code for finding in result.findings] == ["weights-noted"]
    assert any("draw from all frames" in event.text for event in told)
    sources = json.loads((tmp_path / "out/meta/combined.json").read_text())["sources"]
    assert [s["share"] for s in sources] == [0.25, 0.25, 0.5]
    assert sum(s["frame_weight"] * s["frames"] for s in sources) == pytest.approx(369)


@pytest.mark.parametrize("weights", [[1, 2], [1, 2, 0], [1, 1, -1], [1, 1, float("nan")], [1, 1, float("inf")]])
def test_weights_that_make_no_sense_are_refused(three, tmp_path, weights):
    with pytest.raises(UsageError):
        combine(three, tmp_path / "out", weights=weights)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "numbers"), [("0:3", [0, 1, 2]), ("5", [5]), ("0:2,5", [0, 1, 5]), (" 1 : 2 , 1", [1]), ("3:6", [5])]
)
def test_episodes_are_chosen_as_lerobot_writes_splits(text, numbers):
    assert chosen(text, [0, 1, 2, 5]) == numbers


@pytest.mark.parametrize(
    "text", ["", "x", "1:", ":3", "2:2", "3:1", "0:7", "4", "-1", "0:99999999999999999999", "1,,2"]
)
def test_a_choice_that_makes_no_sense_is_refused(text):
    with pytest.raises(UsageError):
        chosen(text, [0, 1, 2, 5])


def test_no_dataset_and_one_twice_are_refused(three, tmp_path):
    with pytest.raises(UsageError, match="no dataset"):
        combine([], tmp_path / "out")
    (tmp_path / "link").symlink_to(three[0])
    with pytest.raises(UsageError, match="named twice"):
        combine([three[0], tmp_path / "link"], tmp_path / "out")
    with pytest.raises(UsageError, match="2 episodes for 3 datasets"):
        combine(three, tmp_path / "out", episodes=["0", "1"])


# --- What does not go together ---------------------------------------------------------------------------------------


def incompatible(tmp_path, change, match, family="dex3", **options):
    first = copy_of(tmp_path / "a", family, **options)
    other = copy_of(tmp_path / "b", family, **{**options, "seed": 1})
    change(other)
    with pytest.raises(SchemaError, match=match) as caught:
        combine([first, other], tmp_path / "out")
    assert str(other) in caught.value.line() and not (tmp_path / "out").exists()


def in_feature(name, key, change):
    def done(root):
        features = info(root)["features"]
        features[name][key] = change(features[name][key])
        info(root, features=features)

    return done


def test_another_fps_is_refused(tmp_path):
    incompatible(tmp_path, lambda root: info(root, fps=50), "fps is 50, not 30")


def test_another_robot_is_refused(tmp_path):
    incompatible(tmp_path, lambda root: info(root, robot_type="H1"), "robot_type is 'H1', not 'Unitree_G1_Dex3'")


def test_another_width_is_refused(tmp_path):
    incompatible(tmp_path, in_feature("action", "shape", lambda _: [27]), r"action has shape \[27\], not \[28\]")


def test_another_order_of_the_joints_is_refused(tmp_path):
    change = in_feature("action", "names", lambda names: [names[0][::-1]])
    incompatible(tmp_path, change, "action has its values in another order")


def test_another_name_is_refused(tmp_path):
    change = in_feature("action", "names", lambda names: [["kX", *names[0][1:]]])
    incompatible(tmp_path, change, "action has kX where the other has kLeftShoulderPitch")


def test_names_in_one_of_them_only_are_refused(tmp_path):
    incompatible(tmp_path, in_feature("action", "names", lambda _: None), "names in one of them only")


def test_another_picture_size_is_refused(tmp_path):
    change = in_feature("observation.images.cam_left_high", "shape", lambda _: [480, 640, 3])
    incompatible(
        tmp_path, change, r"cam_left_high has shape \[480, 640, 3\], not \[48, 64, 3\]", video="h264", cameras=1
    )


def test_other_columns_and_cameras_are_refused_all_at_once(tmp_path):
    def change(root):
        features = info(root)["features"]
        features["reward"] = {"dtype": "float32", "shape": [1], "names": None}
        del features["observation.images.cam_left_high"], features["action"]
        info(root, features=features)

    everything = "column action is missing; column reward is not in the other; camera .* is missing"
    incompatible(tmp_path, change, everything, video="h264", cameras=1)


def test_another_modality_json_is_refused(tmp_path):
    def change(root):
        path = root / "meta/modality.json"
        modality = json.loads(path.read_text())
        modality["action"]["waist"]["end"] -= 1
        path.write_text(json.dumps(modality))

    incompatible(tmp_path, change, "modality.json differs in action.waist", family="groot")


def test_a_missing_modality_json_is_refused(tmp_path):
    change = lambda root: (root / "meta/modality.json").unlink()  # noqa: E731
    incompatible(tmp_path, change, "modality.json is missing", family="groot")


def test_modality_json_and_both_statistics_of_groot_are_there_afterwards(tmp_path):
    roots = [copy_of(tmp_path / n, "groot", seed=i) for i, n in enumerate("ab")]
    (roots[0] / "meta/relative_stats.json").write_text("{}")
    combine(roots, tmp_path / "out")
    meta = tmp_path / "out/meta"
    assert json.loads((meta / "modality.json").read_text()) == json.loads((roots[0] / "meta/modality.json").read_text())
    assert set(json.loads((meta / "stats.json").read_text())) == {"observation.state", "action", "timestamp"}
    assert set(json.loads((meta / "relative_stats.json").read_text())) == {"left_arm", "right_arm"}


def test_names_that_are_only_nested_otherwise_go_together(tmp_path):
    roots = [copy_of(tmp_path / n, "dex3") for n in "ab"]
    in_feature("action", "names", lambda names: {"motors": names[0]})(roots[1])
    assert combine(roots, tmp_path / "out").episodes == 6


def test_float32_and_float64_become_float32_and_it_is_said(tmp_path):
    roots = [copy_of(tmp_path / n, "dex3") for n in "ab"]
    in_feature("action", "dtype", lambda _: "float64")(roots[0])
    told = []
    combine(roots, tmp_path / "out", work=Work(told.append))
    out = Dataset.open(tmp_path / "out")
    assert out.info.features["action"].dtype == "float32"
    assert {str(out.read(e.index).schema.field("action").type.value_type) for e in out.episodes} == {"float"}
    assert any("float32 in the output" in event.text for event in told)


# --- Bad input -------------------------------------------------------------------------------------------------------

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
def test_nothing_wrong_is_combined(tmp_path, defect):
    video = {"video": "h264", "cameras": 1}
    good = copy_of(tmp_path / "good", "dex3", **video)
    bad = copy_of(tmp_path / "bad", "dex3", **video, defect=defect)
    with pytest.raises(DataProblem) as caught:
        combine([good, bad], tmp_path / "out")
    assert caught.value.finding.code == DEFECTS[defect] and str(bad) in caught.value.line()
    assert not (tmp_path / "out").exists()


def test_a_task_that_an_episode_does_not_list_is_not_lost_silently(tmp_path):
    root = copy_of(tmp_path / "a", "dex3", tasks=("Fold.", "Put."))
    path = root / "meta/episodes.jsonl"
    path.write_text(path.read_text().replace("Put.", "Fold."))
    with pytest.raises(DataProblem, match="list of episodes says 'Fold") as caught:
        combine([root], tmp_path / "out", episodes="1")
    assert caught.value.finding.place.episode == 1


def test_one_dataset_with_gaps_and_wrong_numbers_gets_right_ones(tmp_path):
    """What an earlier merge left: episodes 0 and 2 of 3, whose rows all say episode 0 and index 0."""
    root = copy_of(tmp_path / "a", "dex3")
    kept = [
        line for line in (root / "meta/episodes.jsonl").read_text().splitlines() if '"episode_index": 1' not in line
    ]
    (root / "meta/episodes.jsonl").write_text("\n".join(kept))
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        for name in ("episode_index", "index"):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, pa.array(np.zeros(len(table), np.int64)))
        pq.write_table(table, path)
    combine([root], tmp_path / "out")
    out = Dataset.open(tmp_path / "out")
    assert [(e.index, e.length) for e in out.episodes] == [(0, 40), (1, 42)]
    assert column(out, "index", 1) == list(range(40, 82)) and set(column(out, "episode_index", 1)) == {1}


def test_an_interrupted_combination_goes_on_where_it_ended(three, tmp_path, monkeypatch):
    # Told of the fourth: it ends where it looks up next, with the fifth stored.
    work = Work(lambda event: work.cancel() if getattr(event, "done", None) == 4 else None)
    with pytest.raises(Interrupted):
        combine(three, tmp_path / "out", work=work)
    assert not (tmp_path / "out").exists() and (tmp_path / "out.partial").is_dir()
    read = []
    real = Dataset.read
    monkeypatch.setattr(
        Dataset, "read", lambda self, n, *more: read.append((self.root.name, n)) or real(self, n, *more)
    )
    monkeypatch.setattr("dm_isaac_g1.data.combine.recompute_stats", lambda *_: None)
    combine(three, tmp_path / "out")
    assert read == [("b", 2), ("c", 0), ("c", 1), ("c", 2)]
    assert instructions(tmp_path / "out") == [task for root in three for task in instructions(root)]
    assert not (tmp_path / "out.partial").exists()


def test_a_full_disk_leaves_nothing_under_the_name_and_the_same_command_goes_on(three, tmp_path, monkeypatch):
    import dm_isaac_g1.data.storing as storing

    real, written = storing.write_parquet, []

    def full(path, *more):
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        real(path, *more)

    monkeypatch.setattr(storing, "write_parquet", full)
    with pytest.raises(DataProblem) as caught:
        combine(three, tmp_path / "out")
    assert caught.value.finding.code == "disk-full" and "episode_000004.parquet" in caught.value.line()
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(storing, "write_parquet", real)
    assert combine(three, tmp_path / "out").episodes == 9
    assert instructions(tmp_path / "out") == [task for root in three for task in instructions(root)]
