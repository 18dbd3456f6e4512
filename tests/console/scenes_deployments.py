"""Scenes of the Deployments room: stores as the monitors fill them, at the moment that never changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from dm_isaac_g1.console.tasks import Task
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.deployments import (
    Deployment,
    DeployPlan,
    Health,
    HistoryEntry,
    Release,
    Traffic,
    Unfinished,
)
from dm_isaac_g1.core.profile import Host, Profile
from dm_isaac_g1.fleet.store import Store

from . import scenes
from .scenes import GB, NOW

WS, SPARK, SPARE = "workstation", "spark", "spark-2"
HOUR, DAY = 3600.0, 86_400.0
ROOT = "/workspace/models"

#: Two hosts that serve, where the shipped profiles have one.
PROFILE = msgspec.structs.replace(
    scenes.PROFILE,
    hosts={**scenes.PROFILE.hosts, SPARE: Host(ssh="spark-2", roles=("serve",), port=5556)},
)
ONE: Profile = scenes.PROFILE


def release(name: str, digest: str, step: int | None, age: float, **more: Any) -> Release:
    given: dict[str, Any] = {
        "kind": "groot-n1.6",
        "bytes": 6_540_000_000,
        "embodiment": "UNITREE_G1",
        "source": f"{WS}:/workspace/checkpoints/20261119T181044-{name}-90be17/checkpoint-{step}",
        "path": f"{ROOT}/rel/{name}-{digest[:12]}",
    }
    return Release(
        id=f"{name}-{digest[:12]}", name=name, digest=digest * 4, step=step, created=NOW - age, **given | more
    )


NEW = release("g1-pick-n16", "4fa21c0d9e71b3c2", 6000, 2.4 * HOUR)
OLD = release("g1-fold-n16", "c0ffee41aa7d9b05", 4000, 2 * DAY)
OLDER = release("g1-reach-bc", "90be17f22d10c4e8", 4000, 5 * DAY, kind="bc", bytes=12_400_000)
HEALTHY = Health(ok=True, passed="ping", ping_ms=0.84, dialect="nested", checked=NOW - 3)

HISTORY = (
    HistoryEntry(
        id="t4", at=NOW - 2.3 * HOUR, what="deploy", release=NEW.id, previous=OLD.id, outcome="done",
        outage_s=0.42, seconds=94, bytes_sent=6_540_000_000, by="lea@laptop",
    ),
    HistoryEntry(
        id="t3", at=NOW - 5 * HOUR, what="deploy", release="g1-pick-n16-1b2c3d4e5f60", previous=OLD.id,
        outcome="rolled-back", outage_s=0.0, seconds=71, bytes_sent=6_540_000_000, by="lea@laptop",
        reason="the model answers NaN in action.left_arm",
    ),
    HistoryEntry(
        id="t2", at=NOW - 2 * DAY, what="deploy", release=OLD.id, previous=OLDER.id, outcome="done",
        outage_s=48.0, seconds=171, bytes_sent=6_540_000_000, by="tom@desk",
    ),
    HistoryEntry(
        id="t1", at=NOW - 2.2 * DAY, what="deploy", release=OLD.id, previous=OLDER.id, outcome="refused",
        seconds=1.1, by="tom@desk", reason="memory: it needs 9.1 GB, 6.2 GB are free",
    ),
    HistoryEntry(
        id="t0", at=NOW - 5 * DAY, what="deploy", release=OLDER.id, outcome="done",
        outage_s=0.0, seconds=2.2, bytes_sent=12_400_000, by="lea@laptop",
    ),
)  # fmt: skip


def deployment(host: str = SPARK, **more: Any) -> Deployment:
    given: dict[str, Any] = {
        "port": 5555,
        "how": "container groot-server",
        "state": "serving",
        "current": NEW,
        "since": NOW - 2.3 * HOUR,
        "health": HEALTHY,
        "traffic": Traffic(requests=81_204, errors=0, per_second=9.8, p50_ms=71.3, p99_ms=88.6),
        "clients": 1,
        "releases": (NEW, OLD, OLDER),
        "history": HISTORY,
    }
    return Deployment(host=host, **given | more)


SECOND = deployment(
    SPARE,
    port=5556,
    how="process",
    current=OLDER,
    since=NOW - 5 * DAY,
    health=msgspec.structs.replace(HEALTHY, ping_ms=0.31),
    traffic=Traffic(requests=412, errors=3, per_second=0.0, p50_ms=0.62, p99_ms=1.9),
    clients=0,
    releases=(OLDER,),
    history=HISTORY[-1:],
)


def looked(store: Store, *deployments: Deployment, times: int = 130) -> Store:
    """The store after so many looks; traffic wanders as a robot's does."""
    for each in deployments:
        for index in range(times):
            traffic = each.traffic
            if traffic is not None and traffic.p99_ms is not None and index < times - 1:
                wave = 1 + 0.22 * math.sin(index / 4) + (0.6 if index % 31 == 30 else 0)
                traffic = msgspec.structs.replace(
                    traffic,
                    per_second=round(traffic.per_second * (0.9 + 0.1 * math.cos(index / 9)), 2),
                    p99_ms=round(traffic.p99_ms * wave, 2),
                )
            store.apply(
                ev.Deployments(
                    deployments=(msgspec.structs.replace(each, traffic=traffic),), at=NOW - 3 - 5 * (times - 1 - index)
                )
            )
    return store


