"""A client finds out what a server speaks, and never waits longer than it was told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import observed
import pytest
import stub_servers
from stub_servers import SILENCE, HttpStub, ZmqStub

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference import GrootClient, GrootClientAsync
from dm_isaac_g1.inference.client import over_zmq
from dm_isaac_g1.inference.client.address import address_of
from dm_isaac_g1.inference.protocol import Limits, ProtocolError, ServerError, ServerGone, ServerSilent, pack

SHAPES = {"left_arm": (5, 7), "navigate_command": (5, 3), "left_hand": (5, 1)}


def shapes(actions: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {group: array.shape for group, array in actions.items()}


def expected(batch: int, steps: int) -> dict[str, tuple[int, ...]]:
    return {group: (batch, steps, width) for group, width in stub_servers.ACTIONS.items()}


@contextlib.contextmanager
def took_at_most(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@contextlib.contextmanager
def listener(greeting: bytes | None) -> Iterator[int]:
    """A port that takes connections and says `greeting`; None: closes them at once; nothing else, ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_links = []

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link = server.accept()[0]
                    if greeting is None:
                        link.close()
                    else:
                        link.sendall(greeting)
                        open_links.append(link)

        threading.Thread(target=run, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for link in open_links:
            link.close()


# --- Dialects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "dialect, handler, steps",
    [
        ("nested", stub_servers.nested, 5),
        ("flat", stub_servers.flat, 5),
        ("n1.5", stub_servers.n15, 16),
    ],
)
def test_the_dialect_is_found_out_and_actions_look_the_same_in_all(
    dialect: str, handler: stub_servers.Handler, steps: int, batch: int
) -> None:
    with ZmqStub(handler) as server, GrootClient(port=server.port, timeout=5) as client:
        assert client.dialect is None
        actions, _ = client.get_action(observed.small(batch))
        assert client.dialect == dialect
        assert shapes(actions) == expected(batch, steps)
        asked = len(server.seen)
        client.get_action(observed.small(batch))
        assert len(server.seen) == asked + 1, "what is known is not asked again"
        assert isinstance(client.reset(), dict)


@pytest.mark.parametrize("lists", [False, True])
def test_n15_over_http_is_found_out_too(lists: bool) -> None:
    with HttpStub(lists=lists) as server, GrootClient(port=server.port, timeout=5) as client:
        assert client.ping() and client.dialect == "n1.5-http"
        actions, info = client.get_action(observed.small())
        assert shapes(actions) == expected(1, 16) and info == {}
        assert client.get_modality_config() == {} and client.metrics() is None and client.reset() == {}
        with pytest.raises(ServerError, match="Missing 'observation'"):
            client.call("get_action", {"nothing": 1})


async def test_the_awaitable_client_finds_out_all_of_them() -> None:
    for handler, dialect in ((stub_servers.nested, "nested"), (stub_servers.flat, "flat"), (stub_servers.n15, "n1.5")):
        with ZmqStub(handler) as server:
            async with GrootClientAsync(port=server.port, timeout=5) as client:
                actions, _ = await client.get_action(observed.small())
                assert client.dialect == dialect and len(actions) == 3
    with HttpStub() as server:
        async with GrootClientAsync(port=server.port, timeout=5) as client:
            assert await client.ping() and len((await client.get_action(observed.small()))[0]) == 3


def test_a_server_replaced_by_one_that_speaks_flat_is_followed() -> None:
    with ZmqStub(stub_servers.nested) as server, GrootClient(port=server.port, timeout=5) as client:
        client.get_action(observed.small())
        server._handler = stub_servers.flat
        assert shapes(client.get_action(observed.small())[0]) == expected(1, 5) and client.dialect == "flat"
        server._handler = stub_servers.nested
        client.get_action(observed.small())
        assert client.dialect == "nested"


def test_a_dialect_that_was_told_is_kept() -> None:
    with ZmqStub(stub_servers.flat) as server, GrootClient(port=server.port, timeout=5, dialect="nested") as client:
        with pytest.raises(ServerError, match=r"video\.ego_view"):
            client.get_action(observed.small())
        assert client.dialect == "nested" and server.endpoints() == ["get_action"]


def test_what_a_server_says_of_an_observation_reaches_the_user() -> None:
    def strict(request: dict[str, Any]) -> Any:
        raise ServerError("State key 'waist' must be a numpy array of type np.float32. Got float64\x1b[2J")

    with (
        ZmqStub(strict) as server,
        GrootClient(port=server.port, timeout=5, dialect="nested") as client,
        pytest.raises(ServerError) as caught,
    ):
        client.get_action(observed.small())
    assert caught.value.said == "State key 'waist' must be a numpy array of type np.float32. Got float64"
    assert f"127.0.0.1:{server.port}" in str(caught.value)


