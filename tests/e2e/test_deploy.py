"""Deploys as a user does them, with a robot that never stops asking: a real sshd, real processes, the real command.

The tests share a fleet and go on from what the ones before left serving: `serve` brings about what a test needs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sshd as openssh
from deploys import Fleet, fleet, write_model
from hubserver import HubServer
from machines import mounted
from servedmodels import groot_checkpoint
from serving import Robot

from dm_isaac_g1.actions import registry
from dm_isaac_g1.actions.context import Context, Plan
from dm_isaac_g1.core.events import Event
from dm_isaac_g1.core.profiles import load_profile
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(120)]

SECOND = {"value": 2.0, "load_s": 1.0}
#: Seconds of outage beside the model's loading.
CHANGEOVER = 1.0


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    require_sshd()
    at = tmp_path_factory.mktemp("deploys")
    with openssh.running(at / "sshd") as server, fleet(at, server) as made:
        yield made


def serve(spark: Fleet, run: str, value: float) -> str:
    """The release of `run` serves; it is deployed where it does not yet. Its id."""
    now = spark.models / "current"
    if not now.is_symlink() or not now.resolve().name.startswith(f"{run}-"):
        spark.deploy(spark.model(run, **(SECOND if run == "second" else {"value": value})))
    return now.resolve().name


def lies(spark: Fleet, run: str, value: float) -> None:
    """A release of `run` is there, and has served."""
    if not list(spark.models.glob(f"rel/{run}-*")):
        serve(spark, run, value)


def test_a_good_deploy_is_out_for_the_models_loading_and_a_second(spark: Fleet) -> None:
    old = serve(spark, "first", 1.0)
    with Robot(spark.port).asking() as robot:
        robot.wait(1.0)
        result = spark.deploy(spark.model("second", **SECOND))
        robot.wait(2.0)
    entry = result["data"]["entry"]
    assert entry["load_s"] >= 1.0 and entry["outage_s"] <= entry["load_s"] + CHANGEOVER
    assert robot.gap() <= entry["load_s"] + CHANGEOVER + robot.timeout, (
        "a request may wait for its own time limit on top"
    )
    assert (entry["outcome"], entry["previous"]) == ("done", old)
    now = spark.status()
    assert (now["state"], now["current"]["id"], now["unfinished"]) == ("serving", entry["release"], None)
    assert spark.record() is None
    assert (spark.models / "current").resolve().name == entry["release"]


def test_a_bad_model_is_no_outage_and_no_failed_request(spark: Fleet) -> None:
    old = serve(spark, "second", 2.0)
    with Robot(spark.port).asking() as robot:
        robot.wait(2.0)
        said = spark.deploy(spark.model("broken", value=9.0, act="nan"), exits=1)
        asked = len(robot.answers)
    assert (robot.failures, {value for _, value in robot.answers}) == (0, {2.0})
    assert asked > 20
    assert "failed its test beside the old one: its arm holds nan" in said["what"]
    assert said["fix"] == f"{old} serves"
    assert (spark.history()[0]["outcome"], spark.record(), len(spark.servers())) == ("failed", None, 1)


def test_a_rollback_serves_the_one_before_without_copying(spark: Fleet) -> None:
    lies(spark, "first", 1.0)
    serve(spark, "second", 2.0)
    with Robot(spark.port).asking() as robot:
        robot.wait(2.0)
        entry = spark.run("deploy", "rollback", "--yes")[-1]["data"]["entry"]
        robot.wait(1.0)
    assert robot.gap() <= entry["load_s"] + CHANGEOVER + robot.timeout
    assert (entry["what"], entry["outcome"], entry["bytes_sent"]) == ("rollback", "done", None)
    assert entry["release"].startswith("first-checkpoint-100-")
    assert spark.run("deploy", "verify")[-1]["code"] == 0


def test_one_that_fails_only_on_the_port_is_rolled_back(spark: Fleet) -> None:
    """Without a candidate the switch is the test; the robot has the old one back."""
    old = serve(spark, "first", 1.0)
    with Robot(spark.port).asking() as robot:
        robot.wait(1.0)
        said = spark.deploy(spark.model("bad-names", act="names", value=1.5), "--no-candidate", exits=1)
        robot.wait(1.0)
    assert "rolled back" in said["what"] and said["fix"] == f"{old} serves"
    assert spark.history()[0]["outcome"] == "rolled-back"
    assert (spark.models / "current").resolve().name == old


async def perform(spark: Fleet, name: str, *values: dict[str, Any], ctx: Context | None = None) -> list[list[Event]]:
    """An action several times over one connection: its events each time. Nobody agrees to anything."""
    async with Context(load_profile(str(spark.profile)), None, dashes=True) as made:
        ctx = ctx or made
        found = registry.get(name)
        return [[event async for event in registry.perform(found, ctx, found.parse(each))] for each in values]


async def test_a_dry_run_says_it_all_and_changes_nothing_on_any_host(spark: Fleet) -> None:
    serve(spark, "first", 1.0)
    spark.model("third", value=3.0)

    def everything() -> list[tuple[str, int]]:
        return sorted(
            (str(each), each.lstat().st_mtime_ns)
            for host in ("workstation", "spark")
            for each in (spark.at / host).rglob("*")
            if "jobs" not in each.parts
        )

    before = everything()
    with Robot(spark.port).asking() as robot:
        await asyncio.to_thread(robot.wait, 1.0)
        ((*_, said),) = await perform(spark, "deploy.start", {"checkpoint": "third/checkpoint-100", "dry_run": True})
    assert everything() == before
    plan = said.data["plan"]  # type: ignore[attr-defined]
    assert not plan["problems"]
    assert (plan["host"], plan["port"], plan["beside"], plan["files"]) == ("spark", spark.port, True, 3)
    assert 1000 < plan["to_send"] < plan["bytes"], "what other models have in common with it is there"
    assert plan["replaces"]["id"].startswith("first-checkpoint-100-")
    assert plan["load_s"] is not None and plan["outage_s"] <= plan["load_s"] + CHANGEOVER
    assert plan["clients"] == 1 and any("a robot?" in each for each in plan["warnings"])


async def test_nothing_is_done_without_a_yes_to_exactly_that(spark: Fleet) -> None:
    serve(spark, "first", 1.0)
    spark.model("third", value=3.0)
    asked: list[Plan] = []

    async def no(plan: Plan) -> bool:
        asked.append(plan)
        return False

    before = spark.history()
    async with Context(load_profile(str(spark.profile)), None, confirm=no) as ctx:
        ((*_, said),) = await perform(spark, "deploy.start", {"checkpoint": "third/checkpoint-100"}, ctx=ctx)
    assert "not confirmed, nothing was done" in said.what  # type: ignore[attr-defined]
    assert (spark.history(), spark.record()) == (before, None)
    (plan,) = asked
    text = "\n".join(plan.lines)
    assert all(word in text for word in ("third-checkpoint-100-", "first-checkpoint-100-", "outage", "clients"))


async def test_what_cannot_be_served_is_refused_before_anything_is_changed(spark: Fleet) -> None:
    serve(spark, "first", 1.0)
    runs = spark.checkpoints
    cut_off = groot_checkpoint(runs / "groot" / "checkpoint-1")
    (cut_off / "model-00002-of-00002.safetensors").unlink()
    unprocessed = groot_checkpoint(runs / "groot" / "checkpoint-2")
    (unprocessed / "statistics.json").unlink()
    groot_checkpoint(runs / "groot" / "checkpoint-3", embodiments=("gr1",))
    (runs / "groot" / "checkpoint-4").mkdir()
    (runs / "groot" / "checkpoint-4" / "optimizer.pt").write_bytes(b"x")
    refused = {
        "1": "model-00002-of-00002.safetensors is missing",
        "2": "statistics.json is missing",
        "3": "was not trained for UNITREE_G1",
        "4": "config.json is missing",
    }
    asked = [{"checkpoint": f"groot/checkpoint-{number}", "embodiment": "UNITREE_G1"} for number in refused]
    before = spark.history()
    for (*_, said), words in zip(await perform(spark, "deploy.start", *asked), refused.values(), strict=True):
        assert said.code == 3 and words in said.what  # type: ignore[attr-defined]
    assert (spark.history(), spark.record()) == (before, None)
    shutil.rmtree(runs / "groot")


async def test_a_port_that_somebody_else_has_is_refused(spark: Fleet, tmp_path: Path) -> None:
    with fleet(tmp_path, spark.sshd) as other, socket.create_server(("127.0.0.1", other.port)):
        ((*_, said),) = await perform(other, "deploy.start", {"checkpoint": other.model("first")})
    assert said.code == 3  # type: ignore[attr-defined]
    assert "port" in said.what and f"pid {os.getpid()}" in said.what  # type: ignore[attr-defined]


async def test_a_disk_that_is_too_small_is_refused(spark: Fleet, tmp_path: Path) -> None:
    with mounted(tmp_path / "spark", 2_000_000), fleet(tmp_path, spark.sshd) as small:
        what = small.model("first", size=3_000_000)
        ((*_, said),) = await perform(small, "deploy.start", {"checkpoint": what})
        assert said.code == 3 and "the disk is too small" in said.what  # type: ignore[attr-defined]
        assert not (small.models / "store").exists()


async def test_a_model_of_the_hub_comes_through_this_machine(
    spark: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    write_model(tmp_path / "model", value=7.0, size=300_000)
    (tmp_path / "model" / "optimizer.pt").write_bytes(b"x")

    async def yes(plan: Plan) -> bool:
        return True

    with HubServer() as hub:
        commit = hub.add("org/apples", tmp_path / "model").commit
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        async with Context(load_profile(str(spark.profile)), None, confirm=yes) as ctx:
            ((*_, said),) = await perform(spark, "deploy.start", {"from_hub": "org/apples"}, ctx=ctx)
    entry = said.data["entry"]  # type: ignore[attr-defined]
    assert entry["outcome"] == "done" and entry["bytes_sent"] > 300_000
    now = spark.status()["current"]
    assert (now["id"], now["source"]) == (entry["release"], f"hub:org/apples@{commit}")
    assert not (spark.models / "current" / "optimizer.pt").exists()


async def test_a_server_that_hangs_is_started_anew_by_deploying_its_release_again(spark: Fleet, tmp_path: Path) -> None:
    async def serves() -> bool:
        ((*_, said),) = await perform(spark, "deploy.start", {"checkpoint": "hangs/checkpoint-100", "dry_run": True})
        return bool(said.data["plan"]["serves"])  # type: ignore[attr-defined]

    deaf = tmp_path / "deaf"
    what = spark.model("hangs", value=8.0, load_s=0.0, deaf_if=str(deaf))
    await asyncio.to_thread(spark.deploy, what)
    (hung,) = spark.servers()
    assert await serves()
    deaf.touch()
    assert not await serves()
    deaf.unlink()
    entry = (await asyncio.to_thread(spark.deploy, what))["data"]["entry"]
    assert (entry["outcome"], entry["release"]) == ("done", entry["previous"])
    (server,) = spark.servers()
    assert server != hung and await serves()


def test_two_deploys_at_once_one_is_refused_and_the_other_ends(spark: Fleet) -> None:
    """The one that ends is of a model that lies there already: nothing is sent."""
    lies(spark, "second", 2.0)
    serve(spark, "first", 1.0)
    first = spark.start("deploy", spark.model("second", **SECOND), "--yes")
    assert first.stdout is not None
    for line in first.stdout:
        if json.loads(line).get("step") == "candidate":
            break
    said = spark.deploy(spark.model("third", value=3.0), exits=3)
    out, _ = first.communicate(timeout=60)
    assert first.returncode == 0, out
    assert "somebody is deploying there just now" in said["what"]
    entry = json.loads(out.splitlines()[-1])["data"]["entry"]
    assert (entry["release"].split("-")[0], entry["bytes_sent"]) == ("second", 0)


def test_a_flipped_byte_is_found_and_the_next_deploy_mends_it(spark: Fleet) -> None:
    second = serve(spark, "second", 2.0)
    serve(spark, "first", 1.0)
    place = spark.models / "rel" / second / "policy.onnx"
    data, times = bytearray(place.read_bytes()), place.stat()
    data[500] ^= 1
    place.chmod(0o644)
    place.write_bytes(data)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = spark.run("deploy", "rollback", "--release", second, "--yes", exits=1)[-1]
    assert "policy.onnx is damaged" in said["what"] and said["fix"].startswith("first-")
    spark.configure(keep=1)
    spark.deploy(spark.model("second", **SECOND))
    assert spark.run("deploy", "verify")[-1]["data"]["damage"] == []
    # Of all the releases that there were, what serves and what served before are left.
    assert {each.name.split("-")[0] for each in (spark.models / "rel").iterdir()} == {"first", "second"}


async def test_a_connection_that_breaks_in_the_midst_of_it_is_taken_up_again(spark: Fleet) -> None:
    """Cut while the candidate loads: the console finds the host again, and goes on."""
    async with openssh.Proxy(spark.sshd.port).running() as proxy:
        spark.sshd.know(proxy.port)
        spark.sshd.write_config(proxy.port)
        what = spark.model("fifth", value=5.0)
        process = await asyncio.create_subprocess_exec(
            *spark.argv("deploy", what, "--yes"), stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        said: list[dict[str, Any]] = []
        async for line in process.stdout:
            said.append(json.loads(line))
            if said[-1].get("step") == "gate" and said[-2].get("step") == "candidate" and proxy.taken < 3:
                await proxy.cut()
                await proxy.restore()
        code = await process.wait()
        spark.sshd.write_config(spark.sshd.port)
    assert code == 0, said[-1]
    assert any("waiting for spark" in each["text"] for each in said)
    assert (spark.models / "current").resolve().name.startswith("fifth-")
