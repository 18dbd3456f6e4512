"""The disk guard: the hold-out cases, by their names, and what must hold for every disk and every run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.core.forecasts import Forecast, Verdict
from dm_isaac_g1.core.runs import Checkpoint, SavePlan
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.guard import disk_of, forecast, reserve_of
from dm_isaac_g1.finetuning.timeline import Writer, timeline

GB = 1_000_000_000
MINUTE = 60.0
ORDER = [Verdict.FIT, Verdict.TIGHT, Verdict.UNKNOWN, Verdict.FAIL]


def disk(avail: float, total: float = 2000 * GB, **more: Any) -> Disk:
    return Disk(dev=1, mount="/workspace", total=int(total), avail=int(avail), **more)


def plan(size: float | None = 22 * GB, **more: Any) -> SavePlan:
    fields: dict[str, Any] = {"save_steps": 1000, "max_steps": 10_000, "limit": 2, "weights_bytes": int(9.2 * GB)}
    fields |= more
    return SavePlan(checkpoint_bytes=None if size is None else int(size), **fields)


def writer(run: str = "a", the_plan: SavePlan | None = None, **more: Any) -> Writer:
    return Writer(run=run, plan=the_plan or plan(), **({"rate": 1000 / (28.5 * MINUTE), "growth": 0.0} | more))


def saved(step: int, size: float = 22 * GB, **more: Any) -> Checkpoint:
    name = more.pop("name", f"checkpoint-{step}")
    fields: dict[str, Any] = {"complete": True, "mtime": float(step), "weights": int(9.2 * GB), "inodes": 20}
    return Checkpoint(path=f"/workspace/run/{name}", step=step, size=int(size), **(fields | more))


def failing(word: Forecast) -> tuple[str, int] | None:
    return (word.failing.kind, word.failing.step) if word.failing else None


def test_h1_seventy_gigabytes_fit_for_ever_and_sixty_five_fail_at_the_third_save() -> None:
    """22 GB every 28.5 minutes, two kept: on a line through the free space both look alike."""
    assert forecast(disk(70 * GB), [writer()], reserve=0).verdict is Verdict.FIT
    word = forecast(disk(65 * GB), [writer()], reserve=0)
    assert (word.verdict, failing(word)) == (Verdict.FAIL, ("checkpoint", 3000))
    assert word.missing == 1 * GB
    assert word.failing is not None and word.failing.eta == pytest.approx(3 * 28.5 * MINUTE + 2 * 220)
    assert forecast(disk(66 * GB), [writer()], reserve=0).verdict is Verdict.FIT  # just enough is enough
    assert forecast(disk(70 * GB), [writer()]).verdict is Verdict.TIGHT  # less than the reserve stays


def test_h2_other_writers_fill_the_disk_between_two_saves() -> None:
    """A run died at step 6123 with saves at 6000 and 8000: not a save, others had filled the disk."""
    run = writer(the_plan=plan(save_steps=2000), step=6000, checkpoints=(saved(4000), saved(6000)), rate=1.0)
    free = 122 * 10_000_000  # 10 MB a second for 122 steps and a bit
    word = forecast(disk(free), [run], background=10e6, reserve=0)
    assert word.verdict is Verdict.FAIL
    assert word.full_in == pytest.approx(122)
    assert "other writers" in word.reason
    slow = forecast(disk(200 * GB), [run], background=10e6, reserve=0)
    assert slow.verdict is Verdict.FIT  # 4000 s at 10 MB/s are 40 GB, a save needs 22 more
    assert forecast(disk(61 * GB), [run], background=10e6, reserve=0).verdict is Verdict.FAIL


def test_h3_two_runs_on_one_disk_may_save_at_the_same_time() -> None:
    steady = tuple(saved(s) for s in (1000, 2000))
    one = writer("a", step=2000, checkpoints=steady)
    two = writer("b", step=2000, checkpoints=steady)
    assert forecast(disk(40 * GB), [one], reserve=0).verdict is Verdict.FIT
    both = forecast(disk(40 * GB), [one, two], reserve=0)
    assert both.verdict is Verdict.FAIL and both.missing == 4 * GB
    assert forecast(disk(44 * GB), [one, two], reserve=0).verdict is Verdict.FIT
    unknown_speed = writer("b", step=2000, checkpoints=steady, rate=None)
    assert forecast(disk(40 * GB), [one, unknown_speed], reserve=0).verdict is Verdict.FAIL


def test_h3_a_run_that_saves_much_later_is_not_in_the_way_of_the_next_save() -> None:
    near = writer(
        "a", the_plan=plan(max_steps=3000, final_save=False), step=2990, checkpoints=(saved(1000), saved(2000))
    )
    far = writer("b", step=2001, checkpoints=(saved(1000), saved(2000)))
    word = forecast(disk(30 * GB), [near, far], reserve=0)
    assert word.verdict is Verdict.FIT


@pytest.mark.parametrize("limit", [None, 0])
def test_h4_without_a_limit_every_save_adds_up(limit: int | None) -> None:
    run = writer(the_plan=plan(limit=limit, save_steps=2000))
    word = forecast(disk(70 * GB), [run], reserve=0)
    assert failing(word) == ("checkpoint", 8000)
    assert forecast(disk(5 * 22 * GB + 9.2 * GB), [run], reserve=0).verdict is Verdict.FIT
    assert failing(forecast(disk(5 * 22 * GB + 9 * GB), [run], reserve=0)) == ("final", 10_000)


def test_h5_best_folders_count_in_rotation_and_take_space() -> None:
    there = (saved(1000, 9 * GB, name="checkpoint-1000-best-loss", best=True), saved(2000), saved(3000))
    run = writer(step=3000, checkpoints=there, the_plan=plan(limit=3))
    # The next rotation deletes the best folder of 9 GB, not a checkpoint of 22 GB.
    word = forecast(disk(22 * GB), [run], reserve=0)
    assert word.saves[0].free_after == 9 * GB
    assert failing(word) == ("checkpoint", 5000)
    with_best = writer(step=3000, checkpoints=there, the_plan=plan(limit=3, best_saves=True))
    word = forecast(disk(30 * GB), [with_best], reserve=0)
    assert failing(word) == ("checkpoint", 4000)  # 22 GB and 9.2 GB for a new best


def test_h6_an_incomplete_last_folder_counts_and_is_not_learned_from() -> None:
    there = (saved(1000), saved(2000, 3 * GB, complete=False, weights=0))
    run = writer(step=2000, checkpoints=there, the_plan=plan(None))
    word = forecast(disk(100 * GB), [run], reserve=0)
    # The broken folder is deleted second, and gives back no more than it has.
    assert word.saves[0].free_at_peak == 78 * GB  # step 2000 again, written over the broken one
    assert word.saves[0].step == 2000
    assert word.saves[0].free_after == 81 * GB


def test_h6_a_broken_folder_is_what_the_next_resume_takes_and_rotation_keeps() -> None:
    there = (saved(1000), saved(2000), saved(2500, 3 * GB, complete=False))
    run = writer(step=2000, checkpoints=there, the_plan=plan(limit=2))
    word = forecast(disk(22 * GB), [run], reserve=0)
    assert word.saves[0].step == 3000
    # Three there and one new: two go, the oldest ones, of full size.
    assert word.saves[0].free_after == 44 * GB
    # What is left are the broken folder and the new one; the next rotation frees 3 GB only.
    assert word.saves[1].free_after == (44 - 22 + 3) * GB


def test_h7_a_staged_folder_holds_space_and_is_not_counted() -> None:
    stale = saved(1500, 10 * GB, name="tmp-checkpoint-1500", complete=False)
    run = writer(step=2000, checkpoints=(saved(1000), saved(2000), stale))
    word = forecast(disk(22 * GB), [run], reserve=0)
    assert word.verdict is Verdict.FIT
    assert all(s.free_after == 22 * GB for s in word.saves if s.kind == "checkpoint")  # no rotation takes it away
    staging = saved(3000, 10 * GB, name="tmp-checkpoint-3000", complete=False, writing=True)
    run = writer(step=3000, checkpoints=(saved(1000), saved(2000), staging))
    first = forecast(disk(12 * GB), [run], reserve=0).saves[0]
    assert (first.step, first.free_at_peak, first.free_after) == (3000, 0, 22 * GB)


def test_h8_the_last_step_is_saved_though_save_steps_does_not_divide_it() -> None:
    run = writer(the_plan=plan(max_steps=2500, limit=5))
    word = forecast(disk(1000 * GB), [run], reserve=0)
    assert [(s.kind, s.step) for s in word.saves] == [
        ("checkpoint", 1000),
        ("checkpoint", 2000),
        ("checkpoint", 2500),
        ("final", 2500),
    ]
    short = writer(the_plan=plan(max_steps=500))
    assert [(s.kind, s.step) for s in forecast(disk(99 * GB), [short]).saves] == [("checkpoint", 500), ("final", 500)]
    assert failing(forecast(disk(70 * GB), [run], reserve=0)) == ("final", 2500)


def test_h10_no_inodes_is_no_room() -> None:
    steady = (saved(1000), saved(2000))
    run = writer(step=2000, checkpoints=steady)
    assert forecast(disk(900 * GB, inodes_avail=40), [run], reserve=0).verdict is Verdict.FIT
    word = forecast(disk(900 * GB, inodes_avail=19), [run], reserve=0)
    assert failing(word) == ("checkpoint", 3000) and "inodes" in word.reason
    assert failing(forecast(disk(900 * GB, inodes_avail=39), [run], reserve=0)) is None


def test_h11_each_file_system_is_judged_alone() -> None:
    small = Disk(dev=2, mount="/root/.cache", total=100 * GB, avail=1 * GB)
    large = disk(500 * GB)
    disks = [Disk(dev=3, mount="/", total=100 * GB, avail=50 * GB), small, large]
    assert disk_of(disks, "/workspace/checkpoints/a") is large
    assert disk_of(disks, "/root/.cache/huggingface/hub") is small
    assert disk_of(disks, "/workspace2/x") is disks[0]
    assert forecast(large, [writer()]).verdict is Verdict.FIT
    assert forecast(small, [], planned=2 * GB).verdict is Verdict.FAIL


def test_h12_a_checkpoint_being_written_is_not_learned_from_and_needs_its_rest() -> None:
    half = saved(3000, 5 * GB, complete=False, writing=True, weights=0)
    run = writer(step=3000, the_plan=plan(None), checkpoints=(saved(1000), saved(2000), half))
    word = forecast(disk(17 * GB), [run], reserve=0)
    assert (word.saves[0].step, word.saves[0].free_at_peak) == (3000, 0)
    assert word.saves[0].free_after == 22 * GB
    assert word.saves[1].step == 4000 and word.saves[1].free_at_peak == 0
    assert failing(forecast(disk(16 * GB), [run], reserve=0)) == ("checkpoint", 3000)
    alone = writer(step=3000, the_plan=plan(None), checkpoints=(half,))
    assert forecast(disk(500 * GB), [alone]).verdict is Verdict.UNKNOWN


def test_h12_a_save_that_the_log_has_reached_and_the_disk_not_yet_is_still_to_come() -> None:
    run = writer(step=3000, checkpoints=(saved(1000), saved(2000)))
    assert forecast(disk(500 * GB), [run]).saves[0].step == 3000
    done = writer(step=3000, checkpoints=(saved(2000), saved(3000)))
    assert forecast(disk(500 * GB), [done]).saves[0].step == 4000


def test_h13_hard_linked_files_are_not_given_back_by_rotation() -> None:
    """A deployment links a checkpoint's shards: deleting the checkpoint frees the rest alone."""
    there = (saved(1000, shared=9 * GB), saved(2000))
    run = writer(step=2000, checkpoints=there)
    assert forecast(disk(30 * GB), [run], reserve=0).saves[0].free_after == (30 - 9) * GB
    assert failing(forecast(disk(30 * GB), [run], reserve=0)) == ("checkpoint", 4000)


