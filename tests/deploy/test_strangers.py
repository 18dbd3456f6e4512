"""Whoever else is on a server's port is not taken for it, and is told no secret; a lost link is nobody's illness."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sshd as openssh
from serving import SERVER, launch, release

from dm_isaac_g1.core import profile
from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.deploy import asking, looking
from dm_isaac_g1.deploy.gathering import Place
from dm_isaac_g1.deploy.runtimes import choose
from dm_isaac_g1.deploy.runtimes.served import Served
from dm_isaac_g1.deploy.site import fitness
from dm_isaac_g1.deploy.store import Store
from dm_isaac_g1.remote.around import around
from required import require_sshd

pytestmark = [pytest.mark.sshd, pytest.mark.timeout(90)]

TOKEN = "canary-token"
#: A policy server that writes down the tokens it is given.
SPY = """
import sys, zmq
from dm_isaac_g1.inference.protocol import pack, unpack
socket = zmq.Context().socket(zmq.REP)
socket.bind(f"tcp://127.0.0.1:{sys.argv[1]}")
while True:
    print(unpack(socket.recv()).get("api_token"), flush=True)
    socket.send(pack({"status": "ok", "message": "x"}))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openssh.Sshd]:
    require_sshd()
    with openssh.running(tmp_path_factory.mktemp("spark")) as running:
        yield running


@pytest.fixture
async def there(server: openssh.Sshd, tmp_path: Path) -> AsyncIterator[Place]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    token = workspace / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    paths = profile.Paths(workspace=str(workspace), caches=str(workspace / "caches"))
    serve = profile.Serve(load_s=15.0, token_file=str(token))
    made = server.host("spark", roles=("serve",), port=openssh.free_port(), paths=paths, serve=serve)
    async with made as host:
        await host.ready(20)
        runtime = await choose(host)
        home = await runtime.home()
        yield Place(host, runtime, Store(host, home.folder))


async def listens(place: Place, port: int) -> None:
    until = time.monotonic() + 15
    while await place.host.answers(port) != "zmtp":
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def test_a_good_stranger_on_the_candidates_port_does_not_let_a_bad_candidate_pass(
    there: Place, tmp_path: Path
) -> None:
    models = Path((await there.runtime.home()).folder)
    bad = release(models, "bad", act="nan", load_s=30.0)
    candidate = await there.runtime.start_candidate(launch(bad, "txn1"))
    good = release(tmp_path / "own", "good", load_s=0.0)
    stranger = subprocess.Popen(
        [sys.executable, str(SERVER), "--model", good.path, "--port", str(candidate.port)], stdout=subprocess.DEVNULL
    )
    try:
        found = await fitness(there, candidate, bad)
        assert not found.ok and f"port {candidate.port} belongs to" in (found.problem or ""), found
        assert f"pid {stranger.pid}" in (found.problem or "") and found.passed == "port"
    finally:
        stranger.kill()
        stranger.wait()
        await there.runtime.drop_candidate("txn1")


async def test_what_no_deploy_started_is_looked_at_and_gets_no_token(there: Place) -> None:
    port = there.host.profile.port
    spy = subprocess.Popen([sys.executable, "-c", SPY, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        await listens(there, port)
        seen = await looking.look(there.host, there.host.profile)
        assert seen.state == "foreign" and seen.health is not None and seen.health.ok, seen
        # One that is meant to be ours, whose port the stranger has.
        ours = Served(id="20260101T000000-x-abcdef", title="process", port=port)
        found = (await around(there.host.runtime, port)).listening
        assert f"pid {spy.pid}" in (asking.taken_by(there, ours, found) or "")
        foreign = await there.runtime.current()
        assert foreign is not None and foreign.foreign
        assert not (await fitness(there, foreign, None)).ok
    finally:
        spy.kill()
        said, _ = spy.communicate()
    assert said.split() and set(said.split()) == {"None"}, "it was asked, and without the token"


async def test_a_link_that_is_lost_while_a_server_is_asked_is_no_verdict_on_the_server(there: Place) -> None:
    async def cut(address: str, token: str | None) -> str:
        assert token == TOKEN and there.host.link.connection is not None
        there.host.link.connection.ssh.abort()
        await asyncio.sleep(0.5)
        await there.host.ready(20)
        return "it hangs"

    with pytest.raises(HostUnreachable, match="connection was lost"):
        await asking.ask(there, Served(id="j", title="process", port=there.host.profile.port), cut)
    assert (await there.host.runtime.run(["true"])).exit == 0
