"""A server as a supervised process on a host behind a real sshd: exchanged, brought back, and never left out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import sshd as openssh
from serving import LOAD_S, SPEC, Robot, launch, release

from dm_isaac_g1.core.errors import HostUnreachable, RefusedError
from dm_isaac_g1.core.profile import Serve
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.deploy import health
from dm_isaac_g1.deploy.runtimes import choose
from dm_isaac_g1.deploy.runtimes.process import ProcessRuntime
from dm_isaac_g1.deploy.runtimes.served import Served, Switched
from dm_isaac_g1.remote.host import Host
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openssh.Sshd]:
    require_sshd()
    with openssh.running(tmp_path_factory.mktemp("spark")) as running:
        yield running


@pytest.fixture
def workspace(server: openssh.Sshd, tmp_path: Path) -> Path:
    server.folder.joinpath("unused").mkdir(exist_ok=True)
    return tmp_path / "workspace"


@pytest.fixture
async def host(server: openssh.Sshd, workspace: Path) -> AsyncIterator[Host]:
    from dm_isaac_g1.core import profile

    workspace.mkdir()
    paths = profile.Paths(workspace=str(workspace), caches=str(workspace / "caches"))
    made = server.host("spark", roles=("serve",), port=openssh.free_port(), paths=paths, serve=Serve(load_s=15.0))
    async with made:
        await made.ready(20)
        yield made
    for pid in running_there(workspace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def runtime(host: Host) -> ProcessRuntime:
    found = await choose(host)
    assert isinstance(found, ProcessRuntime)
    return found


@pytest.fixture
def models(workspace: Path) -> Path:
    return workspace / "models"


async def reached(host: Host, served: Served, patience: float = 10.0) -> health.Health:
    async with host.reach(served.port, served.address) as address:
        return await health.gate(address, SPEC, patience_s=patience, answer_s=5)


async def test_a_release_is_tried_beside_then_served_and_nothing_of_the_trial_is_left(
    host: Host, runtime: ProcessRuntime, models: Path
) -> None:
    assert await runtime.current() is None
    one = launch(release(models, "one", value=1.0), "txn1")
    candidate = await runtime.start_candidate(one)
    assert candidate.port != host.profile.port and (await runtime.start_candidate(one)).id == candidate.id
    assert (await reached(host, candidate)).ok
    await runtime.drop_candidate("txn1")
    await runtime.drop_candidate("txn1")
    assert await runtime.candidate("txn1") is None
    done = await runtime.switch(one)
    assert done.ok and done.load_s is not None and done.load_s < LOAD_S + 2
    now = await runtime.current()
    assert now is not None and (now.id, now.release, now.state, now.foreign) == (
        done.id,
        one.release.id,
        "serving",
        False,
    )
    found = await reached(host, now)
    assert found.ok and found.passed == "action" and found.dialect == "nested" and found.ping_ms is not None


async def test_a_robot_misses_no_more_than_the_load_and_a_second_there_and_back(
    host: Host, runtime: ProcessRuntime, models: Path
) -> None:
    await runtime.switch(launch(release(models, "one", value=1.0), "txn1"))
    with Robot(host.profile.port).asking() as robot:
        robot.wait(1.0)
        two = launch(release(models, "two", value=2.0), "txn2")
        # A process loads for as long as its imports and its model take.
        done = await runtime.switch(two)
        robot.wait(2.0)
        load = done.load_s or 0.0
        assert done.ok and robot.gap() <= load + 1.0, (robot.gap(), done)
        back = await runtime.restore("txn2")
        robot.wait(1.0)
        assert back.ok and robot.gap() <= max(load, back.load_s or 0.0) + 1.0, (robot.gap(), back)
    now = await runtime.current()
    assert now is not None and now.release.startswith("one-")
    assert (await runtime.restore("txn2")).id == back.id, "once is enough"


async def test_a_model_that_does_not_load_is_never_seen_by_the_robot_when_tried_beside(
    host: Host, runtime: ProcessRuntime, models: Path
) -> None:
    await runtime.switch(launch(release(models, "one", value=1.0), "txn1"))
    bad = launch(release(models, "bad", act="nan"), "txn2")
    with Robot(host.profile.port).asking() as robot:
        robot.wait(1.0)
        sick = await reached(host, await runtime.start_candidate(bad))
        await runtime.drop_candidate("txn2")
        assert not sick.ok and "nan" in (sick.problem or "")
    assert robot.failures == 0


async def test_one_that_ends_while_it_loads_leaves_the_one_before_serving(
    host: Host, runtime: ProcessRuntime, models: Path, workspace: Path
) -> None:
    first = await runtime.switch(launch(release(models, "one", value=1.0), "txn1"))
    bad = launch(release(models, "bad", act="exit"), "txn2")
    done = await runtime.switch(bad)
    assert not done.ok and done.back and done.id != first.id
    assert "the weights are no weights" in (done.problem or "")
    now = await runtime.current()
    assert now is not None and now.release.startswith("one-") and (await reached(host, now)).ok
    assert await runtime.switch(bad) == done, "the same deploy has the same end"
    assert (await runtime.restore("txn2")).ok


async def test_a_server_that_crashes_is_started_again(host: Host, runtime: ProcessRuntime, models: Path) -> None:
    await runtime.switch(launch(release(models, "one", value=1.0), "txn1"))
    now = await runtime.current()
    assert now is not None
    job = await host.jobs.get(now.id)
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    with Robot(host.profile.port).asking() as robot:
        robot.wait(1.0)
    again = await runtime.current()
    assert again is not None and (again.id, again.restarts) == (now.id, 1)


async def test_what_is_not_ours_is_named_and_not_touched(host: Host, runtime: ProcessRuntime, models: Path) -> None:
    foreign = subprocess.Popen(["python3", "-m", "http.server", "--bind", "127.0.0.1", str(host.profile.port)])
    try:
        until = time.monotonic() + 10
        while (now := await runtime.current()) is None:
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        assert now.foreign and f"pid {foreign.pid}" in now.title
        one = launch(release(models, "one"), "txn1")
        assert any("http.server" in problem for problem in await runtime.check(one))
        with pytest.raises(RefusedError, match=r"http\.server"):
            await runtime.switch(one)
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


async def test_the_exchange_goes_on_when_the_console_is_gone(
    server: openssh.Sshd, host: Host, runtime: ProcessRuntime, models: Path
) -> None:
    await runtime.switch(launch(release(models, "one", value=1.0), "txn1"))
    two = launch(release(models, "two", value=2.0, load_s=1.0), "txn2")
    with Robot(host.profile.port).asking() as robot:
        robot.wait(1.0)
        gone = asyncio.create_task(runtime.switch(two))
        while robot.failures == 0:
            await asyncio.sleep(0.02)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        assert host.link.connection is not None
        host.link.connection.ssh.abort()  # and the line is cut
        robot.wait(2.0)
    assert (await when_it_is_back(lambda: runtime.switch(two))).ok


async def when_it_is_back(ask: Callable[[], Awaitable[Switched]]) -> Switched:
    until = time.monotonic() + 20
    while True:
        try:
            return await ask()
        except HostUnreachable:
            assert time.monotonic() < until
            await asyncio.sleep(0.2)


async def test_an_exchange_cut_off_by_a_reboot_is_ended_by_whoever_asks_again(
    host: Host, runtime: ProcessRuntime, models: Path, workspace: Path
) -> None:
    first = await runtime.switch(launch(release(models, "one", value=1.0), "txn1"))
    two = launch(release(models, "two", value=2.0, load_s=2.0), "txn2")
    gone = asyncio.create_task(runtime.switch(two))
    while (await host.jobs.get(first.id)).state is JobState.RUNNING:
        await asyncio.sleep(0.05)
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    for pid in running_there(workspace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    done = await runtime.switch(two)
    assert done.ok, done
    now = await runtime.current()
    assert now is not None and now.release.startswith("two-")


def running_there(workspace: Path) -> list[int]:
    """The exchange, supervisors and servers of this workspace: what a reboot ends."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(word.startswith(f"{workspace}/".encode()) for word in words):
                    found.append(int(entry.name))
    return found


