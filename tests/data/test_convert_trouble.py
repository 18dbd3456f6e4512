"""Conversions that meet trouble: broken input, a kill in the middle, values out of range, episodes in any order."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sets import copy_of
from sets_defects import DEFECTS

from dm_isaac_g1.core.errors import DmG1Error, Interrupted, UsageError
from dm_isaac_g1.core.events import Event, Progress
from dm_isaac_g1.data.convert import convert, convert_episode, convert_to_groot, convert_to_inspire, plan
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.output import DONE
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.work import Work

STATE = "observation.state"
EPISODE = "data/chunk-000/episode_{:06d}.parquet"


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def change(root: Path, column: str, frame: int, value: float, episode: int = 1) -> None:
    """Put `value` into the first place of a frame."""
    path = root / EPISODE.format(episode)
    table = pq.read_table(path)
    values = table[column].to_pylist()
    if isinstance(values[frame], list):
        values[frame][0] = value
    else:
        values[frame] = value
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, column, pa.array(values, table.schema.field(column).type)), path)


# --- Pure ------------------------------------------------------------------------------------------------------------


def _one(job: tuple[bytes, int, str]) -> None:
    pickled, number, out = job
    made = pickle.loads(pickled)
    convert_episode(made, made.jobs[number], Path(out))


def test_episodes_in_any_order_in_several_processes_twice_are_the_same_bytes(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "hospitality", video="h264", cameras=1, episodes=4)
    made = plan(Dataset.open(source), "inspire")
    for job in made.jobs:
        convert_episode(made, job, tmp_path / "straight")
    pickled = pickle.dumps(made)
    jobs = [(pickled, number, str(tmp_path / name)) for name in ("spread", "again") for number in (2, 0, 3, 1)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_one, jobs, chunksize=1)
    straight = digests(tmp_path / "straight")
    assert len(straight) == 8
    assert digests(tmp_path / "spread") == digests(tmp_path / "again") == straight


def test_a_plan_says_what_it_will_do_and_writes_nothing(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "inspire26")
    before = digests(source)
    lines = "\n".join(plan(Dataset.open(source), "inspire").lines())
    assert "3 episodes, 123 frames" in lines
    assert "left_leg: constant: not recorded in the source" in lines
    assert digests(tmp_path / "in") == before
    assert os.listdir(tmp_path) == ["in"]


def test_the_input_is_never_touched(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "hospitality", video="h264", cameras=1)
    before = digests(source)
    convert_to_groot(source, tmp_path / "out")
    assert digests(source) == before


# --- Broken input ----------------------------------------------------------------------------------------------------


#: Other ways of writing the same values, and what is written anew anyhow.
_HARMLESS = ("list_type", "f64", "no_splits", "partial_splits", "wrong_file_index")


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_no_defect_becomes_a_dataset_that_looks_whole(defect: str, tmp_path: Path) -> None:
    """Refused with a place; or, where it does not concern the values (`_HARMLESS`), exactly they come out."""
    options = {"video": "h264", "cameras": 1, "version": "3.0" if defect == "wrong_file_index" else "2.1"}
    source = copy_of(tmp_path / "in", "hospitality", defect=defect, **options)
    try:
        convert_to_groot(source, tmp_path / "out", stats=False)
    except DmG1Error as problem:
        assert problem.where
        assert not (tmp_path / "out").exists()
        return
    assert defect in _HARMLESS
    convert_to_groot(copy_of(tmp_path / "sound", "hospitality", **options), tmp_path / "right", stats=False)
    for number in range(3):
        old, new = (pq.read_table(tmp_path / name / EPISODE.format(number)) for name in ("right", "out"))
        assert old.equals(new)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_none_names_episode_frame_and_joint_and_the_episode_can_be_dropped(
    value: float, tmp_path: Path
) -> None:
    source = copy_of(tmp_path / "in")
    change(source, "observation.left_arm", 7, value)
    with pytest.raises(DataProblem) as caught:
        convert_to_groot(source, tmp_path / "out")
    place = caught.value.finding.place
    assert (place.episode, place.frame, place.joint) == (1, 7, "kLeftShoulderPitch")
    assert "--drop-episode 1" in str(caught.value.finding.fix)
    made = convert_to_groot(source, tmp_path / "new", drop_episodes=(1,))
    assert made.episodes == 2
    kept = pq.read_table(tmp_path / "new" / EPISODE.format(1))
    assert set(kept["episode_index"].to_pylist()) == {1}
    assert kept["index"].to_pylist() == list(range(40, 82))
    assert json.loads((tmp_path / "new/meta/conversion.json").read_text())["dropped_episodes"] == [1]


def test_times_that_jump_are_an_error_until_they_are_written_anew(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in")
    change(source, "timestamp", 7, 5.0)
    with pytest.raises(DataProblem) as caught:
        convert_to_groot(source, tmp_path / "out")
    assert "--retime" in str(caught.value.fix)
    convert_to_groot(source, tmp_path / "new", retime=True, stats=False)
    found = pq.read_table(tmp_path / "new" / EPISODE.format(1))["timestamp"].to_numpy()
    assert (found == (np.arange(41) / 30).astype(np.float32)).all()


def test_a_gap_in_the_numbers_is_an_error_until_they_are_given_anew(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in")
    listed = source / "meta" / "episodes.jsonl"
    lines = listed.read_text().splitlines(keepends=True)
    listed.write_text(lines[0] + lines[2])
    with pytest.raises(DataProblem) as caught:
        convert_to_groot(source, tmp_path / "out")
    assert caught.value.finding.code == "episode-gap"
    assert "--renumber" in str(caught.value.fix)
    made = convert_to_groot(source, tmp_path / "new", renumber=True, stats=False)
    assert made.episodes == 2
    assert set(pq.read_table(tmp_path / "new" / EPISODE.format(1))["episode_index"].to_pylist()) == {1}


# --- Ranges ----------------------------------------------------------------------------------------------------------


def test_a_hand_beyond_its_range_is_refused_unless_that_is_allowed(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "dex1")
    with pytest.raises(DataProblem) as caught:
        convert_to_inspire(source, tmp_path / "out", gripper_open=1.0)
    assert caught.value.finding.code == "clipped"
    assert "gripper" in str(caught.value.finding.place.joint)
    assert "--allow-clip" in str(caught.value.fix)
    made = convert_to_inspire(source, tmp_path / "new", gripper_open=1.0, allow_clip=True, stats=False)
    assert max(made.clipped.values()) > 0.2
    noted = json.loads((tmp_path / "new/meta/conversion.json").read_text())
    assert noted["clipped"] == made.clipped
    assert noted["parameters"]["allow_clip"] is True


def test_a_gripper_beyond_every_known_one_is_told_with_its_measured_range(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "dex1")
    path = source / EPISODE.format(1)
    table = pq.read_table(path)
    values = [[*row[:14], 9.5, *row[15:]] for row in table[STATE].to_pylist()[:1]] + table[STATE].to_pylist()[1:]
    place = table.schema.get_field_index(STATE)
    pq.write_table(table.set_column(place, STATE, pa.array(values, table.schema.field(STATE).type)), path)
    made = convert_to_inspire(source, tmp_path / "out", stats=False)
    told = [finding.what for finding in made.findings if finding.code == "gripper-range"]
    assert len(told) == 1
    assert "9.500" in told[0]


# --- Interrupted and resumed -----------------------------------------------------------------------------------------

#: Converts, and stops where episode 2 would begin.
_KILLED = """
import sys, time
from dm_isaac_g1.data.convert import convert_to_groot
from dm_isaac_g1.data.work import Work