def hosts_up(*, second: bool = False) -> Store:
    store = scenes.training()
    if second:
        store.apply(ev.HostStatus(host=SPARE, state="up", since=NOW - 900, at=NOW))
    return store


def serving() -> Store:
    """A robot is served by what was deployed two hours ago."""
    return looked(hosts_up(), deployment())


def two() -> Store:
    """Two hosts serve."""
    return looked(hosts_up(second=True), deployment(), SECOND)


def nothing() -> Store:
    """Nothing was ever deployed."""
    empty = deployment(
        state="none", current=None, since=None, health=None, traffic=None, clients=0, releases=(), history=()
    )
    return looked(hosts_up(), msgspec.structs.replace(empty, how="process"), times=1)


def looking() -> Store:
    """The first look has not come back."""
    return hosts_up()


def away() -> Store:
    """The host went away; what was known stands back."""
    store = serving()
    store.apply(ev.HostStatus(host=SPARK, state="away", since=NOW - 240, problem="no answer for 15 s", at=NOW))
    return store


def sick() -> Store:
    """It loads, and does not answer."""
    bad = Health(ok=False, passed="greeting", problem="no answer to a ping within 1 s", checked=NOW - 4)
    store = looked(hosts_up(), deployment(state="unhealthy", health=bad, traffic=None, clients=2))
    store.apply(
        ev.Alert(
            key=f"serving:{SPARK}",
            kind="serving",
            severity="critical",
            host=SPARK,
            title="g1-pick-n16 is not well on port 5555",
            detail="no answer to a ping within 1 s",
            fix="`dm-g1 deploy rollback` goes back to g1-fold-n16",
            since=NOW - 40,
        )
    )
    return store


def cut_off() -> Store:
    """A deploy lost its console while it copied."""
    left = Unfinished(
        id="t5", step="copy", release="g1-pick-n16-77aa88bb99cc", by="lea@laptop", began=NOW - 1900, lease=NOW - 1700
    )
    return looked(hosts_up(), deployment(unfinished=left))


def at_work() -> Store:
    """Another console deploys."""
    left = Unfinished(id="t5", step="gate", release=OLD.id, by="tom@desk", began=NOW - 70, lease=NOW + 30)
    return looked(hosts_up(), deployment(unfinished=left))


def foreign() -> Store:
    """Something serves that was not deployed from here."""
    there = deployment(
        state="foreign", current=None, traffic=None, releases=(), history=(), clients=1, since=NOW - 3 * DAY
    )
    return looked(hosts_up(), there, times=1)