def test_h15_read_only_fails_the_next_save() -> None:
    word = forecast(disk(500 * GB, readonly=True), [writer()])
    assert failing(word) == ("checkpoint", 1000) and "read-only" in word.reason
    assert forecast(disk(500 * GB, readonly=True), []).verdict is Verdict.FIT


def test_sizes_not_known_are_unknown_not_fit() -> None:
    word = forecast(disk(500 * GB), [writer(the_plan=plan(None))])
    assert word.verdict is Verdict.UNKNOWN and word.failing is None
    # A run that surely fails says so, whatever another one may do.
    word = forecast(disk(10 * GB), [writer("a", plan(None)), writer("b")])
    assert word.verdict is Verdict.FAIL and word.failing is not None and word.failing.run == "b"


def test_an_unknown_speed_beside_other_writers_is_unknown_not_fit() -> None:
    word = forecast(disk(500 * GB), [writer(rate=None)], background=1e6)
    assert word.verdict is Verdict.UNKNOWN and word.saves[0].eta is None
    assert forecast(disk(500 * GB), [writer(rate=None)]).verdict is Verdict.FIT


def test_the_final_model_comes_on_top() -> None:
    run = writer(step=10_000, checkpoints=(saved(9000), saved(10_000)))
    assert failing(forecast(disk(9 * GB), [run], reserve=0)) == ("final", 10_000)
    assert forecast(disk(10 * GB), [run], reserve=0).verdict is Verdict.FIT


