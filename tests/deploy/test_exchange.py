"""The exchange on the host, killed at every call to the engine and begun again: somebody always ends up serving."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dm_isaac_g1.deploy.runtimes import docker_program, process_program, switch_program
from dm_isaac_g1.deploy.runtimes.docker_program import Docker
from dm_isaac_g1.deploy.runtimes.process_program import Process
from dm_isaac_g1.remote import hands

# The programs are one text on a host.
for name in ("Failed", "read", "library", "last_words"):
    for part in (docker_program, process_program):
        setattr(part, name, getattr(switch_program, name))
docker_program.with_words = process_program.with_words  # type: ignore[attr-defined]


class Killed(BaseException):
    """kill -9 of the program."""


class World:
    """An engine in memory: containers by id, with names as an engine has them."""

    def __init__(self, *, bad: bool = False, older: bool = False, refuses: bool = False) -> None:
        self.containers: dict[str, dict[str, Any]] = {"old": self.made("groot", running=True, policy="always")}
        if older:
            self.containers["older"] = self.made("groot-prev", policy="no")
        self.bad, self.refuses = bad, refuses
        self.calls, self.die_at, self.after = 0, 0, False

    @staticmethod
    def made(name: str, *, running: bool = False, policy: str = "always") -> dict[str, Any]:
        return {"name": name, "running": running, "policy": policy, "ended": False}

    def call(self, effect: Any) -> Any:
        self.calls += 1
        if self.calls == self.die_at and not self.after:
            raise Killed
        answer = effect()
        if self.calls == self.die_at:
            raise Killed
        return answer

    @property
    def serving(self) -> list[str]:
        return [id for id, each in self.containers.items() if each["running"]]


class Api:
    """`docker_program.Api` over a World."""

    def __init__(self, world: World) -> None:
        self.world = world

    def find(self, name: str) -> str | None:
        known = self.world.containers
        return name if name in known else next((id for id, each in known.items() if each["name"] == name), None)

    def inspect(self, name: str) -> Any:
        id = self.find(name)
        if id is None:
            return None
        each = self.world.containers[id]
        return {"Id": id, "Name": f"/{each['name']}", "State": {"Running": each["running"], "ExitCode": 3}}

    def name(self, id: str) -> str:
        return str(self.world.containers[id]["name"])

    def rename(self, id: str, name: str) -> None:
        if self.name(id) != name:

            def effect() -> None:
                if self.find(name) is not None:
                    raise switch_program.Failed(f"the name {name} is in use")
                self.world.containers[id]["name"] = name

            self.world.call(effect)

    def policy(self, id: str, policy: Any) -> None:
        self.world.call(lambda: self.world.containers[id].update(policy=policy["Name"]))

    def stop(self, id: str, seconds: float) -> None:
        if id in self.world.containers:
            self.world.call(lambda: self.world.containers[id].update(running=False))

    def start(self, id: str) -> None:
        def effect() -> None:
            assert self.world.serving in ([], [id]), "two on one port"
            self.world.containers[id]["running"] = id in ("old", "older") or not self.world.bad

        self.world.call(effect)

    def remove(self, id: str) -> None:
        self.world.call(lambda: self.world.containers.pop(id, None))

    def words(self, id: str) -> str:
        return "no such model"

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        assert (method, path) == ("POST", "/containers/create")

        def effect() -> Any:
            if self.world.refuses:
                raise switch_program.Failed("Docker: no such image")
            assert self.find(more["name"]) is None
            id = f"new{len(self.world.containers)}"
            self.world.containers[id] = self.world.made(more["name"])
            return {"Id": id}

        return self.world.call(effect)


class Driver(Docker):
    world: World

    def __init__(self, plan: Any, progress: Any, note: Any) -> None:
        super().__init__({**plan, "socket": ""}, progress, note)
        self.api = Api(self.world)  # type: ignore[assignment]


def plan(**more: Any) -> dict[str, Any]:
    return {
        "what": "switch",
        "driver": "fake",
        "old": "old",
        "park": ["groot", "groot-prev"],
        "older": None,
        "reuse": None,
        "new": {"name": "groot-next", "final": "groot", "body": {}},
        "policy": {"Name": "always"},
        "address": "127.0.0.1",
        "port": 5555,
        "load_s": 1.0,
        "stop_s": 1.0,
        **more,
    }


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Perform a plan in a World until it ended, begun again after each kill; the outcome."""
    fresh = itertools.count()

    def perform(world: World, wanted: dict[str, Any], *, folder: Path | None = None) -> dict[str, Any]:
        monkeypatch.setitem(switch_program.__dict__, "DRIVERS", {"fake": type("Mine", (Driver,), {"world": world})})
        monkeypatch.setattr(switch_program, "greets", lambda address, port: bool(world.serving))
        folder = folder or tmp_path / str(next(fresh)) / "t-switch"
        folder.mkdir(parents=True, exist_ok=True)
        switch_program.write(str(folder), "plan.json", wanted)
        while True:
            try:
                outcome = switch_program.Exchange(str(folder)).safely()
                switch_program.write(str(folder), "outcome.json", outcome)
                return dict(outcome)
            except Killed:
                world.die_at = 0

    perform.folder = lambda: tmp_path / str(next(fresh)) / "t-switch"  # type: ignore[attr-defined]
    return perform


def whole(world: World, serves: str) -> None:
    """One serves, under its name, and would be started again after a reboot; whoever waits would not."""
    assert world.serving == [serves]
    assert world.containers[serves]["name"] == "groot" and world.containers[serves]["policy"] == "always"
    assert all(each["policy"] == "no" for id, each in world.containers.items() if id != serves)
    assert not any(each["name"] == "groot-next" for each in world.containers.values())


