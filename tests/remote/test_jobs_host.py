"""Jobs of a host as the console has them: through a real sshd, on the host and in a container of a real engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import sshd as sshds
from dockerd import Engine, engine  # noqa: F401 - a fixture
from places import QUICK, carriers

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import DockerUnavailable
from dm_isaac_g1.core.runs import JobInfo, JobSpec, JobState
from dm_isaac_g1.remote.host import Host
from dm_isaac_g1.remote.jobs import new_job_id
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(120)]


@dataclass
class Machine:
    """A host, how to open it, and what runs on it."""

    sshd: sshds.Sshd
    runtime: profile.Runtime
    paths: profile.Paths
    #: Processes of a job, as the machine sees them.
    job_processes: Callable[[str], list[str]]
    #: Agents that still run there.
    agents: Callable[[], list[str]]

    def host(self) -> Host:
        return self.sshd.host(runtime=self.runtime, paths=self.paths)


@pytest.fixture(params=["bare", pytest.param("docker", marks=pytest.mark.dockerd)])
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Machine]:
    require_sshd()
    with sshds.running(tmp_path / "sshd") as running:

        def agents() -> list[str]:
            return [str(pid) for pid in sshds.agents(running.process.pid)] if running.process else []

        if request.param == "bare":
            yield Machine(running, "bare", profile.Paths(workspace=str(running.workspace)), carriers, agents)
            return
        docker: Engine = request.getfixturevalue("engine")
        name = docker.container(f"box-{os.urandom(4).hex()}")
        try:
            yield Machine(
                running,
                profile.DockerRuntime(docker=profile.Docker(container=name, socket=docker.socket)),
                profile.Paths(workspace="/workspace"),
                lambda _id: [line for line in docker.processes(name) if "types,zlib" not in line],
                lambda: [*agents(), *(line for line in docker.processes(name) if "types,zlib" in line)],
            )
        finally:
            docker.docker("rm", "-f", name, check=False)


def spec(*argv: str) -> JobSpec:
    return JobSpec(id=new_job_id("host", time.time()), name="host", kind="command", argv=argv, cwd="/tmp")


async def ended(host: Host, id: str, timeout: float = 30.0) -> JobInfo:
    async with asyncio.timeout(timeout):
        while not (job := await host.jobs.get(id)).state.ended:
            await asyncio.sleep(0.1)
    return job


async def test_a_job_lives_and_is_stopped_over_a_real_connection(machine: Machine) -> None:
    async with machine.host() as host:
        await host.ready(20)
        job = await host.jobs.start(spec("bash", "-c", "(setsid sleep 300 &); echo up; sleep 300"), waits=QUICK)
        assert job.host == "box" and job.folder.startswith(host.path("jobs") + "/")
        assert len(machine.job_processes(job.id)) >= 2
        await host.jobs.stop(job.id, "interrupt", "test")
        job = await ended(host, job.id)
        assert job.state is JobState.STOPPED and machine.job_processes(job.id) == []
        chunk = await host.files.read(f"{job.folder}/log")
        assert chunk.data == b"up\n"


async def test_a_job_goes_on_while_the_link_is_cut_and_is_found_again(machine: Machine) -> None:
    proxy = sshds.Proxy(machine.sshd.port)
    async with proxy.running():
        machine.sshd.know(proxy.port)
        machine.sshd.write_config(proxy.port)
        async with machine.host() as host:
            await host.ready(20)
            job = await host.jobs.start(spec("bash", "-c", "for i in 1 2 3; do echo $i; sleep 1; done"), waits=QUICK)
            await proxy.cut()
            await asyncio.sleep(1.5)
            assert host.status.state == "away"
            await proxy.restore()
            async with asyncio.timeout(10):
                async for status in host.statuses():
                    if status.state == "up":
                        break
            assert (await ended(host, job.id)).state is JobState.SUCCEEDED
            assert (await host.files.read(f"{job.folder}/log")).data == b"1\n2\n3\n"


CONSOLE = """
import asyncio, sys
sys.path[:0] = {path!r}
import msgspec
from dm_isaac_g1.core import profile
from dm_isaac_g1.core.runs import JobSpec
from dm_isaac_g1.remote.host import open_host
async def main():
    known = msgspec.json.decode({known!r}, type=profile.Host)
    async with open_host("box", known, ssh_config={config!r}) as host:
        await host.ready(20)
        if {start!r}:
            await host.jobs.start(msgspec.json.decode({start!r}, type=JobSpec))
        async for jobs in host.jobs.changes(0.1):
            print("watching", flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("turns", [5, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(200)])])
async def test_a_console_killed_again_and_again_leaves_no_process_and_loses_no_job(
    machine: Machine, turns: int
) -> None:
    job = spec("sleep", "300")
    known = msgspec.json.encode(machine.sshd.profile(runtime=machine.runtime, paths=machine.paths)).decode()
    for turn in range(turns):
        start = msgspec.json.encode(job).decode() if turn == 0 else ""
        code = textwrap.dedent(CONSOLE).format(
            path=sys.path, known=known, config=str(machine.sshd.config), start=start
        )  # fmt: skip
        console = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert console.stdout is not None
        try:
            said = await asyncio.wait_for(asyncio.to_thread(console.stdout.readline), 30)
            assert said == b"watching\n"
            assert machine.agents()
        finally:
            console.send_signal(signal.SIGKILL)
            console.wait()
            console.stdout.close()
        deadline = time.monotonic() + 5
        while left := machine.agents():
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.1)
    async with machine.host() as host:
        await host.ready(20)
        assert (await host.jobs.get(job.id)).state is JobState.RUNNING
        assert len(machine.job_processes(job.id)) >= 1
        await host.jobs.stop(job.id, "kill", "test")
        assert (await ended(host, job.id)).state is JobState.STOPPED


async def test_a_start_that_is_interrupted_leaves_a_whole_job_or_none(machine: Machine) -> None:
    async with machine.host() as host:
        await host.ready(20)
        for delay in (0.0, 0.01, 0.03, 0.06, 0.1, 0.2):
            job = spec("sleep", "300")
            starting = asyncio.create_task(host.jobs.start(job, waits=QUICK))
            await asyncio.sleep(delay)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
        await asyncio.sleep(1.5)
        for job_info in await host.jobs.list():
            assert job_info.state is JobState.RUNNING and job_info.diagnosis is None
            await host.jobs.stop(job_info.id, "kill", "test")
            assert (await ended(host, job_info.id)).state is JobState.STOPPED


@pytest.mark.dockerd
async def test_the_host_says_what_is_wrong_with_docker(engine: Engine, tmp_path: Path) -> None:  # noqa: F811
    require_sshd()
    with sshds.running(tmp_path / "sshd") as running:
        for socket, container, advice in (
            (str(tmp_path / "no.sock"), "x", "no Docker engine at .*systemctl start docker"),
            (engine.socket, "no-such-box", "no container no-such-box"),
        ):
            runtime = profile.DockerRuntime(docker=profile.Docker(container=container, socket=socket))
            async with running.host(runtime=runtime, paths=profile.Paths(workspace="/workspace")) as host:
                with pytest.raises(DockerUnavailable, match=advice):
                    async with asyncio.timeout(20):
                        await host.jobs.list()