def hostile(payload: str | None = None) -> Store:
    """Payloads in every text that a host may send."""
    store = Store()
    for index, text in enumerate(scenes.PAYLOADS if payload is None else (payload,)):
        host = f"h{index}{text}"
        store.apply(ev.HostStatus(host=host, state="up", since=NOW - 5))
        bad = release("x", "0" * 16, 1, 60.0)
        bad = msgspec.structs.replace(
            bad, id=text, name=text, digest=text, kind=text, path=text, source=text, embodiment=text
        )
        entry = msgspec.structs.replace(HISTORY[1], id=text, release=text, previous=text, by=text, reason=text)
        seen = deployment(
            host,
            how=text,
            state="unhealthy" if index % 2 else "serving",
            problem=text if index % 3 else None,
            current=bad,
            health=Health(ok=False, passed="port", problem=text, dialect=text),
            releases=(bad, msgspec.structs.replace(bad, id=f"{text}2")),
            history=(entry,),
            unfinished=Unfinished(id=text, step="gate", release=text, by=text, began=NOW - 9, lease=NOW - 8),
        )
        store.apply(ev.Deployments(deployments=(seen,)))
    return store


PLAN = DeployPlan(
    host=SPARK,
    port=5555,
    how="container groot-server",
    release=msgspec.structs.replace(NEW, created=0.0),
    replaces=OLD,
    files=9,
    bytes=6_540_000_000,
    to_send=6_540_000_000,
    seconds=96.0,
    load_s=31.0,
    memory_needed=9_100_000_000,
    memory_free=76 * GB,
    disk_free=2960 * GB,
    outage_s=32.0,
    clients=1,
    warnings=("1 client is connected to port 5555 (a robot?) and will wait during the switch",),
)
TIGHT = msgspec.structs.replace(
    PLAN,
    beside=False,
    outage_s=34.0,
    memory_free=10_200_000_000,
    to_send=131_000_000,
    warnings=(
        "1 client is connected to port 5555 (a robot?) and will wait during the switch",
        "the old server is stopped before the new one has answered: memory for two is lacking",
    ),
)
REFUSED = msgspec.structs.replace(
    PLAN,
    memory_free=6_200_000_000,
    problems=(
        "it needs 9.1 GB of memory, and 6.2 GB are free even without the old one",
        "processor_config.json is missing: the save was cut off; deploy checkpoint-5000",
    ),
)


def planned(plan: DeployPlan = PLAN) -> list[ev.Event]:
    """What a dry run says."""
    return [
        ev.Result(text="", data={"plan": msgspec.to_builtins(plan), "dry_run": True}, code=1 if plan.problems else 0)
    ]


def task(state: str = "running", *, upto: str = "copy", **more: Any) -> Task:
    """A deploy from here, as it goes on or as it ended."""
    begun = NOW - (40.0 if upto == "copy" else 93.0)
    values = {"checkpoint": NEW.source, "to": SPARK}
    found = Task(id=1, action="deploy.start", title="Deploy a checkpoint", values=values, began=begun)
    said = (
        ("plan", "g1-pick-n16 step 6000, 6.54 GB in 9 files", 0.8),
        ("preflight", "76.0 GB of memory, 2.96 TB of disk, the port is ours", 1.1),
        ("copy", "workstation to spark", 0.0),
        ("verify", "98 chunks are what they were", 9.2),
        ("candidate", "g1-pick-n16 loads on port 5901", 31.4),
        ("gate", "get_action in 71.3 ms: 4 groups, 16 steps, finite", 0.6),
        ("switch", "port 5555 answers again after 0.4 s", 0.5),
        ("confirm", "ping 0.8 ms", 0.4),
    )
    at = begun
    for step, text, took in said:
        if step == "copy":
            for index in range(1, 9 if upto == "copy" else 12):
                share = min(1.0, index / 11)
                found.advance(
                    ev.Progress(text=text, done=share * 6_540_000_000, total=6_540_000_000, unit="bytes", step="copy"),
                    at + 4.4 * (index - 1),
                )
            took = 48.0
        else:
            found.advance(ev.Progress(text=text, step=step), at)  # type: ignore[arg-type]
        at += took
        if step == upto:
            break
    found.state = state  # type: ignore[assignment]
    for name, value in more.items():
        setattr(found, name, value)
    return found


SCENES: dict[str, Callable[[], Store]] = {
    "serving": serving,
    "nothing": nothing,
    "looking": looking,
    "away": away,
    "sick": sick,
    "cut_off": cut_off,
    "at_work": at_work,
    "foreign": foreign,
}
