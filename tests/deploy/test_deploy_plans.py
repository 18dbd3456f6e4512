"""A plan says what will happen and all that stands against it; memory, history, retention: reckoned as promised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core.deployments import DeployPlan, HistoryEntry, Release, Unfinished
from dm_isaac_g1.deploy import history, memory, plan, retention
from dm_isaac_g1.deploy.preflight import Facts
from dm_isaac_g1.inference.models import ModelFacts

GB = 1_000_000_000


def release(id: str, **more: Any) -> Release:
    return Release(**{"id": id, "name": id, "digest": id, "kind": "bc", "path": f"/m/rel/{id}", "bytes": 1000, **more})


def entry(release: str, outcome: str = "done", **more: Any) -> HistoryEntry:
    return HistoryEntry(
        **{"id": f"t-{release}", "at": 1.0, "what": "deploy", "release": release, "outcome": outcome, **more}
    )


def facts(**more: Any) -> Facts:
    model = ModelFacts(
        name="checkpoint-3", kind="bc", deploy_files={"config.json": 10}, weights_bytes=100_000, bytes=100_010
    )
    told: dict[str, Any] = {
        "host": "spark",
        "port": 5555,
        "how": "process",
        "model": model,
        "release": release("new", source="workstation:/c/checkpoint-3"),
        "to_send": 1000,
        "disk_free": 10 * GB,
        "memory_free": 10 * GB,
        "clients": 0,
    }
    return Facts(**{**told, **more})


def groot(**more: Any) -> ModelFacts:
    return ModelFacts(name="checkpoint-6000", kind="groot-n1.6", weights_bytes=6 * GB, bytes=6 * GB, **more)


# --- Memory -----------------------------------------------------------------------------------------------------------


def test_a_groot_model_needs_one_and_a_half_times_its_weights_and_8_gb() -> None:
    assert memory.needed(6 * GB) == 9 * GB + 8 * GB


def test_the_labs_policy_of_100_kb_needs_half_a_gigabyte() -> None:
    assert 0.5 * GB < memory.needed(100_000) < 0.52 * GB


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_more_weights_never_need_less(one: int, other: int) -> None:
    assert (memory.needed(one) <= memory.needed(other)) or one > other
    assert memory.needed(one) >= 1.5 * one - 1


def test_two_that_do_not_fit_are_tested_one_after_the_other_and_that_is_said() -> None:
    made = plan.plan_deploy(facts(model=groot(), memory_free=15 * GB, current=release("old", bytes=6 * GB)))
    assert not made.beside and not made.problems
    assert any("stopped before the new one has answered" in each for each in made.warnings)


def test_one_that_does_not_fit_even_alone_is_refused() -> None:
    made = plan.plan_deploy(facts(model=groot(), memory_free=5 * GB, current=release("old", bytes=6 * GB)))
    (problem,) = made.problems
    assert "too little memory: the server needs 17.0 GB, 11.0 GB would be available once old is stopped" in problem


# --- What stands against it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"model": groot(problems=("statistics.json is missing",))}, "statistics.json is missing"),
        ({"disk_free": 1049, "to_send": 1000}, "the disk is too small"),
        ({"refused": ("the image is for amd64, and spark is arm64",)}, "the image is for amd64"),
        ({"refused": ("port 5555 is taken by nc (pid 3)",)}, "taken by nc"),
        ({"locked": "ann@laptop"}, "somebody is deploying there just now: ann@laptop"),
    ],
)
def test_what_stands_against_it_is_in_the_plan(more: dict[str, Any], words: str) -> None:
    made = plan.plan_deploy(facts(**more))
    assert any(words in each for each in made.problems)
    assert any(line.startswith("problem: ") and words in line for line in plan.lines(made))


def test_all_problems_are_said_at_once() -> None:
    made = plan.plan_deploy(facts(disk_free=1, locked="ann", model=groot(problems=("a is missing", "b is missing"))))
    assert len(made.problems) == 5


def test_the_disk_needs_five_percent_more_than_what_is_sent() -> None:
    assert not plan.plan_deploy(facts(disk_free=1050, to_send=1000)).problems


# --- What will happen -------------------------------------------------------------------------------------------------


def test_a_robot_and_the_outage_stand_in_the_plan() -> None:
    measured = (entry("old", load_s=12.0, copy_s=2.0, bytes_sent=400_000_000),)
    made = plan.plan_deploy(
        facts(current=release("old"), current_ok=True, clients=1, history=measured, releases=(release("old"),))
    )
    text = "\n".join(plan.lines(made))
    assert made.outage_s == 13.0
    assert "1 client connected now" in text and "a robot?" in text and "about 13 s" in text


def test_nothing_serves_nothing_is_out() -> None:
    assert plan.plan_deploy(facts()).outage_s == 0.0


def test_a_loading_time_that_nobody_measured_is_not_made_up() -> None:
    made = plan.plan_deploy(facts(current=release("old")))
    assert (made.outage_s, made.seconds, made.load_s) == (None, None, None)


def test_the_same_release_that_serves_already_is_no_deploy_but_a_dead_one_is_started_again() -> None:
    same = release("new", source="workstation:/c/checkpoint-3")
    assert plan.plan_deploy(facts(current=same, current_ok=True)).serves
    assert not plan.plan_deploy(facts(current=same, current_ok=False)).serves


def test_the_same_files_for_another_embodiment_are_a_deploy() -> None:
    told = facts(
        release=release("new", embodiment="UNITREE_G1"), current=release("new", embodiment="GR1"), current_ok=True
    )
    made = plan.plan_deploy(told)
    assert not made.serves
    assert "replaces   its own server, for GR1" in plan.lines(made)


def test_that_a_server_does_not_answer_and_is_started_anew_is_said() -> None:
    made = plan.plan_deploy(facts(current=release("new"), current_ok=False))
    assert any("its server does not answer: it is started anew" in each for each in made.warnings)


def test_a_foreign_server_and_a_cut_off_deploy_are_said() -> None:
    cut = Unfinished(id="t", step="copy", release="lost", by="ann", began=0.0, lease=0.0)
    made = plan.plan_deploy(facts(foreign="container groot-server with /models/base", unfinished=cut))
    text = "\n".join(made.warnings)
    assert "a later rollback cannot go back to it" in text and "lost by ann was cut off at the step copy" in text


@given(
    st.builds(
        lambda **told: facts(**told),
        to_send=st.integers(0, 10**13),
        disk_free=st.none() | st.integers(0, 10**13),
        memory_free=st.none() | st.integers(0, 10**13),
        clients=st.none() | st.integers(0, 50),
        candidate=st.booleans(),
        current=st.none() | st.just(release("old", bytes=10**9)),
        current_ok=st.booleans(),
    )
)
def test_every_plan_can_be_said(told: Facts) -> None:
    made = plan.plan_deploy(told)
    assert isinstance(made, DeployPlan)
    assert all(line and "\n" not in line for line in plan.lines(made))


# --- History ----------------------------------------------------------------------------------------------------------


def test_a_rollback_goes_to_what_served_before_and_not_to_what_failed() -> None:
    there = [release(name) for name in ("a", "b", "c", "bad")]
    newest_first = [
        entry("bad", "failed", previous="c"),
        entry("c", previous="b"),
        entry("b", previous="a"),
        entry("a"),
    ]
    found = history.before(newest_first, there, "c")
    assert found is not None and found.id == "b"


def test_a_second_rollback_goes_back_to_where_the_first_came_from() -> None:
    there = [release("a"), release("b")]
    newest_first = [entry("a", what="rollback", previous="b"), entry("b", previous="a"), entry("a")]
    found = history.before(newest_first, there, "a")
    assert found is not None and found.id == "b"


def test_what_is_gone_from_the_disk_is_passed_over() -> None:
    found = history.before([entry("c", previous="b"), entry("b", previous="a")], [release("a"), release("c")], "c")
    assert found is not None and found.id == "a"
    assert history.before([entry("a")], [release("a")], "a") is None


def test_the_rate_is_measured_where_a_transfer_was_worth_it() -> None:
    assert history.rate([entry("tiny", bytes_sent=1000, copy_s=2.0)]) is None
    assert history.rate([entry("a", bytes_sent=500_000_000, copy_s=5.0)]) == 100e6


def test_a_loading_time_is_taken_from_a_model_of_that_kind_and_size() -> None:
    there = [release("small"), release("large", bytes=6 * GB, kind="groot-n1.6")]
    told = [entry("small", load_s=1.0), entry("large", load_s=40.0)]
    assert history.load_s(told, there, "groot-n1.6", 5 * GB) == 40.0
    assert history.load_s(told, there, "bc", 1000) == 1.0
    assert history.load_s(told, there, "bc", 5 * GB) is None


# --- Retention --------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["done", "failed", "rolled-back"])), max_size=12),
    st.integers(0, 4),
    st.sets(st.integers(0, 9), max_size=2),
)
def test_what_serves_is_never_removed_and_so_many_are_kept(
    deploys: list[tuple[int, str]], keep: int, spared: set[int]
) -> None:
    there = [release(str(number), created=float(number)) for number in range(10)]
    told = [entry(str(number), outcome, at=float(-place)) for place, (number, outcome) in enumerate(deploys)]
    names = {str(number) for number in spared}
    gone = {each.id for each in retention.superfluous(there, told, keep=keep, spared=names)}
    assert not gone & names
    left = {each.id for each in there} - gone
    assert len(left) == min(10, max(len(names), keep + min(1, len(names))))


def test_one_that_never_served_goes_before_one_that_did() -> None:
    there = [release("now", created=9.0), release("failed", created=8.0), release("good", created=1.0)]
    told = [entry("now", at=9.0), entry("failed", "failed", at=8.0), entry("good", at=1.0)]
    gone = retention.superfluous(there, told, keep=1, spared={"now"})
    assert [each.id for each in gone] == ["failed"]
