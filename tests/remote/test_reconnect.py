"""A link that is cut or freezes: seen in time, back in time, and not a byte of a log lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sshd import Proxy, Sshd, agents, running

from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.remote import link as links
from dm_isaac_g1.remote.host import Host
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    require_sshd()
    with running(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
async def proxy(box: Sshd) -> AsyncIterator[Proxy]:
    """A proxy before `box`, to which the client configuration points."""
    between = Proxy(box.port)
    async with between.running():
        box.know(between.port)
        box.write_config(port=between.port)
        yield between
    box.write_config()


async def until(host: Host, *states: str) -> float:
    """Seconds until the host is in one of `states`."""
    began = time.monotonic()
    async for status in host.statuses():
        if status.state in states:
            break
    return time.monotonic() - began


class Writer:
    """Appends numbered lines to a log, a few hundred a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            while True:
                file.write(f"line {self.lines:09d} \xff€ {'x' * (self.lines % 50)}\n".encode())
                self.lines += 1
                await asyncio.sleep(0.004)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class Reader:
    """Gathers what `follow` yields."""

    def __init__(self, host: Host, path: Path) -> None:
        self.data = bytearray()
        self.last = time.monotonic()
        self._task = asyncio.create_task(self._read(host, str(path)))

    async def _read(self, host: Host, path: str) -> None:
        async for chunk in host.files.follow(path):
            assert not chunk.restarted
            self.data += chunk.data
            assert chunk.position.offset == len(self.data)
            self.last = time.monotonic()

    async def has(self, size: int) -> None:
        async with asyncio.timeout(20):
            while len(self.data) < size:
                if self._task.done():
                    await self._task
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def test_a_cut_link_is_seen_at_once_back_within_two_seconds_and_loses_no_byte(
    box: Sshd, proxy: Proxy, tmp_path: Path
) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"")
    async with box.host() as host:
        await host.ready(20)
        writer, reader = Writer(log), Reader(host, log)
        for pause in (0.5, 3.0):
            await asyncio.sleep(0.5)
            await proxy.cut()
            assert await until(host, "away") < 1
            await asyncio.sleep(pause)
            await proxy.restore()
            assert await until(host, "up") < 2
        await asyncio.sleep(0.5)
        await writer.stop()
        await reader.has(log.stat().st_size)
        await reader.stop()
    assert bytes(reader.data) == log.read_bytes()


async def test_a_frozen_link_is_seen_within_fifteen_seconds_and_loses_no_byte(
    box: Sshd, proxy: Proxy, tmp_path: Path
) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"")
    async with box.host() as host:
        await host.ready(20)
        writer, reader = Writer(log), Reader(host, log)
        await asyncio.sleep(1)
        proxy.freeze()
        assert await until(host, "away") < 15
        await asyncio.sleep(2)
        proxy.thaw()
        assert await until(host, "up") < 2
        await asyncio.sleep(0.5)
        await writer.stop()
        await reader.has(log.stat().st_size)
        await reader.stop()
    assert bytes(reader.data) == log.read_bytes()


async def test_a_stopped_sshd_is_seen_within_fifteen_seconds(tmp_path: Path) -> None:
    with running(tmp_path / "own") as own:
        async with own.host() as host:
            await host.ready(20)
            assert own.process is not None
            frozen = [own.process.pid, *own.children()]
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                assert await until(host, "away") < 15
            finally:
                for pid in frozen:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            assert await until(host, "up") < 2


async def test_samples_go_on_after_a_reconnect(box: Sshd, proxy: Proxy) -> None:
    async with box.host() as host:
        seen = 0
        async for sample in host.samples():
            assert sample.memory is not None
            seen += 1
            if seen == 1:
                await proxy.cut()
                await asyncio.sleep(0.2)
                await proxy.restore()
            if seen == 4:
                break


async def test_a_command_under_way_when_the_link_breaks_is_lost_and_never_success(box: Sshd, proxy: Proxy) -> None:
    async with box.host() as host:
        await host.ready(20)
        running_ = asyncio.create_task(host.runtime.run(["sleep", "30"], timeout=20))
        await asyncio.sleep(0.5)
        await proxy.cut()
        assert (await running_).exit is None
        with pytest.raises(HostUnreachable):
            await host.runtime.run(["true"])


async def test_a_question_under_way_when_the_link_breaks_fails_as_unreachable(box: Sshd, proxy: Proxy) -> None:
    async with box.host() as host:
        await host.ready(20)
        proxy.freeze()
        asking = asyncio.create_task(host.files.stat("/"))
        await asyncio.sleep(0.2)
        await proxy.cut()
        proxy.thaw()
        with pytest.raises(HostUnreachable):
            await asking


async def test_leaving_a_host_at_any_moment_ends_in_time_and_leaves_no_agent(box: Sshd, proxy: Proxy) -> None:
    for pause in (0.0, 0.05, 0.15, 0.3, 1.0):
        began = time.monotonic()
        async with box.host():
            await asyncio.sleep(pause)
        assert time.monotonic() - began < pause + 3
    proxy.freeze()
    began = time.monotonic()
    async with box.host():
        await asyncio.sleep(0.5)
    assert time.monotonic() - began < 4
    proxy.thaw()
    await gone(box)


async def gone(box: Sshd, within: float = 3.0) -> None:
    """No agent is left below this sshd."""
    deadline = time.monotonic() + within
    assert box.process is not None
    while left := agents(box.process.pid):
        assert time.monotonic() < deadline, f"agents left: {left}"
        await asyncio.sleep(0.1)


CONSOLE = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from sshd import Sshd

async def main():
    box = Sshd(Path({folder!r}), {port})
    async with box.host() as host:
        await host.ready(20)
        async for chunk in host.files.follow({log!r}):
            print("following", flush=True)

asyncio.run(main())
"""


async def test_after_kill_9_of_a_console_no_agent_is_left(box: Sshd, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x\n")
    box.write_config()
    program = CONSOLE.format(tests=str(Path(__file__).parent), folder=str(box.folder), port=box.port, log=str(log))
    assert box.process is not None
    for _ in range(5):
        console = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        try:
            assert console.stdout is not None
            assert await asyncio.to_thread(console.stdout.readline) == b"following\n"
            assert agents(box.process.pid)
        finally:
            console.kill()
            console.wait(10)
        await gone(box, within=2.5)


@pytest.mark.parametrize("failures", range(12))
def test_back_off_is_jittered_grows_and_is_capped(failures: int) -> None:
    top = links.backoff(failures, eager=False, chance=1.0)
    assert top == min(30.0, 0.5 * 2**failures)
    assert links.backoff(failures, eager=False, chance=0.0) == 0.0
    assert links.backoff(failures, eager=True, chance=1.0) <= 1.0
