"""A host's ports, through its SSH connection: reached, told apart, and who stands at them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sshd as openssh
import zmq
import zmq.asyncio
from localruntime import LocalRuntime

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.remote import around as arounds
from dm_isaac_g1.remote import around_program
from dm_isaac_g1.remote.host import Host
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openssh.Sshd]:
    require_sshd()
    with openssh.running(tmp_path_factory.mktemp("spark")) as running:
        yield running


@pytest.fixture
async def host(server: openssh.Sshd) -> AsyncIterator[Host]:
    async with server.host("spark") as made:
        await made.ready(20)
        yield made


@contextlib.contextmanager
def listening(greeting: bytes = b"") -> Iterator[int]:
    """A port that takes connections and says that."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = server.accept()
                    peer.sendall(greeting)
                    kept.append(peer)

        kept: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for peer in kept:
            peer.close()


async def test_a_server_there_is_asked_here_and_nothing_is_left_of_the_way(host: Host) -> None:
    with zmq.asyncio.Context() as context:
        rep, req = context.socket(zmq.REP), context.socket(zmq.REQ)
        for each in (rep, req):
            each.linger = 0
        port = rep.bind_to_random_port("tcp://127.0.0.1")
        async with host.reach(port) as address:
            folder = Path(address.removeprefix("ipc://")).parent
            assert address.startswith("ipc:///") and stat.S_IMODE(folder.stat().st_mode) == 0o700
            req.connect(address)
            await req.send(b"x" * 1_000_000)
            async with asyncio.timeout(10):
                assert len(await rep.recv()) == 1_000_000
                await rep.send(b"y")
                assert await req.recv() == b"y"
            assert await host.answers(port) == "zmtp"
        assert not folder.exists()
        req.close()
        rep.close()


async def test_what_is_at_a_port_is_told_apart_at_once(host: Host) -> None:
    began = time.monotonic()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert await host.answers(probe.getsockname()[1]) == "refused"
    with listening(b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        assert await host.answers(port) == "other"
    assert time.monotonic() - began < 1.5, "a refused connection is a definite answer"
    with listening() as port:
        assert await host.answers(port) == "silent"


async def test_a_host_that_forwards_nothing_says_so(tmp_path: Path) -> None:
    with openssh.running(tmp_path / "closed", AllowTcpForwarding="no") as closed:
        async with closed.host("spark") as made:
            await made.ready(20)
            with pytest.raises(RemoteFailed, match="forwards no ports") as caught:
                await made.answers(5555)
            assert "AllowTcpForwarding" in (caught.value.fix or "")


async def test_a_host_that_is_away_is_away(server: openssh.Sshd) -> None:
    made = server.host("spark")
    with pytest.raises(HostUnreachable):
        async with made.reach(5555):
            pass


async def test_who_owns_a_port_and_who_is_connected_to_it(host: Host) -> None:
    script = (
        "import socket,sys; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True);"
        "robot=s.accept(); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "DM_G1_JOB": "20260101T000000-x-abcdef"},
    )
    try:
        assert owner.stdout is not None
        port = int(owner.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as robot:
            found = await arounds.around(host.host_runtime, port)
            mine = robot.getsockname()[1]
        [listener] = found.listening
        assert (listener.pid, listener.job) == (owner.pid, "20260101T000000-x-abcdef")
        assert listener.ancestors[0] == os.getpid()
        assert f"(pid {owner.pid})" in listener.title and listener.address == "127.0.0.1"
        assert f"127.0.0.1:{mine}" in found.clients
        assert found.arch == os.uname().machine and found.spare is not None and found.spare > port
        assert found.memory_free and found.memory_total and 0 < found.memory_free < found.memory_total
    finally:
        owner.kill()
        owner.wait()


async def test_nobody_at_a_port_is_nobody() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = await arounds.around(LocalRuntime(), probe.getsockname()[1])
    assert found.listening == () and found.clients == ()


def test_addresses_as_the_kernel_writes_them() -> None:
    assert around_program.address("0100007F") == "127.0.0.1"
    assert around_program.address("00000000000000000000000001000000") == "::1"
    assert around_program.address("0000000000000000FFFF00000100007F") == "127.0.0.1"


def listener(pid: int | None = 12, address: str = "127.0.0.1", **more: object) -> dict[str, object]:
    return {"address": address, **({"pid": pid} if pid else {}), **more}


@pytest.mark.parametrize(
    ("listening", "job", "pid", "strange"),
    [
        ([], "mine", 0, False),
        ([listener(job="mine")], "mine", 0, False),
        ([listener(job="other")], "mine", 0, True),
        ([listener()], "mine", 0, True),
        ([listener(None)], "mine", 0, True),  # a job's processes can always be looked into
        ([listener(job="other", address="::1")], "mine", 0, False),  # nobody asks there
        ([listener(job="other", address="0.0.0.0")], "mine", 0, True),
        ([listener(12)], "", 12, False),
        ([listener(13, ancestors=[12, 2])], "", 12, False),
        ([listener(13, ancestors=[2])], "", 12, True),
        ([listener(None)], "", 12, False),  # a container's belongs to root: nobody can tell
        ([listener()], "", 0, False),
    ],
)
def test_a_stranger_at_a_port_is_told_from_who_should_listen_there(
    listening: list[dict[str, object]], job: str, pid: int, strange: bool
) -> None:
    assert (around_program.stranger(listening, "127.0.0.1", job, pid) is not None) == strange
