"""The console killed with -9 at each step of a deploy: `deploy resume` ends it, or the next deploy does; a robot asks
all the time, and is out for a switch at most."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sshd as openssh
from deploys import Fleet, fleet
from serving import Robot

from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(120)]

STEPS = ("preflight", "copy", "verify", "candidate", "gate", "switch", "confirm")
#: Before the switch nobody notices; after it, it is a switch.
UNNOTICED = STEPS[:5]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    require_sshd()
    at = tmp_path_factory.mktemp("killed")
    with openssh.running(at / "sshd") as server, fleet(at, server) as made:
        made.deploy(made.model("old", value=1.0))
        yield made


def at_step(step: str) -> Any:
    return lambda event: event.get("step") == step


def value_now(spark: Fleet) -> float:
    with Robot(spark.port).asking() as robot:
        robot.wait_any()
        assert robot.value is not None
        return robot.value


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_it_is_resumed_and_serves(spark: Fleet, step: str) -> None:
    before = value_now(spark)
    new = before + 1.0
    what = spark.model(f"new{int(new)}", value=new)
    with Robot(spark.port).asking() as robot:
        robot.wait(before)
        spark.kill_when(at_step(step), "deploy", what, "--yes", after=0.05)
        record = spark.record()
        assert record is not None and STEPS.index(record["step"]) >= STEPS.index(step)
        if record["step"] in UNNOTICED:
            assert (robot.value, robot.failures) == (before, 0)
        entry = spark.run("deploy", "resume", "--yes")[-1]["data"]["entry"]
        robot.wait(new)
    # Killed in the midst of the switch, the host ends it alone; else it is a switch like any other.
    assert robot.gap() <= max(entry["load_s"], 1.0) + 1.0 + robot.timeout
    assert (entry["what"], entry["outcome"], entry["id"]) == ("resume", "done", record["id"])
    assert (spark.record(), len(spark.servers())) == (None, 1)
    assert spark.history()[0] == entry


@pytest.mark.parametrize("step", ["gate", "switch"])
def test_killed_at_a_step_the_next_deploy_ends_it_first(spark: Fleet, step: str) -> None:
    before = value_now(spark)
    given_up, wanted = before + 0.25, before + 1.0
    spark.kill_when(at_step(step), "deploy", spark.model(f"lost{int(wanted)}", value=given_up), "--yes")
    with Robot(spark.port).asking() as robot:
        said = spark.deploy(spark.model(f"new{int(wanted)}", value=wanted))
        robot.wait(wanted)
    newest, cut_off = spark.history()[:2]
    assert newest == said["data"]["entry"] and newest["outcome"] == "done"
    assert cut_off["outcome"] == ("done" if step == "switch" else "failed")
    assert (spark.record(), len(spark.servers())) == (None, 1)


def test_the_host_rebooted_in_the_midst_of_it_serves_again(spark: Fleet) -> None:
    """All processes of the host are gone; the record is there."""
    before = value_now(spark)
    new = before + 1.0
    spark.kill_when(at_step("gate"), "deploy", spark.model(f"new{int(new)}", value=new), "--yes")
    spark.clear()
    assert spark.servers() == []
    assert spark.run("deploy", "resume", "--yes")[-1]["data"]["entry"]["outcome"] == "done"
    assert value_now(spark) == new


def test_a_rebooted_host_has_the_old_one_back_where_the_new_one_is_bad(spark: Fleet) -> None:
    before = value_now(spark)
    spark.kill_when(at_step("candidate"), "deploy", spark.model("nan", act="nan", value=0.0), "--yes")
    spark.clear()
    spark.run("deploy", "resume", "--yes", exits=1)
    assert value_now(spark) == before
    assert spark.record() is None


def test_a_live_consoles_deploy_is_not_taken_over(spark: Fleet) -> None:
    """Another console wants to resume while the first is at work: it waits for the lock, and finds the deploy ended.

    Meanwhile, whatever the first one says that it does, the host's disk has said before.
    """
    new = value_now(spark) + 1.0
    first = spark.start("deploy", spark.model(f"new{int(new)}", value=new), "--yes")
    second = None
    seen: list[str] = []
    try:
        assert first.stdout is not None
        for line in first.stdout:
            step = json.loads(line).get("step")
            if step not in STEPS or step in seen:
                continue
            seen.append(step)
            record = spark.record()
            assert record is None or STEPS.index(record["step"]) >= STEPS.index(step)
            assert record is not None or step == "confirm"
            if step == "preflight":
                second = spark.start("deploy", "resume", "--yes")
        assert first.wait(60) == 0
        assert second is not None
        out, _ = second.communicate(timeout=60)
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()
    assert tuple(seen) == STEPS
    assert second.returncode == 3 and "ended by somebody else meanwhile" in out
    assert [each["release"] for each in spark.history()].count(spark.history()[0]["release"]) == 1
    assert (spark.record(), len(spark.servers()), value_now(spark)) == (None, 1, new)