def test_a_planned_copy_is_taken_off_first() -> None:
    assert forecast(disk(70 * GB), [writer()], planned=5 * GB, reserve=0).verdict is Verdict.FAIL
    assert forecast(disk(4 * GB), planned=5 * GB).missing == 1 * GB


def test_a_growing_checkpoint_is_expected_to_grow_on() -> None:
    grown = (saved(1000, 20 * GB), saved(2000, 21 * GB), saved(3000, 22 * GB))
    run = writer(step=3000, checkpoints=grown, the_plan=plan(limit=3))
    assert forecast(disk(50 * GB), [run], reserve=0).saves[0].free_at_peak == 27 * GB


def test_both_orders_of_rotation_are_thought_of() -> None:
    """transformers 4.51 deletes by number, 5 by mtime: where they differ, the worse counts."""
    odd = (saved(1000, 22 * GB, mtime=9.0), saved(900, 5 * GB, mtime=5.0, complete=False), saved(2000, mtime=10.0))
    run = writer(step=2000, checkpoints=odd, the_plan=plan(limit=3))
    assert forecast(disk(40 * GB), [run], reserve=0).saves[0].free_after == 23 * GB


def test_the_reserve_is_five_gigabytes_or_two_percent_and_a_tenth_of_a_small_disk() -> None:
    assert reserve_of(100 * GB) == 5 * GB
    assert reserve_of(2000 * GB) == 40 * GB
    assert reserve_of(2 * GB) == GB // 5