CASES = [(bad, older) for bad in (False, True) for older in (False, True)]


@pytest.mark.parametrize(("bad", "older"), CASES)
def test_killed_at_any_call_the_exchange_ends_as_if_it_had_not_been(exchange: Any, bad: bool, older: bool) -> None:
    more = {"older": ["older", "groot-prev-2"]} if older else {}
    plain = World(bad=bad, older=older)
    first = exchange(plain, plan(**more))
    assert (first["ok"], first["back"]) == (not bad, bad)
    for after, at in itertools.product((False, True), range(1, plain.calls + 1)):
        world = World(bad=bad, older=older)
        world.die_at, world.after = at, after
        outcome = exchange(world, plan(**more))
        assert (outcome["ok"], outcome["back"]) == (not bad, bad), (at, after)
        whole(world, "old" if bad else next(id for id in world.containers if id.startswith("new")))
        waits = {each["name"]: id for id, each in world.containers.items() if id not in world.serving}
        assert waits.get("groot-prev") == (("older" if older else None) if bad else "old")


@pytest.mark.parametrize("older", [False, True])
def test_restoring_is_as_hard_to_kill(exchange: Any, older: bool) -> None:
    more = {"older": ["older", "groot-prev-2"]} if older else {}
    calls = 1
    at = 1
    while at <= calls:
        world, folder = World(older=older), exchange.folder()
        exchange(world, plan(**more), folder=folder)
        world.calls, world.die_at = 0, at
        outcome = exchange(
            world,
            {"what": "restore", "undoes": "t-switch", "load_s": 1.0, "stop_s": 1.0},
            folder=folder.with_name("t-restore"),
        )
        assert outcome["ok"], outcome
        whole(world, "old")
        calls, at = max(calls, world.calls), at + 1
    assert calls > 4


def test_what_the_engine_does_not_make_costs_nothing(exchange: Any) -> None:
    world = World(refuses=True)
    outcome = exchange(world, plan())
    assert (outcome["ok"], outcome["back"], outcome["outage_s"]) == (False, True, 0.0)
    assert "no such image" in outcome["problem"] and world.calls == 1
    whole(world, "old")


def test_the_one_that_waits_is_started_again_and_the_other_one_waits(exchange: Any) -> None:
    reused = plan(reuse="older")
    plain = World(older=True)
    assert exchange(plain, reused)["ok"]
    whole(plain, "older")
    assert plain.containers["old"]["name"] == "groot-prev"
    for at in range(1, plain.calls + 1):
        world = World(older=True)
        world.die_at = at
        assert exchange(world, reused)["ok"]
        whole(world, "older")


def test_one_that_is_there_and_does_not_run_is_only_started(exchange: Any) -> None:
    world = World()
    world.containers["old"].update(running=False, policy="no")
    assert exchange(world, plan(old=None, reuse="old"))["ok"]
    whole(world, "old")
    assert list(world.containers) == ["old"]


def test_restoring_what_was_never_switched_changes_nothing(exchange: Any) -> None:
    world = World()
    folder = exchange.folder().with_name("t-restore")
    outcome = exchange(world, {"what": "restore", "undoes": "t-switch", "load_s": 1.0}, folder=folder)
    assert outcome["ok"] and world.calls == 0
    whole(world, "old")


#: A server of any kind: it greets as ZeroMQ does.
GREETS = (
    "import socket; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True)\n"
    "while True: s.accept()[0].sendall(b'\\xff'+bytes(8)+b'\\x7f')"
)


@pytest.fixture
def greeting() -> Iterator[tuple[int, int]]:
    """(port, pid) of one that belongs to the job "mine"."""
    env = {**os.environ, "DM_G1_JOB": "mine"}
    server = subprocess.Popen([sys.executable, "-c", GREETS], stdout=subprocess.PIPE, env=env)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline()), server.pid
    finally:
        server.kill()
        server.wait()


def waiting(monkeypatch: pytest.MonkeyPatch, port: int, driver: Any) -> str | None:
    """What an exchange that waits for this driver's server says."""
    monkeypatch.setitem(switch_program.SOURCES, "around", hands.program("around"))
    exchange = switch_program.Exchange.__new__(switch_program.Exchange)
    exchange.plan = {"load_s": 0.3}
    exchange.driver = driver
    driver.plan = {"address": "127.0.0.1", "port": port}
    return exchange.listens(lambda: None)


@pytest.mark.parametrize(("job", "fit"), [("mine", True), ("another", False)])
def test_a_greeting_counts_if_it_is_of_the_job_that_was_started(
    greeting: tuple[int, int], monkeypatch: pytest.MonkeyPatch, job: str, fit: bool
) -> None:
    port, pid = greeting
    driver = Process.__new__(Process)
    driver.running = job
    problem = waiting(monkeypatch, port, driver)
    assert problem is None if fit else f"port {port} belongs to" in (problem or "") and f"pid {pid}" in (problem or "")


def test_a_greeting_counts_if_it_is_of_the_container_that_was_started(
    greeting: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, pid = greeting
    parent, elsewhere = os.getpid(), 2**22 + 1  # beyond the greatest pid
    for first, mode, fit in (
        (pid, "host", True),
        (parent, "host", True),
        (1, "bridge", True),
        (elsewhere, "host", False),
    ):
        driver = Docker.__new__(Docker)
        driver.running = "new"
        found = {"State": {"Pid": first}, "HostConfig": {"NetworkMode": mode}}
        driver.api = type("Api", (), {"inspect": lambda self, id, found=found: found})()
        assert (waiting(monkeypatch, port, driver) is None) == fit, (first, mode)
