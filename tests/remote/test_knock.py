"""However long a host was away, it is back within two seconds of its return; and no login is tried before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import Proxy, Sshd, free_port, running
from test_reconnect import until

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.remote import knock
from dm_isaac_g1.remote import link as links
from dm_isaac_g1.remote.host import Host
from dm_isaac_g1.remote.knock import Door
from dm_isaac_g1.remote.target import resolve
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(60)]


@pytest.fixture
def no_eager_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after two minutes away: whatever backs off, backs off for 30 s."""
    monkeypatch.setattr(links, "EAGER_FOR", 0.0)
    monkeypatch.setattr(links, "backoff", lambda failures, eager: 0.0 if eager else 30.0)


@pytest.fixture
def hole() -> Iterator[socket.socket]:
    """A port that swallows what is sent to it, as a network that is gone does: its queue is full."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    filling = []
    for _ in range(3):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(listening.getsockname())
        filling.append(each)
    time.sleep(0.05)
    yield listening
    for each in [*filling, listening]:
        each.close()


async def test_a_host_that_was_down_for_long_is_back_within_two_seconds(tmp_path: Path, no_eager_tries: None) -> None:
    require_sshd()
    with running(tmp_path / "own") as own:
        async with own.host() as host:
            await host.ready(20)
            own.stop()
            await until(host, "away")
            await asyncio.sleep(2.5)
            assert "connection refused" in (host.status.problem or "")
            own.start()
            assert await until(host, "up") < 2


async def test_a_network_that_swallows_everything_is_used_within_two_seconds_of_its_return(
    hole: socket.socket,
) -> None:
    refused: list[OSError] = []
    knocking = asyncio.create_task(Door(*hole.getsockname()).knock(refused.append, 30))
    await asyncio.sleep(1.2)
    began = time.monotonic()
    hole.setblocking(False)
    while not knocking.done():
        with contextlib.suppress(BlockingIOError):
            hole.accept()[0].close()
        await asyncio.sleep(0.02)
    assert time.monotonic() - began < 1.5
    (await knocking or pytest.fail("no connection")).close()


async def test_a_silent_host_is_said_to_be_silent_in_time(hole: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "PATIENCE", 0.5)
    refused: list[OSError] = []
    began = time.monotonic()
    assert await Door(*hole.getsockname()).knock(refused.append, 1.5) is None
    assert time.monotonic() - began < 3
    assert refused
    assert all(isinstance(each, TimeoutError) for each in refused)


async def test_what_fails_after_the_host_has_answered_backs_off(tmp_path: Path, no_eager_tries: None) -> None:
    require_sshd()
    connections = 0

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(rude, "127.0.0.1", 0) as server:
        box = Sshd(tmp_path / "box", server.sockets[0].getsockname()[1]).prepare()
        async with box.host() as host:
            await until(host, "away")
            await asyncio.sleep(2.5)
    assert connections == 1


async def test_a_host_that_listens_gets_one_connection(tmp_path: Path) -> None:
    require_sshd()
    with running(tmp_path / "own") as own:
        between = Proxy(own.port)
        async with between.running():
            own.know(between.port)
            own.write_config(port=between.port)
            async with own.host() as host:
                await host.ready(20)
                await asyncio.sleep(1.2)
                assert between.taken == 1


async def test_a_host_that_does_not_come_up_in_time_is_unreachable(hole: socket.socket, tmp_path: Path) -> None:
    address, port = hole.getsockname()
    config = tmp_path / "config"
    config.write_text("")
    async with Host("box", profile.Host(ssh=f"me@{address}:{port}"), ssh_config=str(config)) as host:
        for wait in (host.ready, host.link.up):
            with pytest.raises(HostUnreachable):
                await wait(0.2)


async def test_leaving_while_it_knocks_leaves_no_socket(hole: socket.socket) -> None:
    before = len(os.listdir("/proc/self/fd"))
    knocking = asyncio.create_task(Door(*hole.getsockname()).knock(lambda error: None, 30))
    await asyncio.sleep(2.2)
    assert len(os.listdir("/proc/self/fd")) >= before + 2
    knocking.cancel()
    await asyncio.wait({knocking})
    assert knocking.cancelled()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_addresses_from_before_are_used_while_the_resolver_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(nobody, "127.0.0.1", 0) as server:
        door = Door("localhost", server.sockets[0].getsockname()[1])
        (await door.knock(lambda error: None, 5) or pytest.fail("no connection")).close()

        async def gone(*args: object, **named: object) -> None:
            raise socket.gaierror(socket.EAI_AGAIN, "no resolver")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", gone)
        (await door.knock(lambda error: None, 5) or pytest.fail("no connection")).close()
        with pytest.raises(socket.gaierror):
            await Door("somewhere.invalid", 22).knock(lambda error: None, 5)


@pytest.mark.parametrize("way", ["ProxyJump other", "ProxyCommand nc %h %p", "BindAddress 127.0.0.1"])
async def test_where_the_configuration_goes_another_way_nobody_knocks(tmp_path: Path, way: str) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host box\n  HostName 127.0.0.1\n  Port {free_port()}\n")
    assert (await resolve("box", "box", str(config))).door is not None
    config.write_text(config.read_text() + f"  {way}\n")
    assert (await resolve("box", "box", str(config))).door is None
