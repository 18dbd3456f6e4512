"""Rotation as transformers does it, what can be resumed or served, and sizes learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.core.runs import Checkpoint
from dm_isaac_g1.finetuning.checkpoints import (
    broken,
    counted,
    deleted_next,
    in_rotation_order,
    learned,
    quarantined_path,
    resumable,
    resumes_from,
    servable,
)


def at(step: int, name: str | None = None, **more: Any) -> Checkpoint:
    fields: dict[str, Any] = {"size": 100, "complete": True, "mtime": float(step), "weights": 40, "inodes": 9} | more
    return Checkpoint(path=f"/w/run/{name or f'checkpoint-{step}'}", step=step, **fields)


BEST = at(40, "checkpoint-40-best-loss", best=True)
STAGED = at(50, "tmp-checkpoint-50", complete=False)
SET_ASIDE = at(30, "broken-checkpoint-30", complete=False)


def test_best_and_broken_folders_count_staged_and_set_aside_ones_do_not() -> None:
    assert counted(BEST) and counted(at(60, complete=False))
    assert not counted(STAGED) and not counted(SET_ASIDE)


def test_the_oldest_goes_after_the_next_save() -> None:
    there = [at(40), at(20), at(30)]
    assert [c.step for c in deleted_next(there, 3)] == [20]
    assert [c.step for c in deleted_next(there, 1)] == [20, 30, 40]
    assert deleted_next(there, 5) == []
    assert deleted_next(there, None) == deleted_next(there, 0) == []


def test_numbers_are_compared_as_numbers() -> None:
    assert [c.step for c in in_rotation_order([at(1000), at(200), at(90)])] == [90, 200, 1000]


def test_transformers_5_goes_by_mtime() -> None:
    there = [at(10, mtime=9.0), at(20, mtime=1.0)]
    assert [c.step for c in deleted_next(there, 2)] == [10]
    assert [c.step for c in deleted_next(there, 2, "mtime")] == [20]


names = st.sampled_from(["checkpoint-{}", "checkpoint-{}-best-x", "tmp-checkpoint-{}", "broken-checkpoint-{}"])


@pytest.mark.train
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(names, st.integers(1, 1200), st.integers(1, 9)), max_size=6, unique_by=lambda n: n[:2]),
    st.data(),
)
def test_rotation_is_transformers_own(
    tmp_path_factory: pytest.TempPathFactory, there: list[Any], data: st.DataObject
) -> None:
    """The real `rotate_checkpoints` on real folders deletes just what is said."""
    import os

    utils = pytest.importorskip("transformers.trainer_utils", reason="needs the train extra")
    limit = data.draw(st.one_of(st.none(), st.integers(0, 4)))
    order = data.draw(st.sampled_from(["step", "mtime"]))
    folder = tmp_path_factory.mktemp("run")
    new = at(2000)
    found = []
    for number, (pattern, step, _) in enumerate(there):
        path = folder / pattern.format(step)
        path.mkdir()
        os.utime(path, (1000 + 10 * number, 1000 + 10 * number))
        found.append(Checkpoint(path=str(path), step=step, size=1, complete=True, mtime=1000.0 + 10 * number))
    (folder / new.name).mkdir()
    utils.rotate_checkpoints(str(folder), save_total_limit=limit, use_mtime=order == "mtime")
    gone = {c.path for c in found if not Path(c.path).exists()}
    assert gone == {c.path for c in deleted_next(found, limit, order)}


def test_what_can_be_resumed_and_served() -> None:
    assert resumable(at(10)) and servable(at(10))
    assert not resumable(at(10, full=False)) and servable(at(10, full=False))
    assert not resumable(BEST) and servable(BEST)
    assert not resumable(at(10, complete=False)) and not servable(at(10, complete=False))
    assert not resumable(at(10, writing=True)) and not servable(at(10, writing=True))


def test_the_trainer_resumes_from_the_highest_number_even_where_it_is_broken() -> None:
    found = resumes_from([at(10), at(30, complete=False), at(20), BEST, SET_ASIDE])
    assert found is not None and found.step == 30
    assert resumes_from([BEST]) is None


def test_broken_folders_are_not_those_that_are_being_written() -> None:
    bad, busy = at(10, complete=False), at(30, complete=False, writing=True)
    assert broken([bad, at(20), busy]) == [bad]
    last = at(40, complete=False)
    assert broken([bad, last]) == [bad, last]
    assert broken([bad, last], running=True) == [bad]
    assert quarantined_path(bad) == "/w/run/broken-checkpoint-10"


def test_sizes_come_from_the_last_three_complete_ones() -> None:
    found = learned([at(10, size=900), at(20, size=100), at(30, size=100), at(40, size=100)])
    assert found is not None and (found.checkpoint, found.weights, found.inodes) == (100, 40, 9)
    others = [at(50, size=5, complete=False), at(60, size=7, writing=True), at(70, size=9, full=False), BEST, STAGED]
    assert learned([at(40, size=100), *others]) == learned([at(40, size=100)])
    assert learned(others) is None


def test_weights_that_are_not_known_count_whole() -> None:
    found = learned([at(10, weights=0)])
    assert found is not None and found.weights == 100