def tell(event):
    if getattr(event, "done", None) == 2:
        print("two", flush=True)
        time.sleep(60)

convert_to_groot(sys.argv[1], sys.argv[2], work=Work(tell))
"""


def test_a_kill_in_the_middle_costs_one_episode(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "hospitality", video="h264", cameras=1)
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(source), str(tmp_path / "out")], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"two\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    assert not (tmp_path / "out").exists()
    first = tmp_path / "out.partial" / EPISODE.format(0)
    when = first.stat().st_mtime_ns
    made = convert_to_groot(source, tmp_path / "out")
    assert made.kept == 2
    assert (tmp_path / "out" / EPISODE.format(0)).stat().st_mtime_ns == when
    convert_to_groot(source, tmp_path / "straight")
    interrupted, straight = digests(tmp_path / "out"), digests(tmp_path / "straight")
    del interrupted["meta/dm_g1.json"], straight["meta/dm_g1.json"]  # says when
    assert interrupted == straight


def test_cancelling_stops_at_the_next_episode_and_the_same_call_goes_on(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in")

    def tell(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 1:
            work.cancel()

    work = Work(tell)
    with pytest.raises(Interrupted):
        convert_to_groot(source, tmp_path / "out", work=work)
    assert not (tmp_path / "out").exists()
    assert len((tmp_path / "out.partial" / DONE).read_text().splitlines()) >= 1
    assert convert_to_groot(source, tmp_path / "out", stats=False).kept >= 1


def test_other_options_do_not_take_up_what_was_begun(tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "dex1")
    change(source, STATE, 7, float("nan"), episode=2)
    with pytest.raises(DataProblem):
        convert_to_inspire(source, tmp_path / "out")
    assert (tmp_path / "out.partial").exists()
    # As the error proposes.
    made = convert_to_inspire(source, tmp_path / "out", grasp="power", drop_episodes=(2,), stats=False)
    assert (made.episodes, made.kept) == (2, 0)


@pytest.mark.parametrize(
    "options", [{"body": "flying"}, {"colour": "red"}, {"drop_episodes": (9,)}, {"hand": "claw"}, {"grasp": "soft"}]
)
def test_options_that_make_no_sense_are_said_before_anything_is_written(options, tmp_path: Path) -> None:
    source = copy_of(tmp_path / "in", "dex1")
    with pytest.raises((UsageError, DataProblem)):
        convert(source, tmp_path / "out", "inspire", **options)
    assert os.listdir(tmp_path) == ["in"]


def test_a_change_of_versions_takes_no_option_of_layouts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--retime"):
        convert(copy_of(tmp_path / "in", "dex1"), tmp_path / "out", "v3.0", retime=True)