def test_an_observation_that_is_not_nested_is_refused_before_it_is_sent() -> None:
    with ZmqStub(stub_servers.nested) as server, GrootClient(port=server.port, dialect="nested") as client:
        with pytest.raises(UsageError, match="expected"):
            client.get_action({"video.ego_view": np.zeros((1, 1, 4, 4, 3), np.uint8)})
        assert not server.seen


# --- Deadlines --------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[GrootClient], Any]] = {
    "ping": lambda client: client.call("ping", bare=True),
    "get_modality_config": lambda client: client.get_modality_config(),
    "get_action": lambda client: client.get_action(observed.small()),
    "reset": lambda client: client.reset(),
    "metrics": lambda client: client.metrics(),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_ends_at_its_deadline(name: str) -> None:
    with ZmqStub(lambda request: SILENCE) as server, GrootClient(port=server.port, timeout=0.3) as client:
        for _ in range(2):
            with took_at_most(3), pytest.raises(ServerSilent, match="no answer before the deadline"):
                CALLS[name](client)


def test_the_deadline_is_for_all_questions_of_a_call_together() -> None:
    def slow(request: dict[str, Any]) -> Any:
        time.sleep(0.4)
        return stub_servers.flat(request)

    with (
        ZmqStub(slow) as server,
        GrootClient(port=server.port, timeout=0.9) as client,
        took_at_most(3),
        pytest.raises(ServerSilent),
    ):
        client.get_action(observed.small())  # modalities, nested, flat: 1.2 s


def test_an_answer_that_comes_too_late_is_never_taken_for_the_next_one() -> None:
    def late(request: dict[str, Any]) -> Any:
        if request["endpoint"] == "slow":
            time.sleep(0.5)
            return "late"
        return "in time"

    with ZmqStub(late) as server, GrootClient(port=server.port) as client:
        with pytest.raises(ServerSilent):
            client.call("slow", timeout=0.2)
        assert client.call("quick", timeout=3) == "in time"


def test_ping_says_false_of_a_silent_server_and_of_none() -> None:
    with ZmqStub(lambda request: SILENCE) as server:
        with GrootClient(port=server.port) as client:
            assert client.ping(timeout=0.2) is False
        port = server.port
    with took_at_most(3), GrootClient(port=port) as client:
        assert client.ping() is False


def test_where_nothing_listens_it_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for address in (f"tcp://127.0.0.1:{port}", "ipc:///tmp/no-such-socket-of-dm-g1", f"http://127.0.0.1:{port}"):
        with took_at_most(3), GrootClient(address=address) as client, pytest.raises(ServerGone):
            client.call("ping", bare=True)


@pytest.mark.parametrize("dialect", ["auto", "nested"])
def test_a_port_of_something_else_is_not_taken_for_a_policy_server(dialect: str) -> None:
    with (
        listener(b"SSH-2.0-OpenSSH_9.2\r\n") as port,
        GrootClient(port=port, dialect=dialect) as client,
        took_at_most(3),
        pytest.raises(ServerGone, match="something else"),
    ):
        client.call("ping", bare=True)
    with (
        listener(None) as port,
        GrootClient(port=port, dialect=dialect) as client,
        took_at_most(3),
        pytest.raises(ServerGone),
    ):
        client.call("ping", bare=True)
    with (
        listener(b"") as port,
        GrootClient(port=port, dialect=dialect) as client,
        took_at_most(3),
        pytest.raises(ServerSilent, match="says nothing"),
    ):
        client.call("ping", bare=True, timeout=0.5)


