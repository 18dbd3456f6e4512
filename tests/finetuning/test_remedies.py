"""What could be freed: least risk first, nothing promised twice, nothing in use."""

from __future__ import annotations

from typing import Any

from dm_isaac_g1.core.runs import Checkpoint, SavePlan
from dm_isaac_g1.core.samples import Disk
from dm_isaac_g1.finetuning.guard import forecast
from dm_isaac_g1.finetuning.remedies import Reclaimable, enough, freed, remedies
from dm_isaac_g1.finetuning.timeline import Writer

GB = 1_000_000_000
PLAN = SavePlan(save_steps=100, max_steps=1000, limit=2, checkpoint_bytes=22 * GB, weights_bytes=9 * GB)


def at(run: str, step: int, **more: Any) -> Checkpoint:
    fields: dict[str, Any] = {"size": 22 * GB, "complete": True, "mtime": float(step), "weights": 9 * GB} | more
    return Checkpoint(path=f"/w/{run}/checkpoint-{step}", step=step, **fields)


def test_least_risk_first_then_most_bytes() -> None:
    old = [at("old", 100), at("old", 200), at("old", 300, size=3 * GB, complete=False)]
    running = Writer(run="new", plan=PLAN, step=200, rate=1.0, checkpoints=(at("new", 100), at("new", 200)))
    found = remedies(
        [running],
        [("old", old)],
        hf_cache=[Reclaimable(kind="hf-cache", title="nvidia/GR00T-N1.5-3B, unused", bytes=6 * GB, path="/c/x")],
        docker=[Reclaimable(kind="docker", title="dangling images", bytes=30 * GB)],
    )
    assert [(r.kind, r.risk, r.bytes // GB) for r in found] == [
        ("quarantine", "none", 3),
        ("docker", "low", 30),
        ("checkpoint", "low", 22),
        ("old-run", "low", 22),
        ("hf-cache", "low", 6),
        ("weights-only", "high", 13),
    ]
    assert {r.path for r in found if r.kind == "checkpoint"} == {"/w/new/checkpoint-100"}  # never the newest


def test_a_running_runs_newest_broken_folder_may_be_a_save_under_way() -> None:
    half = at("new", 300, complete=False)
    running = Writer(run="new", plan=PLAN, step=300, rate=1.0, checkpoints=(at("new", 200), half))
    assert [r for r in remedies([running]) if r.kind == "quarantine"] == []


def test_linked_files_are_not_promised() -> None:
    linked = at("old", 100, shared=9 * GB)
    assert freed(linked) == 13 * GB
    (found,) = [r for r in remedies(ended=[("old", [linked, at("old", 200)])]) if r.kind == "old-run"]
    assert found.bytes == 13 * GB and "9.0 GB more are linked elsewhere" in found.title


def test_what_is_in_service_is_never_offered() -> None:
    old = [at("old", 100), at("old", 200)]
    found = remedies(ended=[("old", old)], in_service=["/w/old/checkpoint-100", "/w/old/checkpoint-200"])
    assert found == ()


def test_nothing_to_free_is_nothing_offered() -> None:
    assert remedies() == ()
    assert remedies(ended=[("old", [at("old", 1, size=0, complete=False)])]) == ()


def test_a_planned_run_can_save_less_and_then_fits() -> None:
    disk = Disk(dev=1, mount="/w", total=100 * GB, avail=50 * GB)
    run = Writer(run="new", plan=PLAN, growth=0.0)
    word = forecast(disk, [run], reserve=0)
    assert word.missing == 16 * GB
    offered = remedies([run])
    assert [r.kind for r in offered] == ["lower-limit", "weights-only"]
    for remedy, plan in (
        (offered[0], SavePlan(**{f: getattr(PLAN, f) for f in PLAN.__struct_fields__} | {"limit": 1})),
        (offered[1], SavePlan(**{f: getattr(PLAN, f) for f in PLAN.__struct_fields__} | {"checkpoint_bytes": 9 * GB})),
    ):
        assert forecast(disk, [Writer(run="new", plan=plan, growth=0.0)], reserve=0).failing is None
        less = forecast(disk, [run], reserve=0, next_saves=99).saves
        more = forecast(disk, [Writer(run="new", plan=plan, growth=0.0)], reserve=0, next_saves=99).saves
        assert min(s.free_at_peak for s in more) - min(s.free_at_peak for s in less) == remedy.bytes


def test_enough_is_the_first_that_free_what_is_missing_and_none_where_all_do_not() -> None:
    disk = Disk(dev=1, mount="/w", total=100 * GB, avail=50 * GB)
    run = Writer(run="new", plan=PLAN, growth=0.0)
    word = forecast(disk, [run], reserve=0)
    offered = remedies([run], [("old", [at("old", 1, size=3 * GB, complete=False)])])
    assert [r.kind for r in enough(word, offered)] == ["quarantine", "lower-limit"]
    hopeless = forecast(Disk(dev=1, mount="/w", total=100 * GB, avail=1 * GB), [run], reserve=0)
    assert enough(hopeless, remedies(ended=[("old", [at("old", 1, size=3 * GB, complete=False)])])) == ()