def test_every_save_of_the_run_is_looked_at_and_the_next_ones_listed() -> None:
    word = forecast(disk(900 * GB), [writer(the_plan=plan(max_steps=100_000, limit=None))], next_saves=3)
    assert len(word.saves) == 3
    assert failing(word) == ("checkpoint", 41_000)


# -- what must hold for all -------------------------------------------------------------------------------------------

sizes = st.integers(1, 40)
plans = st.builds(
    lambda size, weights, every, most, limit, final, best: SavePlan(
        save_steps=every,
        max_steps=most,
        limit=limit,
        checkpoint_bytes=size,
        weights_bytes=weights,
        final_save=final,
        best_saves=best,
    ),
    st.one_of(st.none(), sizes),
    st.one_of(st.none(), st.integers(1, 20)),
    st.integers(1, 40),
    st.integers(1, 200),
    st.one_of(st.none(), st.integers(0, 4)),
    st.booleans(),
    st.booleans(),
)
checkpoints = st.lists(
    st.builds(
        lambda step, size, complete, mtime, shared, best: Checkpoint(
            path=f"/w/checkpoint-{step}{'-best-x' if best else ''}",
            step=step,
            size=size,
            complete=complete,
            mtime=mtime,
            shared=min(shared, size),
            best=best,
        ),
        st.integers(1, 200),
        sizes,
        st.booleans(),
        st.floats(0, 100),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda c: c.path,
).map(tuple)
writers = st.builds(
    Writer,
    run=st.sampled_from("abc"),
    plan=plans,
    step=st.integers(0, 220),
    rate=st.one_of(st.none(), st.floats(0.01, 10)),
    checkpoints=checkpoints,
    save_seconds=st.one_of(st.none(), st.floats(0, 100)),
    growth=st.floats(0, 1),
)
fleets = st.lists(writers, max_size=3)


def badness(avail: int, runs: list[Writer], **more: Any) -> int:
    return ORDER.index(forecast(disk(avail, total=1000), runs, **({"reserve": 10} | more)).verdict)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.integers(0, 200), fleets, st.floats(0, 1), st.integers(0, 50))
