"""The proxy adds what NVIDIA's server lacks: a token, pings that do not wait, deadlines, and no `kill` from outside."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from servedpolicies import Echo, Raw, flattened, seeing

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference.policies.proxy import Proxy
from dm_isaac_g1.inference.protocol import pack, unpack
from dm_isaac_g1.inference.server import PolicyServer

TOKEN = "s3cret"


class Serial:
    """A server as NVIDIA's: REP, one thread, no token; it ends when it is told `kill`. `seen`: every request."""

    def __init__(self, port: int = 0) -> None:
        self.seen: list[Any] = []
        self.pause = 0.0
        self._context: Any = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f"tcp://127.0.0.1:{port or '*'}")
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(self.address.rpartition(":")[2])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._socket.poll(20):
                continue
            request = unpack(self._socket.recv())
            self.seen.append(request)
            self._ended.wait(self.pause)
            if self._ended.is_set() or request["endpoint"] == "kill":
                break
            data = request.get("data")
            answer = [{}, {"echo": data.get("options")}] if request["endpoint"] == "get_action" else {"was": data}
            self._socket.send(pack(answer if "fail" not in str(data) else {"error": "as asked"}))
        self._context.destroy(linger=0)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(5)


@pytest.fixture
def behind() -> Iterator[Serial]:
    server = Serial()
    yield server
    server.end()


@contextlib.contextmanager
def proxied(address: str, deadline_s: float = 5.0, **more: Any) -> Iterator[PolicyServer]:
    with PolicyServer(Proxy(address, deadline_s=deadline_s, **more), port=0, token=TOKEN) as server:
        yield server


def ask(client: Raw, endpoint: str, data: Any = None) -> Any:
    return client.ask({"endpoint": endpoint, **({} if data is None else {"data": data}), "api_token": TOKEN})


def test_requests_are_passed_on_without_the_token(behind: Serial) -> None:
    with proxied(behind.address) as server, Raw(server) as client:
        observation = seeing(batch=2)
        answer = ask(client, "get_action", {"observation": observation, "options": {"seed": 4}})
        assert answer == [{}, {"echo": {"seed": 4}}]
        ask(client, "get_action", {"observation": flattened(observation)})
        assert ask(client, "reset", {"options": None}) == {"was": {"options": None}}
        assert [sorted(request) for request in behind.seen] == [["data", "endpoint"]] * 3
        passed = behind.seen[0]["data"]["observation"]
        assert (passed["state"]["left_arm"] == observation["state"]["left_arm"]).all()
        assert passed["language"] == observation["language"]


def test_without_the_token_nothing_reaches_the_server_behind(behind: Serial) -> None:
    with proxied(behind.address) as server, Raw(server) as client:
        for endpoint in ("ping", "get_action", "reset", "get_modality_config", "kill"):
            answer = client.ask({"endpoint": endpoint, "data": {}})
            assert answer == {"error": "Unauthorized: Invalid API token"}
    assert behind.seen == []


def test_kill_never_reaches_the_server_behind(behind: Serial) -> None:
    with proxied(behind.address) as server, Raw(server) as client:
        assert "refused" in ask(client, "kill")["error"]
        assert ask(client, "shutdown") == {"error": "Unknown endpoint: shutdown"}
        # The same key twice: whatever each reader makes of it, only what was understood here is passed on.
        twice = b"\x83\xa8endpoint\xa4kill\xa8endpoint\xa5reset\xa9api_token\xa6" + TOKEN.encode()
        client.ask(twice)
        assert ask(client, "reset") == {"was": {}}
        assert [request["endpoint"] for request in behind.seen] == ["reset", "reset"]


def test_its_own_token_is_given_to_the_server_behind() -> None:
    with (
        PolicyServer(Echo(), port=0, token="theirs") as behind,
        proxied(behind.address, token="theirs") as server,
        Raw(server) as client,
    ):
        actions, _ = ask(client, "get_action", {"observation": seeing()})
        assert actions["left_arm"].shape == (1, 5, 7)


def test_a_ping_is_answered_while_the_server_behind_thinks(behind: Serial) -> None:
    with proxied(behind.address) as server, Raw(server) as client, Raw(server) as other:
        ask(client, "get_modality_config")
        behind.pause = 1.0
        client.send({"endpoint": "get_action", "data": {"observation": {}}, "api_token": TOKEN})
        _until(lambda: len(behind.seen) == 2)
        began = time.monotonic()
        assert ask(other, "ping")["status"] == "ok"
        assert ask(other, "get_modality_config") == {"was": None}
        assert ask(other, "metrics")["kind"] == "proxy"
        assert time.monotonic() - began < 0.5
        assert len(client.receive()) == 2


def test_it_measures_and_passes_errors_on(behind: Serial) -> None:
    with proxied(behind.address) as server, Raw(server) as client:
        ask(client, "get_action", {"observation": {}})
        assert ask(client, "get_action", {"observation": {}, "options": "fail"}) == {"error": "as asked"}
        said = ask(client, "metrics")
        assert (said["requests"], said["errors"], said["model"]) == (2, 1, behind.address)


def test_a_server_behind_that_hangs_is_an_error_in_time_and_served_again(behind: Serial) -> None:
    with proxied(behind.address, deadline_s=0.5) as server, Raw(server) as client:
        behind.pause = 1.0
        began = time.monotonic()
        assert "did not answer in 0.5 s" in ask(client, "get_action", {"observation": {}})["error"]
        assert time.monotonic() - began < 1.0
        behind.pause = 0.0
        _until(lambda: "error" not in ask(client, "get_action", {"observation": {}}), seconds=5)


def test_a_server_behind_that_ends_is_an_error_at_once_and_served_again(behind: Serial) -> None:
    with proxied(behind.address, deadline_s=20) as server, Raw(server) as client:
        assert len(ask(client, "get_action", {"observation": {}})) == 2
        behind.pause = 30
        client.send({"endpoint": "get_action", "data": {"observation": {}}, "api_token": TOKEN})
        _until(lambda: len(behind.seen) == 2)
        began = time.monotonic()
        behind.end()
        assert "ended while it was asked" in client.receive()["error"]
        assert "no server answers behind" in ask(client, "get_action", {"observation": {}})["error"]
        assert "no server answers behind" in ask(client, "ping")["error"]
        assert time.monotonic() - began < 5
        again = Serial(behind.port)
        try:
            _until(lambda: "error" not in ask(client, "ping"), seconds=5)
            assert len(ask(client, "get_action", {"observation": {}})) == 2
        finally:
            again.end()


def test_no_server_behind_from_the_beginning_is_said_and_mended() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with proxied(f"tcp://127.0.0.1:{port}") as server, Raw(server) as client:
        assert "no server answers behind" in ask(client, "get_action", {"observation": {}})["error"]
        later = Serial(port)
        try:
            _until(lambda: "error" not in ask(client, "get_action", {"observation": {}}), seconds=5)
        finally:
            later.end()


def test_what_is_no_address_is_refused() -> None:
    for address in ("127.0.0.1:5555", "http://spark:5555", "tcp://a b", ""):
        with pytest.raises(UsageError):
            Proxy(address)


def _until(true: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
