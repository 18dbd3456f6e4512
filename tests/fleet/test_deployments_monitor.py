"""What serves, in the picture: looked at often while somebody looks, at once after a deploy, told where it is ill."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakehost import FakeHost, job
from fleets import FakeHosts, eventually, fleet

from dm_isaac_g1.cli.serving_views import serving
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.deployments import Deployment, Health, HistoryEntry, Release, Traffic, Unfinished
from dm_isaac_g1.core.errors import DockerUnavailable, HostUnreachable
from dm_isaac_g1.core.profile import Host, Profile, Thresholds
from dm_isaac_g1.fleet import alerts
from dm_isaac_g1.fleet.fleet import Fleet
from dm_isaac_g1.fleet.monitors.deployments import DeploymentMonitor
from dm_isaac_g1.fleet.snapshot import snapshot
from dm_isaac_g1.fleet.store import Store

NOW = 1_000_000.0
MADE = Host(ssh="ws", roles=("serve",), port=5555)
OLD = Release(id="old-0123", name="old", digest="0123", kind="bc", path="/m/rel/old-0123")
NEW = Release(id="new-4567", name="new", digest="4567", kind="bc", path="/m/rel/new-4567")
WELL = Deployment(
    host="ws",
    port=5555,
    how="process",
    state="serving",
    current=NEW,
    since=NOW - 60,
    health=Health(ok=True, passed="ping", ping_ms=0.5, checked=NOW),
    traffic=Traffic(requests=10, per_second=9.8, p50_ms=1.0, p99_ms=2.0),
    releases=(NEW, OLD),
    clients=1,
)


class Looks:
    """Stands where the host is looked at: answers what the test says, and counts."""

    def __init__(self, answer: Deployment | Exception = WELL) -> None:
        self.answer = answer
        self.count = 0

    async def __call__(self, host: Any, made: Host) -> Deployment:
        self.count += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@contextmanager
def watched(looks: Looks, **pauses: float) -> Iterator[tuple[DeploymentMonitor, list[Any]]]:
    told: list[Any] = []
    monitor = DeploymentMonitor(FakeHost(Path("/")), MADE, told.append, look=looks, **pauses)  # type: ignore[arg-type]
    task = asyncio.ensure_future(monitor.watch())
    try:
        yield monitor, told
    finally:
        task.cancel()


async def test_one_look_at_the_start_and_often_only_while_somebody_looks() -> None:
    looks = Looks()
    with watched(looks, open_=0.02) as (monitor, told):
        await eventually(lambda: monitor.looked)
        await asyncio.sleep(0.1)
        assert looks.count == 1
        assert [event.deployments for event in told] == [(WELL,)]
        monitor.open(True)
        await eventually(lambda: looks.count > 4)
        monitor.open(False)
        await asyncio.sleep(0.05)
        before = looks.count
        await asyncio.sleep(0.1)
        assert looks.count <= before + 1
        monitor.look()
        await eventually(lambda: looks.count > before)


async def test_nothing_is_told_anew_where_only_a_ping_took_another_time() -> None:
    looks = Looks()
    with watched(looks, closed=0.02) as (_, told):
        await eventually(lambda: looks.count > 2)
        assert WELL.health is not None
        slower = msgspec.structs.replace(WELL.health, ping_ms=0.9, checked=NOW + 5)
        looks.answer = msgspec.structs.replace(WELL, health=slower)
        before = looks.count
        await eventually(lambda: looks.count > before + 2)
        assert len(told) == 1
        looks.answer = msgspec.structs.replace(WELL, state="down")
        await eventually(lambda: len(told) == 2)


async def test_a_deploy_at_work_is_looked_at_more_often() -> None:
    left = Unfinished(id="t", step="copy", release="new", by="me", began=NOW, lease=NOW + 60)
    looks = Looks(msgspec.structs.replace(WELL, unfinished=left))
    with watched(looks, open_=30.0, moving=0.02) as (monitor, _):
        monitor.open(True)
        await eventually(lambda: looks.count > 4)


async def test_what_cannot_be_looked_at_is_unknown_and_says_why_and_what_was_known_stays() -> None:
    looks = Looks()
    with watched(looks, closed=0.02) as (_, told):
        await eventually(lambda: told)
        looks.answer = DockerUnavailable("no docker there", where="ws")
        await eventually(lambda: len(told) == 2)
        (seen,) = told[-1].deployments
        assert (seen.state, seen.current, seen.releases) == ("unknown", NEW, (NEW, OLD))
        assert "no docker there" in seen.problem and seen.traffic is None and seen.health is None


async def test_a_host_that_is_away_is_the_hosts_own_state_and_nothing_of_it_is_lost() -> None:
    looks = Looks()
    with watched(looks, closed=0.02) as (monitor, told):
        await eventually(lambda: told)
        looks.answer = HostUnreachable("no route")
        with pytest.raises(HostUnreachable):
            await monitor.see()
        assert len(told) == 1


async def test_only_hosts_that_serve_are_looked_at_and_the_snapshot_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks()

    async def looking(self: DeploymentMonitor) -> Looks:
        return looks

    monkeypatch.setattr(DeploymentMonitor, "_looking", looking)
    hosts = [FakeHost(Path("/"), name=name) for name in ("ws", "trains")]
    there = FakeHosts(*hosts)
    made = {"ws": MADE, "trains": Host(ssh="trains", roles=("train",))}
    there.profile = Profile(name="test", hosts=made)
    async with Fleet(there.profile, hosts=there) as fleet:
        await eventually(lambda: fleet.store.hosts["ws"].deployment is not None)
        assert fleet.store.hosts["trains"].deployment is None and looks.count == 1
        fleet.look_at_deployments("trains")
        fleet.look_at_deployments("ws")
        await eventually(lambda: looks.count == 2)
        (event,) = [each for each in snapshot(fleet.store) if isinstance(each, ev.Deployments)]
        assert event.deployments == (WELL,)
        assert ev.decode(ev.encode(event)) == event


async def test_a_server_that_a_deploy_started_is_no_run(tmp_path: Path) -> None:
    from dm_isaac_g1.deploy.runtimes.served import RELEASE

    host = FakeHost(tmp_path)
    trains, serves = job("20261120T120000-run-0a0a0a"), job("20261120T120001-serve-0b0b0b")
    spec = msgspec.structs.replace(serves.spec, labels={RELEASE: "new-4567"})
    host.jobs.put(msgspec.structs.replace(serves, spec=spec))
    host.jobs.put(trains)
    async with fleet(host) as there:
        await eventually(lambda: there.store.runs)
        await asyncio.sleep(0.05)
        assert set(there.store.runs) == {trains.id}


# --- In the store, in words, as alerts --------------------------------------------------------------------------------


def store(seen: Deployment, state: Any = "up") -> Store:
    there = Store()
    there.apply(ev.HostStatus(host="ws", state=state, since=NOW - 10_000))
    there.apply(ev.Deployments(deployments=(seen,), at=NOW))
    return there


def test_the_store_keeps_what_servers_say_of_their_requests_and_when() -> None:
    there = store(WELL)
    there.apply(ev.Deployments(deployments=(msgspec.structs.replace(WELL, traffic=None),), at=NOW + 5))
    assert list(there.hosts["ws"].traffic_history) == [(NOW, WELL.traffic)]


def judged(seen: Deployment, state: Any = "up", now: float = NOW) -> list[ev.Alert]:
    found = alerts.evaluate(store(seen, state), Thresholds(), now).values()
    return [each for each in found if each.kind in ("serving", "deploy")]


def test_one_that_serves_is_no_alert_and_neither_is_a_host_where_nothing_was_deployed() -> None:
    assert judged(WELL) == []
    assert judged(Deployment(host="ws", port=5555, state="none")) == []
    assert judged(msgspec.structs.replace(WELL, state="loading")) == []


@pytest.mark.parametrize("state", ["down", "unhealthy"])
def test_one_that_should_serve_and_does_not_is_critical_and_says_the_way_back(state: Any) -> None:
    sick = Health(ok=False, passed="port", problem="no greeting")
    (alert,) = judged(msgspec.structs.replace(WELL, state=state, health=sick))
    assert (alert.kind, alert.severity, alert.host) == ("serving", "critical", "ws")
    assert "new" in alert.title and "5555" in alert.title and alert.detail == "no greeting"
    assert "dm-g1 deploy verify" in alert.fix  # nobody knows where it came from, and nothing served before
    history = (
        HistoryEntry(id="t2", at=NOW, what="deploy", release="bad-89ab", previous=NEW.id, outcome="failed"),
        HistoryEntry(id="t1", at=NOW, what="deploy", release=NEW.id, previous=OLD.id, outcome="done"),
    )
    bad = msgspec.structs.replace(OLD, id="bad-89ab", name="bad")
    new = msgspec.structs.replace(NEW, source="ws:/run/checkpoint-3")
    (alert,) = judged(
        msgspec.structs.replace(WELL, state=state, current=new, releases=(bad, new, OLD), history=history)
    )
    assert "`dm-g1 deploy ws:/run/checkpoint-3` starts it again" in alert.fix
    assert "`dm-g1 deploy rollback` goes back to old" in alert.fix and "bad" not in alert.fix


def test_while_a_deploy_is_at_work_or_the_host_is_away_a_silent_server_is_no_alert() -> None:
    left = Unfinished(id="t", step="switch", release="new-4567", by="me", began=NOW - 60, lease=NOW + 20)
    assert judged(msgspec.structs.replace(WELL, state="down", unfinished=left)) == []
    assert judged(msgspec.structs.replace(WELL, state="down"), "away") == []


def test_a_deploy_that_was_cut_off_says_so_with_the_command_that_goes_on() -> None:
    left = Unfinished(id="t", step="copy", release="new-4567", by="lea@laptop", began=NOW - 900, lease=NOW - 60)
    (alert,) = judged(msgspec.structs.replace(WELL, unfinished=left))
    assert (alert.kind, alert.severity, alert.since) == ("deploy", "warning", NOW - 900)
    assert "step copy" in alert.title and "lea@laptop" in alert.detail and "dm-g1 deploy resume" in alert.fix
    assert judged(msgspec.structs.replace(WELL, unfinished=left), now=NOW - 55) == []  # clocks differ


def test_a_line_for_each_host_that_serves() -> None:
    left = Unfinished(id="t", step="copy", release="new-4567", by="me", began=NOW, lease=NOW)
    ill = Deployment(host="b", port=6000, state="down", problem="nobody listens", unfinished=left)
    assert serving([WELL, ill], NOW) == [
        "SERVES   STATE    RELEASE   SINCE  REQUESTS  P50     P99     CLIENTS",
        "ws:5555  serving  new-4567  1 m    9.8/s     1.0 ms  2.0 ms  1",
        "b:6000   down     –         –      –         –       –       –",
        "b: nobody listens",
        "b: a deploy of new-4567 stands at its step copy",
    ]


def test_the_schema_knows_what_is_told_of_deployments() -> None:
    from dm_isaac_g1.actions.schema import document

    parts = document()["$defs"]
    tags = {part["properties"]["event"]["enum"][0] for part in parts.values() if "event" in part.get("properties", {})}
    assert "deployments" in tags and "current" in parts["Deployment"]["properties"]