def test_more_free_space_never_makes_it_worse(
    avail: int, more: int, runs: list[Writer], rate: float, planned: int
) -> None:
    assert badness(avail + more, runs, background=rate, planned=planned) <= badness(
        avail, runs, background=rate, planned=planned
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), fleets, writers, st.floats(0, 1))
def test_another_run_never_makes_it_better(avail: int, runs: list[Writer], another: Writer, rate: float) -> None:
    assert badness(avail, [*runs, another], background=rate) >= badness(avail, runs, background=rate)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400), fleets, st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.integers(0, 50))
def test_more_writing_by_others_never_makes_it_better(
    avail: int, runs: list[Writer], rate: float, more: float, planned: int, also: int
) -> None:
    assert badness(avail, runs, background=rate + more, planned=planned + also) >= badness(
        avail, runs, background=rate, planned=planned
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 300), fleets)
def test_freeing_what_is_missing_makes_the_failing_save_fit(avail: int, runs: list[Writer]) -> None:
    word = forecast(disk(avail, total=1000), runs, reserve=0, next_saves=10**6)
    if word.failing is None or not word.missing:
        return
    after = forecast(disk(avail + word.missing, total=1000), runs, reserve=0, next_saves=10**6)
    then = next(
        s
        for s in after.saves
        if (s.run, s.kind, s.step, s.eta) == (word.failing.run, word.failing.kind, word.failing.step, word.failing.eta)
    )
    assert then.verdict is not Verdict.FAIL


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 300), fleets, st.floats(0, 1))
def test_the_words_are_consistent(avail: int, runs: list[Writer], rate: float) -> None:
    word = forecast(disk(avail, total=1000), runs, reserve=0, background=rate, next_saves=10**6)
    assert (word.verdict is Verdict.FAIL) == (word.failing is not None)
    assert word.reason and "\n" not in word.reason
    etas = [s.eta for s in word.saves if s.eta is not None]
    assert etas == sorted(etas) and all(math.isfinite(e) for e in etas)
    for save in word.saves:
        assert save.free_at_peak <= save.free_before


def world(runs: list[Writer], rate: float) -> float:
    """The most that is in use at any moment, when the runs really go at their rates, and others write at `rate`."""
    moments: list[tuple[float, int, int, float]] = []
    for index, run in enumerate(runs):
        saves = timeline(run)
        for number, save in enumerate(saves):
            assert save.start is not None and save.end is not None
            later = saves[number + 1].before if number + 1 < len(saves) else save.after
            moments += [(save.start, 0, index, save.peak), (save.end, 1, index, later)]
    levels = [0.0] * len(runs)
    most = 0.0
    for at, _, index, level in sorted(moments):
        levels[index] = level
        most = max(most, sum(levels) + rate * at)
    return most


timed = st.builds(
    Writer,
    run=st.sampled_from("abc"),
    plan=st.builds(
        lambda size, weights, every, most, limit: SavePlan(
            save_steps=every, max_steps=most, limit=limit, checkpoint_bytes=size, weights_bytes=min(size, weights)
        ),
        sizes,
        sizes,
        st.integers(1, 40),
        st.integers(1, 300),
        st.one_of(st.none(), st.integers(1, 3)),
    ),
    rate=st.floats(0.01, 2),
    save_seconds=st.floats(0, 100),
    growth=st.just(0.0),
    step=st.integers(0, 100),
    checkpoints=checkpoints,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(timed, min_size=1, max_size=3), st.floats(0, 0.1), st.data())
def test_what_just_fits_still_fits_when_the_runs_go_a_little_faster_or_slower(
    runs: list[Writer], rate: float, data: st.DataObject
) -> None:
    """Never optimistic: played through with speeds that differ by up to four percent from the measured ones."""
    ample = 10**6
    saves = forecast(disk(ample), runs, reserve=0, background=rate * 1.05, next_saves=10**6).saves
    just = max(0, ample - min((save.free_at_peak for save in saves), default=ample))
    assert forecast(disk(just), runs, reserve=0, background=rate * 1.05).verdict is not Verdict.FAIL
    real = [replace(run, rate=(run.rate or 1) * data.draw(st.floats(0.96, 1.04))) for run in runs]
    assert world(real, rate) <= just + 1
