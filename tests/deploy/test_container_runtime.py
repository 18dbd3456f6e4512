"""A server in a container of a real Docker engine, behind a real sshd: exchanged for one that differs in its model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sshd as openssh
from dockerd import IMAGE, Engine, engine  # noqa: F401 - a fixture
from serving import SERVER, SPEC, Robot, launch, release

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import RefusedError
from dm_isaac_g1.deploy import asking, health
from dm_isaac_g1.deploy.gathering import Place
from dm_isaac_g1.deploy.runtimes import choose, mounts
from dm_isaac_g1.deploy.runtimes.container import ContainerRuntime
from dm_isaac_g1.deploy.runtimes.process import ProcessRuntime
from dm_isaac_g1.deploy.runtimes.served import Served
from dm_isaac_g1.deploy.store import Store
from dm_isaac_g1.remote.host import Host, open_host
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.dockerd, pytest.mark.timeout(90)]

#: What a container needs of this machine to run the tests' server, at the same paths.
PYTHON = sorted({sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2])})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openssh.Sshd]:
    require_sshd()
    with openssh.running(tmp_path_factory.mktemp("spark")) as running:
        yield running


@pytest.fixture
def port() -> int:
    return openssh.free_port()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
async def host(server: openssh.Sshd, engine: Engine, models: Path, port: int) -> AsyncIterator[Host]:  # noqa: F811
    paths = profile.Paths(workspace=str(models.parent), caches=str(models.parent / "caches"))
    serve = profile.Serve(how="container", container=f"groot-{port}", socket=engine.socket, load_s=15.0)
    async with server.host("spark", roles=("serve",), port=port, paths=paths, serve=serve) as made:
        await made.ready(20)
        yield made
    for name in engine.docker("ps", "-aq", "--filter", f"name={port}").stdout.decode().split():
        engine.docker("rm", "-f", name, check=False)


Start = Callable[..., dict[str, Any]]


@pytest.fixture
def start(engine: Engine, models: Path, port: int) -> Start:  # noqa: F811
    """Start the container that serves, as its owner once did; what `docker inspect` says of it."""

    def run(model: str, *options: str, command: tuple[str, ...] = (), network: str = "host") -> dict[str, Any]:
        shared = [part for path in (*PYTHON, "/usr") for part in ("-v", f"{path}:{path}:ro")]
        name = f"groot-{port}"
        words = command or (sys.executable, str(SERVER), "--model", f"/models/rel/{model}", "--port", str(port))
        engine.docker(
            "run", "-d", "--name", name, "--network", network, *shared, "-v", f"{models}:/models:ro",
            "-e", "HOME=/root", "-e", "PYTHONUNBUFFERED=1", "--restart", "unless-stopped", *options, IMAGE, *words,
        )  # fmt: skip
        return dict(engine.inspect(name))

    return run


@pytest.fixture
async def runtime(host: Host) -> ContainerRuntime:
    found = await choose(host)
    assert isinstance(found, ContainerRuntime)
    return found


async def tried(host: Host, served: Served) -> health.Health:
    async with host.reach(served.port, served.address) as address:
        return await health.gate(address, SPEC, patience_s=15, answer_s=2)


def chosen(inspected: dict[str, Any]) -> dict[str, Any]:
    """What an owner chose of a container."""
    config = {**inspected["Config"], "Hostname": ""}
    mounts = [{name: value for name, value in mount.items() if name != "Mode"} for mount in inspected["Mounts"]]
    return {"Config": config, "HostConfig": inspected["HostConfig"], "Mounts": mounts, "Image": inspected["Image"]}


async def test_the_new_container_differs_from_the_old_one_in_the_models_path_alone(
    host: Host,
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    one, two = release(models, "one", value=1.0), release(models, "two", value=2.0)
    before = start(one.id, "-e", "A=b c", "--label", "who=me", "--shm-size", "16m", "-v", "/anonymous")
    with Robot(port).asking() as robot:
        robot.ready(1.0)
        now = await runtime.current()
        assert now is not None and (now.state, now.release, now.path) == ("serving", one.id, f"/models/rel/{one.id}")
        assert await runtime.check(launch(two, "txn2")) == ()
        candidate = await runtime.start_candidate(launch(two, "txn2"))
        assert candidate.port != port and (await tried(host, candidate)).ok
        await runtime.drop_candidate("txn2")
        assert robot.failures == 0 and await runtime.candidate("txn2") is None
        done = await runtime.switch(launch(two, "txn2"))
        robot.wait(2.0)
        assert done.ok and done.load_s is not None and robot.gap() <= done.load_s + 1.0, (done, robot.gap())
        after = dict(engine.inspect(f"groot-{port}"))
        assert after["Config"]["Cmd"][3] == f"/models/rel/{two.id}"
        for each in (before, after):
            each["Config"]["Cmd"][3] = ""
            labels = each["Config"]["Labels"]
            each["Config"]["Labels"] = {name: labels[name] for name in labels if not name.startswith("dm-g1.")}
            each["Mounts"].sort(key=lambda mount: mount["Destination"])
        # A volume without a name of its own is handed on under the name that the engine gave it.
        after["HostConfig"]["Binds"] = [each for each in after["HostConfig"]["Binds"] if "/anonymous" not in each]
        assert chosen(after) == chosen(before)
        waits = dict(engine.inspect(f"groot-{port}-prev"))
        assert waits["Id"] == before["Id"] and waits["HostConfig"]["RestartPolicy"]["Name"] == "no"
        # And back: the very container, with what its owner had chosen.
        back = await runtime.restore("txn2")
        robot.wait(1.0)
        assert back.ok and robot.gap() <= max(done.load_s, back.load_s or 0.0) + 1.0
        again = dict(engine.inspect(f"groot-{port}"))
        assert again["Id"] == before["Id"] and again["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


async def test_a_bad_candidate_costs_no_request(
    host: Host,
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    before = start(release(models, "one", value=1.0).id)
    with Robot(port).asking() as robot:
        robot.ready(1.0)
        for act, said in (("nan", "nan"), ("exit", "listens")):
            candidate = await runtime.start_candidate(launch(release(models, act, act=act), f"txn-{act}"))
            async with host.reach(candidate.port, candidate.address) as address:

                async def gone(act: str = act) -> str | None:
                    now = await runtime.candidate(f"txn-{act}")
                    return None if now is not None and now.state != "down" else "it ended before it listens"

                sick = await health.gate(address, SPEC, patience_s=15, answer_s=2, alive=gone)
            assert not sick.ok and said in (sick.problem or ""), sick
            await runtime.drop_candidate(f"txn-{act}")
        await asyncio.sleep(0.2)
    assert robot.failures == 0
    assert engine.inspect(f"groot-{port}")["Id"] == before["Id"]


async def test_a_stranger_on_the_candidates_port_is_not_taken_for_the_candidate(
    host: Host, runtime: ContainerRuntime, models: Path, start: Start, tmp_path: Path
) -> None:
    start(release(models, "one", load_s=0.0).id)
    there = Place(host, runtime, Store(host, str(models)))
    for name, load_s, strange in (("quick", 0.0, False), ("slow", 60.0, True)):
        candidate = await runtime.start_candidate(launch(release(models, name, load_s=load_s), f"txn-{name}"))
        stranger = socket.create_server(("127.0.0.1", candidate.port)) if strange else contextlib.nullcontext()
        with stranger:
            found = await asking.taken(there, candidate)
            if not strange:
                assert (await tried(host, candidate)).ok and found is None
                found = await asking.taken(there, candidate)
        assert (found is not None) == strange, found
        assert not strange or f"pid {os.getpid()}" in (found or "")
        await runtime.drop_candidate(f"txn-{name}")


async def test_a_container_that_does_not_come_up_gives_its_place_back_and_says_why(
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    before = start(release(models, "one", value=1.0).id)
    with Robot(port).asking() as robot:
        robot.wait(1.0)
        done = await runtime.switch(launch(release(models, "bad", act="exit"), "txn2"))
        robot.answers.clear()
        robot.wait(1.0)
    assert not done.ok and done.back and "exit 3" in (done.problem or "") and "no weights" in (done.problem or "")
    assert engine.inspect(f"groot-{port}")["Id"] == before["Id"]
    assert engine.docker("inspect", f"groot-{port}-next", check=False).returncode != 0
    assert (await runtime.restore("txn2")).ok


async def test_an_exchange_whose_console_and_program_are_killed_is_ended_by_the_next_console(
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    start(release(models, "one", value=1.0).id)
    two = launch(release(models, "two", value=2.0, load_s=2.0), "txn2")
    with Robot(port).asking() as robot:
        robot.ready(1.0)
        gone = asyncio.create_task(runtime.switch(two))
        while robot.failures == 0:
            await asyncio.sleep(0.01)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if f"{models}/.serving/".encode() in (entry / "cmdline").read_bytes():
                        os.kill(int(entry.name), signal.SIGKILL)
        done = await runtime.switch(two)
        robot.wait(2.0)
    assert done.ok
    await runtime.settle("txn2", keep=0)
    assert engine.inspect(f"groot-{port}-prev"), "no deploy made it: it is its owner's"


async def test_going_back_to_the_one_that_waits_starts_that_very_container(
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    one, two, three = (release(models, name, value=value) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0)))
    first = start(one.id)
    assert (await runtime.switch(launch(two, "t2"))).ok
    assert (await runtime.switch(launch(one, "t3"))).ok
    assert engine.inspect(f"groot-{port}")["Id"] == first["Id"]
    assert engine.inspect(f"groot-{port}-prev")["Id"] != first["Id"]
    assert (await runtime.switch(launch(three, "t4"))).ok
    assert engine.inspect(f"groot-{port}-prev")["Id"] == first["Id"]
    await runtime.settle("t4", keep=1)
    left = engine.docker("ps", "-a", "--filter", f"name=groot-{port}", "--format", "{{.Names}}").stdout.decode().split()
    assert sorted(left) == [f"groot-{port}", f"groot-{port}-prev"]
    # After a night without power: what is to serve is there already, and only has to be started.
    serves = engine.inspect(f"groot-{port}")["Id"]
    engine.docker("stop", "-t", "5", f"groot-{port}")
    assert (await runtime.switch(launch(three, "t5"))).ok
    assert engine.inspect(f"groot-{port}")["Id"] == serves
    assert engine.inspect(f"groot-{port}-prev")["Id"] == first["Id"]


async def test_a_container_that_its_owner_made_is_never_removed(
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    one, *others = (release(models, name, load_s=0.0) for name in ("a", "b", "c", "d"))
    first = start(one.id)
    for number, each in enumerate(others):
        assert (await runtime.switch(launch(each, f"t{number}"))).ok
        await runtime.settle(f"t{number}", keep=1)
    assert engine.inspect(f"groot-{port}-prev-2")["Id"] == first["Id"]
    left = engine.docker("ps", "-a", "--filter", f"name=groot-{port}", "--format", "{{.Names}}").stdout.decode().split()
    assert sorted(left) == [f"groot-{port}", f"groot-{port}-prev", f"groot-{port}-prev-2"], "deploys' own are"
    await runtime.settle("t2", keep=0)
    assert engine.inspect(f"groot-{port}-prev-2")["Id"] == first["Id"]
    assert engine.docker("inspect", f"groot-{port}-prev", check=False).returncode != 0


async def test_what_cannot_be_served_is_said_before_anything_is_touched(
    host: Host,
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    one = release(models, "one")
    assert "no container" in (await runtime.check(launch(one, "t")))[0]
    start("x", command=("sleep", "infinity"), network="none")
    problems = " / ".join(await runtime.check(launch(one, "t")))
    assert "names no model" in problems and "listens on port 5555" in problems
    with pytest.raises(RefusedError, match="names no model"):
        await runtime.switch(launch(one, "t"))
    engine.docker("rm", "-f", f"groot-{port}")
    start(
        "x", "--label", "x=y", command=("bash", "-c", f"sleep 99 --model /models/x --port {port} --embodiment-tag GR1")
    )
    elsewhere = msgspec.structs.replace(one, path="/nowhere/rel/one", embodiment="UNITREE_G1")
    problems = " / ".join(await runtime.check(launch(elsewhere, "t")))
    assert "does not see /nowhere/rel/one" in problems and "-v /nowhere/rel:/nowhere/rel" in problems
    assert "embodiment GR1" in problems
    assert engine.inspect(f"groot-{port}")["State"]["Running"]


async def test_a_port_that_somebody_else_took_is_named(
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    one = release(models, "one")
    start(one.id)
    engine.docker("stop", "-t", "1", f"groot-{port}")
    foreign = subprocess.Popen(["python3", "-m", "http.server", "--bind", "127.0.0.1", str(port)])
    try:
        while (now := await runtime.current()) is None or not now.foreign:
            await asyncio.sleep(0.1)
        assert str(foreign.pid) in now.title
        with pytest.raises(RefusedError, match=r"http\.server"):
            await runtime.switch(launch(release(models, "two"), "t"))
    finally:
        foreign.kill()
        foreign.wait()


async def test_a_server_that_is_deaf_to_sigterm_does_not_lengthen_the_outage(
    runtime: ContainerRuntime, models: Path, start: Start, port: int
) -> None:
    start(release(models, "one", value=1.0, sigterm=False).id)
    with Robot(port).asking() as robot:
        robot.ready(1.0)
        done = await runtime.switch(launch(release(models, "two", value=2.0), "txn2"))
        robot.wait(2.0)
    assert done.ok and done.load_s is not None and robot.gap() <= done.load_s + 1.0, (done, robot.gap())


async def test_on_a_network_of_its_own_the_candidate_is_asked_at_its_own_address(
    server: openssh.Sshd,
    host: Host,
    engine: Engine,  # noqa: F811
    runtime: ContainerRuntime,
    models: Path,
    start: Start,
    port: int,
) -> None:
    one, two = release(models, "one", value=1.0), release(models, "two", value=2.0)
    network = engine.docker("network", "create", f"lan{port}", check=False)
    if network.returncode:
        pytest.skip(f"no bridge networks here: {network.stderr.decode().strip()}")
    words = (sys.executable, str(SERVER), "--model", f"/models/rel/{one.id}", "--port", "5555", "--bind", "0.0.0.0")
    start(one.id, "-p", f"127.0.0.1:{port}:5555", network=f"lan{port}", command=words)
    try:
        with Robot(port).asking() as robot:
            robot.ready(1.0)
            assert await runtime.check(launch(two, "t")) == ()
            assert len((await runtime.around()).clients) == 1
            candidate = await runtime.start_candidate(launch(two, "t"))
            assert candidate.port == 5555 and candidate.address != "127.0.0.1"
            assert (await tried(host, candidate)).ok
            await runtime.drop_candidate("t")
            assert robot.failures == 0
            done = await runtime.switch(launch(two, "t"))
            robot.wait(2.0)
            assert done.ok and done.load_s is not None and robot.gap() <= done.load_s + 1.0
        inside = profile.DockerRuntime(docker=profile.Docker(container=f"groot-{port}", socket=engine.socket))
        paths = profile.Paths(workspace="/root", models="/models")
        made = msgspec.structs.replace(host.profile, runtime=inside, paths=paths)
        async with open_host("spark", made, ssh_config=str(server.config)) as there:
            await there.ready(20)
            [problem] = await ProcessRuntime(there).check(launch(two, "t"))
            assert "network of its own" in problem and "bind: 0.0.0.0" in problem
    finally:
        engine.docker("rm", "-f", f"groot-{port}", f"groot-{port}-prev", check=False)
        engine.docker("network", "rm", f"lan{port}", check=False)


async def test_where_the_containers_command_names_no_model_a_process_in_it_serves(
    server: openssh.Sshd,
    engine: Engine,  # noqa: F811
    host: Host,
    models: Path,
    start: Start,
    port: int,
) -> None:
    start("x", "-v", "/nowhere", command=("sleep", "infinity"))
    inside = profile.DockerRuntime(docker=profile.Docker(container=f"groot-{port}", socket=engine.socket))
    made = profile.Host(
        ssh="box",
        roles=("serve",),
        port=port,
        runtime=inside,
        paths=profile.Paths(workspace="/root", models="/models", caches="/root/caches", jobs="/root/jobs"),
    )
    async with open_host("spark", made, ssh_config=str(server.config)) as there:
        await there.ready(20)
        runtime = await choose(there)
        assert runtime.kind == "process"
        home = await runtime.home()
        assert home.folder == str(models) and home.runtime is there.host_runtime
        with pytest.raises(RefusedError, match="lies in the container itself"):
            mounts.outside(mounts.read(engine.inspect(f"groot-{port}")), "/root/models", where="spark")
        one, two = (launch(release(models, name, value=value), name) for name, value in (("one", 1.0), ("two", 2.0)))
        assert await runtime.check(one) == ()
        assert (await tried(there, await runtime.start_candidate(one))).ok
        await runtime.drop_candidate("one")
        assert (await runtime.switch(one)).ok
        now = await runtime.current()
        assert now is not None and (now.release, now.path) == (one.release.id, f"/models/rel/{one.release.id}")
        with Robot(port).asking() as robot:
            robot.ready(1.0)
            done = await runtime.switch(two)
            robot.wait(2.0)
            assert done.ok and done.load_s is not None and robot.gap() <= done.load_s + 1.0
            assert (await runtime.restore("two")).ok
            robot.wait(1.0)