def test_a_port_that_greets_like_zeromq_and_then_hangs_ends_at_the_deadline() -> None:
    with (
        listener(b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f") as port,
        GrootClient(port=port) as client,
        took_at_most(3),
        pytest.raises(ServerGone, match="greets nobody"),
    ):
        client.call("ping", bare=True, timeout=0.5)


def test_an_http_server_that_sends_a_byte_now_and_then_ends_at_the_deadline() -> None:
    with (
        HttpStub(drip=True) as server,
        GrootClient(port=server.port) as client,
        took_at_most(4),
        pytest.raises(ServerSilent),
    ):
        client.get_action(observed.small(), timeout=0.6)


async def test_awaitable_calls_end_at_their_deadlines_and_leave_the_client_usable() -> None:
    quiet = True
    with ZmqStub(lambda request: SILENCE if quiet else "here") as server:
        async with GrootClientAsync(port=server.port, timeout=0.3) as client:
            with pytest.raises(ServerSilent):
                await client.get_action(observed.small())
            task = asyncio.create_task(client.call("anything", timeout=30))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            quiet = False
            assert await client.call("anything") == "here"
    with HttpStub(drip=True) as server:
        async with GrootClientAsync(port=server.port) as client:
            with took_at_most(4), pytest.raises(ServerSilent):
                await client.get_action(observed.small(), timeout=0.5)


# --- Restarts and ends ------------------------------------------------------------------------------------------------


def test_a_server_that_dies_while_it_is_asked_is_noticed_and_its_successor_is_found() -> None:
    with ZmqStub(lambda request: SILENCE) as server:
        port = server.port
        client = GrootClient(port=port, timeout=20)
        threading.Timer(0.3, server.__exit__).start()
        with took_at_most(5), pytest.raises(ServerGone, match="went away"):
            client.get_action(observed.small())
    with pytest.raises(ServerGone, match="nothing listens"):
        client.get_action(observed.small())
    with ZmqStub(stub_servers.nested, port=port):
        assert shapes(client.get_action(observed.small())[0]) == expected(1, 5)
    client.close()


async def test_the_awaitable_client_finds_a_restarted_server_too() -> None:
    async with GrootClientAsync(timeout=20, port=1) as client:
        with ZmqStub(stub_servers.nested) as server:
            client._address = address_of("127.0.0.1", server.port)
            await client.get_action(observed.small())
        await asyncio.sleep(0.1)
        with ZmqStub(stub_servers.nested, port=server.port):
            await client.get_action(observed.small())


async def test_a_server_that_leaves_just_before_it_is_asked_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with GrootClientAsync(port=1) as awaitable:
        with ZmqStub(stub_servers.nested) as server, GrootClient(port=server.port) as client:
            awaitable._address = client._address
            assert client.ping() and await awaitable.ping()
            server.__exit__()
            until = time.monotonic() + 10
            while any(each._wire._link.there for each in (client, awaitable)) and time.monotonic() < until:  # type: ignore[union-attr]
                await asyncio.sleep(0.02)
            monkeypatch.setattr(over_zmq._Link, "there", property(lambda link: True))
            with took_at_most(3), pytest.raises(ServerGone, match="went away"):
                client.call("ping", bare=True, timeout=10)
            with took_at_most(3), pytest.raises(ServerGone, match="went away"):
                await awaitable.call("ping", bare=True, timeout=10)


def test_the_interpreter_ends_with_requests_unanswered() -> None:
    program = """
import sys
from dm_isaac_g1.inference import GrootClient
from dm_isaac_g1.inference.protocol import ServerSilent
client = GrootClient(port=int(sys.argv[1]), timeout=0.3)
try:
    client.call("get_action", {"x": b"0" * 5_000_000})
except ServerSilent:
    pass
client._wire = None
other = GrootClient(port=int(sys.argv[1]))
import threading
threading.Thread(target=other.ping, args=(60,), daemon=True).start()
print("end", flush=True)
"""
    with ZmqStub(lambda request: SILENCE) as server, took_at_most(10):
        done = subprocess.run(
            [sys.executable, "-c", program, str(server.port)], capture_output=True, text=True, timeout=20
        )
    assert (done.stdout, done.returncode) == ("end\n", 0), done.stderr


def test_threads_take_turns() -> None:
    with ZmqStub(stub_servers.nested) as server, GrootClient(port=server.port, timeout=10) as client:
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(len(client.get_action(observed.small())[0]))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [3] * 8


# --- Answers that make no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [b"\xc1", b"ERROR", pack(7), pack([1, 2]), pack([{}, {}, {}]), pack([{"a": "no array"}, {}])],
    ids=["no msgpack", "ERROR", "a number", "two numbers", "three", "no arrays"],
)
def test_an_answer_that_makes_no_sense_is_an_error_and_the_client_goes_on(reply: bytes) -> None:
    with ZmqStub(lambda request: reply) as server, GrootClient(port=server.port, dialect="nested") as client:
        for _ in range(2):
            with pytest.raises(ProtocolError):
                client.get_action(observed.small(), timeout=5)


