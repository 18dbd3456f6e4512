"""The seed dataset: LeRobot v2.1 through and through, and motions that a G1 can make."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from dm_isaac_g1.core import robot
from dm_isaac_g1.lab import seed
from dm_isaac_g1.lab.layout import Layout

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "g1_right_arm"
    seed.write(path)
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def columns(folder, episode):
    table = pq.ParquetFile(folder / "data" / "chunk-000" / f"episode_{episode:06d}.parquet").read()
    return {name: np.array(table.column(name).to_pylist()) for name in table.column_names}


def test_meta_and_data_agree(folder):
    info = json.loads((folder / "meta" / "info.json").read_text())
    episodes = lines(folder / "meta" / "episodes.jsonl")
    assert info["codebase_version"] == "v2.1" and info["fps"] == 30
    assert info["total_episodes"] == len(episodes) == 20
    assert info["total_frames"] == sum(e["length"] for e in episodes)
    assert min(e["length"] for e in episodes) >= 120 and max(e["length"] for e in episodes) <= 180
    index = 0
    for number, episode in enumerate(episodes):
        found = columns(folder, number)
        assert set(found) == set(info["features"])
        assert found["observation.state"].shape == (episode["length"], 31)
        assert found["action"].shape == (episode["length"], 23)
        assert np.allclose(np.diff(found["timestamp"]), 1 / 30, atol=1e-4)
        assert (found["index"] == np.arange(index, index + episode["length"])).all()
        assert (found["episode_index"] == number).all() and (found["task_index"] == 0).all()
        index += episode["length"]
    assert lines(folder / "meta" / "tasks.jsonl") == [{"task_index": 0, "task": seed.TASK}]


def test_statistics_are_those_of_the_data(folder):
    whole = np.concatenate([columns(folder, n)["action"] for n in range(20)])
    stats = json.loads((folder / "meta" / "stats.json").read_text())["action"]
    assert np.allclose(stats["mean"], whole.mean(0)) and np.allclose(stats["std"], whole.std(0))
    assert np.allclose(stats["q01"], np.quantile(whole, 0.01, axis=0))
    first = lines(folder / "meta" / "episodes_stats.jsonl")[0]["stats"]["observation.state"]
    assert np.allclose(first["max"], columns(folder, 0)["observation.state"].max(0))
    assert first["count"] == [len(columns(folder, 0)["index"])]


def test_every_joint_stays_within_its_limits(folder):
    names = json.loads((folder / "meta" / "info.json").read_text())["features"]["observation.state"]["names"]
    assert names == list(robot.STATE_31.names)
    states = np.concatenate([columns(folder, n)["observation.state"] for n in range(20)])
    for column, name in enumerate(names):
        if name in robot.JOINTS:
            joint = robot.JOINTS[name]
            assert joint.low <= states[:, column].min() and states[:, column].max() <= joint.high, name


def test_only_the_right_arm_and_hand_move(folder):
    states = columns(folder, 3)["observation.state"]
    moving = {name for name, spread in zip(robot.STATE_31.names, np.ptp(states, axis=0), strict=True) if spread > 1e-6}
    assert moving == {*robot.STATE_31["right_arm"].names, "right_gripper"}


def test_motions_are_smooth(folder):
    actions = columns(folder, 5)["action"][:, robot.ACTION_23["right_arm"].slice]
    speed = np.abs(np.diff(actions, axis=0)).max() * 30
    assert 0.1 < speed < 4.0  # rad/s: a reach, not a jump
    assert np.abs(np.diff(actions, n=2, axis=0)).max() * 900 < 12  # rad/s^2


def test_modality_names_the_slices(folder):
    modality = json.loads((folder / "meta" / "modality.json").read_text())
    assert modality["state"]["right_arm"] == {"start": 22, "end": 29}
    assert modality["action"]["right_arm"] == {"start": 7, "end": 14}


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    seed.write(tmp_path / "again")

    def digest(path):
        return hashlib.sha256((path / "data" / "chunk-000" / "episode_000007.parquet").read_bytes()).hexdigest()

    assert digest(tmp_path / "again") == digest(folder)


def test_without_pyarrow_the_lab_comes_up_and_says_what_to_install(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(seed.SeedError, match=r"pip install 'dm-isaac-g1\[train\]'"):
        seed.write(tmp_path / "x")
    notes = seed.ensure(Layout(tmp_path), "workstation")
    assert "pyarrow" in notes[0] and not (tmp_path / "workstation").exists()