async def test_settling_keeps_what_serves_and_the_logs_of_the_last_ones(
    host: Host, runtime: ProcessRuntime, models: Path
) -> None:
    for number in range(1, 3):
        await runtime.switch(launch(release(models, f"r{number}", load_s=0.0), f"txn{number}"))
    await runtime.settle("txn2", keep=1)
    states = [job.state for job in await host.jobs.list()]
    assert states.count(JobState.RUNNING) == 1 and JobState.STOPPED in states


async def test_what_did_not_serve_before_a_deploy_is_not_started_by_undoing_it(
    host: Host, runtime: ProcessRuntime, models: Path, workspace: Path
) -> None:
    """Neither a model that was rejected, nor a server that its user stopped: the port is as empty as it was."""
    for number in (1, 2):
        assert (await runtime.switch(launch(release(models, f"bad{number}", act="nan", load_s=0.0), f"txn{number}"))).ok
        assert (await runtime.restore(f"txn{number}")).ok
        assert await runtime.current() is None
    assert (await runtime.restore("txn0")).ok and await runtime.current() is None, "it had not switched anything"
    assert running_there(workspace) == []


async def test_undoing_a_switch_that_brought_the_old_one_back_itself_leaves_that_alone(
    host: Host, runtime: ProcessRuntime, models: Path
) -> None:
    await runtime.switch(launch(release(models, "one", value=1.0, load_s=0.0), "txn1"))
    failed = await runtime.switch(launch(release(models, "bad", act="exit", load_s=0.0), "txn2"))
    with Robot(host.profile.port).asking() as robot:
        robot.ready(1.0)
        assert (await runtime.restore("txn2")).id == failed.id
        robot.wait(1.0)
    assert robot.failures == 0
    now = await runtime.current()
    assert now is not None and now.id == failed.id
    jobs = [job.state for job in await host.jobs.list()]
    assert jobs.count(JobState.RUNNING) == 1


async def test_a_candidate_that_does_not_stop_is_an_error_that_undoing_survives(
    host: Host, runtime: ProcessRuntime, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dm_isaac_g1.core.errors import RemoteFailed
    from dm_isaac_g1.deploy.runtimes import process

    monkeypatch.setattr(process, "ENDS_S", 0.0)
    await runtime.start_candidate(launch(release(models, "one", load_s=30.0), "txn1"))
    with pytest.raises(RemoteFailed, match="still runs"):
        await runtime.drop_candidate("txn1")