async def test_an_answer_of_several_frames_is_an_error_and_the_clients_go_on() -> None:
    with ZmqStub(lambda request: (b"\xc0", b"\xc0", b"\xc0")) as server:
        with GrootClient(port=server.port) as client:
            for _ in range(2):
                with pytest.raises(ProtocolError, match="an answer of 4 frames"):
                    client.call("anything", timeout=5)
        async with GrootClientAsync(port=server.port) as awaitable:
            for _ in range(2):
                with pytest.raises(ProtocolError, match="an answer of 4 frames"):
                    await awaitable.call("anything", timeout=5)


def test_an_answer_above_the_limit_is_never_taken_in() -> None:
    with (
        ZmqStub(lambda request: pack(bytes(3_000_000))) as server,
        GrootClient(port=server.port, limits=Limits(frame=1 << 20)) as client,
        took_at_most(5),
        pytest.raises(ServerGone),
    ):
        client.call("anything", timeout=10)


# --- Tokens, addresses, pictures --------------------------------------------------------------------------------------


def test_the_token_is_sent_with_every_request_and_shown_in_no_error() -> None:
    def guarded(request: dict[str, Any]) -> Any:
        if request.get("api_token") != "s3cret-token":
            raise ServerError(f"Unauthorized: Invalid API token {request.get('api_token') or ''}".strip())
        return stub_servers.nested(request)

    with ZmqStub(guarded) as server:
        with GrootClient(port=server.port, api_token="s3cret-token") as client:
            assert client.ping()
            client.get_action(observed.small())
            client.reset()
        assert {request["api_token"] for request in server.seen} == {"s3cret-token"}
        with GrootClient(port=server.port, api_token="another-token") as client:
            with pytest.raises(ServerError, match="Unauthorized") as caught:
                client.ping()
            assert "another-token" not in str(caught.value)
        with GrootClient(port=server.port) as client, pytest.raises(ServerError, match="give the server's API token"):
            client.get_action(observed.small())


@pytest.mark.parametrize(
    "address, endpoint",
    [
        ("tcp://10.0.0.5:5555", "tcp://10.0.0.5:5555"),
        ("tcp://[::1]:5555", "tcp://[::1]:5555"),
        ("ipc:///run/policy.sock", "ipc:///run/policy.sock"),
    ],
)
def test_addresses_are_read(address: str, endpoint: str) -> None:
    assert address_of("", 0, address).endpoint == endpoint


@pytest.mark.parametrize(
    "address", ["5555", "tcp://host", "tcp://*:5555", "tcp://host:0", "tcp://host:70000", "ipc://relative", "ftp://h:1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        GrootClient(address=address)
    for host, port in (("", 5555), ("a b", 5555), ("host", 0)):
        with pytest.raises(UsageError):
            GrootClient(host, port)


def test_ipv6_and_a_socket_path_work_like_a_host_and_port(tmp_path: Any) -> None:
    with ZmqStub(stub_servers.nested) as server:
        server._socket.bind(f"ipc://{tmp_path}/policy")
        with GrootClient(address=f"ipc://{tmp_path}/policy", timeout=5) as client:
            assert client.ping() and len(client.get_action(observed.small())[0]) == 3


@pytest.mark.parametrize(
    "resize, size", [(224, (224, 299)), ((240, 320), (240, 320)), (600, (480, 640)), ((1000, 320), (480, 320))]
)
def test_pictures_are_made_smaller_before_they_are_sent(resize: Any, size: tuple[int, int]) -> None:
    picture = np.zeros((1, 1, 480, 640, 3), np.uint8)
    picture[..., :320, 0] = 200  # the left half is red
    given = observed.small() | {"video": {"ego_view": picture}}
    with (
        ZmqStub(stub_servers.nested) as server,
        GrootClient(port=server.port, dialect="nested", resize=resize, timeout=5) as client,
    ):
        client.get_action(given)
        sent = server.seen[-1]["data"]["observation"]["video"]["ego_view"]
    assert sent.shape == (1, 1, *size, 3) and sent.dtype == np.uint8
    assert (sent[0, 0, :, : size[1] // 2 - 2, 0] == 200).all() and (sent[0, 0, :, size[1] // 2 + 2 :] == 0).all()
    assert given["video"]["ego_view"] is picture


def test_clients_that_nobody_closed_hold_up_no_others() -> None:
    """As a script leaves them whose server is killed at the same moment."""
    for _ in range(20):
        with ZmqStub(stub_servers.nested) as server:
            dropped = [GrootClient(port=server.port) for _ in range(4)]
            assert all(client.ping() for client in dropped)
            threading.Thread(target=server.__exit__).start()
            del dropped
    with ZmqStub(stub_servers.nested) as server, GrootClient(port=server.port) as client:
        assert client.ping(timeout=5)
