"""Whatever a client sends, the server stays up, its memory stays bounded, and others are served."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from servedmodels import STATE, bc_checkpoint, standing
from servedpolicies import Echo, Raw

from dm_isaac_g1.inference.protocol import pack
from dm_isaac_g1.inference.server import PolicyServer, ServerLimits
from dm_isaac_g1.inference.server.monitoring import Monitor

pytestmark = pytest.mark.train

MEGABYTE = 1 << 20


class Served:
    """A server in a process of its own, so that its memory is its own, too."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.address = address
        self.port = int(address.rpartition(":")[2])

    @property
    def memory(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def serves(self) -> None:
        """It is up, and answers a robot in time."""
        assert self.process.poll() is None
        with Raw(self.address) as robot:
            began = time.monotonic()
            actions, _ = robot.action(standing())
            assert actions["left_arm"].shape == (1, 4, 7)
            assert time.monotonic() - began < 5


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("attacked")
    model = bc_checkpoint(folder / "checkpoint-40")
    command = [sys.executable, "-m", "dm_isaac_g1.inference.server", "--model", str(model), "--port", "0"]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Server is ready and listening on "), (folder / "stderr").read_text()
        server = Served(process, line.split()[-1])
        server.serves()
        yield server
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()


def _bomb_of_lists() -> bytes:
    return b"\x91" * 200_000 + b"\xc0"


def _npy(header: str, data: bytes = b"") -> dict[str, Any]:
    text = header.encode() + b"\n"
    return {"__ndarray_class__": True, "as_npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data}


def _state(value: Any) -> bytes:
    observation = standing() | {"state": {**standing()["state"], "waist": value}}
    return pack({"endpoint": "get_action", "data": {"observation": observation}})


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/dm-g1-was-here",)


FRAMES: dict[str, bytes] = {
    "nothing": b"",
    "garbage": bytes(range(256)) * 20,
    "cut off": pack({"endpoint": "get_action", "data": {"observation": standing()}})[:-7],
    "more behind it": pack({"endpoint": "ping"}) + b"\xc0",
    "lists in lists": _bomb_of_lists(),
    "a list that says it has four thousand million": b"\xdd\xff\xff\xff\xff",
    "a map that says so": b"\xdf\xff\xff\xff\xff",
    "a text that says so": b"\xdb\xff\xff\xff\xff",
    "millions of values": b"\xdd" + struct.pack(">I", 5_000_000) + b"\xc0" * 5_000_000,
    "an extension type": b"\xd4\x01\x00",
    "keys that are no text": b"\x81\x01\x02",
    "a pickle": pickle.dumps(_Evil()),
    "an array of objects": _state(
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps(_Evil()))
    ),
    "an array larger than its bytes": _state(
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 999999999999), }", b"1234")
    ),
    "a shape that overflows": _state(
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }", b"")
    ),
    "a header that is code": _state(_npy("{'descr': __import__('os').system('touch /tmp/dm-g1-was-here')}")),
    "a header that is deep": _state(_npy("(" * 5000)),
    "a batch of nobody": pack(
        {"endpoint": "get_action", "data": {"observation": standing(batch=0)}}
    ),
    "a wrong width": _state(np.zeros((1, 1, 4), np.float32)),
    "other numbers": _state(np.zeros((1, 1, 3), np.complex128)),
    "an endpoint that is a map": pack({"endpoint": {"a": 1}}),
    "an endpoint with escape sequences": pack({"endpoint": "\x1b]52;c;aGk=\x07"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_an_evil_frame_is_answered_with_an_error(served: Served, name: str) -> None:
    with Raw(served.address) as attacker:
        answer = attacker.ask(FRAMES[name])
        assert set(answer) == {"error"} and len(answer["error"]) < 3000
    served.serves()
    assert not Path("/tmp/dm-g1-was-here").exists()


def test_what_is_logged_of_a_client_cannot_speak_to_the_terminal(served: Served, tmp_path: Path) -> None:
    with Raw(served.address) as attacker:
        attacker.ask(FRAMES["an endpoint with escape sequences"])
    log = Path(f"/proc/{served.process.pid}/fd/2").resolve().read_bytes()
    assert log and b"\x1b" not in log and b"\x07" not in log


def test_a_frame_that_is_too_large_is_not_even_read(served: Served) -> None:
    before = served.memory
    with Raw(served.address) as attacker:
        attacker.socket.send(bytes(80 * MEGABYTE), copy=False)
        with pytest.raises(zmq.Again):
            attacker.receive(timeout_ms=1000)
        served.serves()
        assert served.memory < before + 40 * MEGABYTE


def test_a_request_without_end_is_cut(served: Served) -> None:
    """Frames with the "more" flag, for ever: libzmq would keep them all."""
    before = served.memory
    with _zmtp(served.port) as attacker:
        attacker.sendall(b"\x01\x00")
        part = b"\x03" + struct.pack(">Q", MEGABYTE) + bytes(MEGABYTE)
        peak = 0
        # Or closed while its window is full, of which the kernel says no word.
        with pytest.raises(OSError, match=r"reset|Broken pipe|timed out"):
            for _ in range(2000):
                attacker.sendall(part)
                peak = max(peak, served.memory - before)
        assert peak < 600 * MEGABYTE
    served.serves()
    _until(lambda: served.memory < before + 100 * MEGABYTE)


def test_many_who_send_half_a_request_are_cut_together(served: Served) -> None:
    before = served.memory
    part = b"\x03" + struct.pack(">Q", MEGABYTE) + bytes(MEGABYTE)
    with contextlib.ExitStack() as stack:
        attackers = [stack.enter_context(_zmtp(served.port)) for _ in range(8)]
        for _ in range(150):
            for attacker in tuple(attackers):
                try:
                    attacker.sendall(part)
                except OSError:
                    attackers.remove(attacker)
            assert served.memory - before < 1100 * MEGABYTE
        served.serves()


def test_idle_connections_keep_nobody_out(served: Served) -> None:
    before = served.memory
    with contextlib.ExitStack() as stack:
        for number in range(200):
            if number % 2:
                stack.enter_context(_zmtp(served.port))
            else:  # never says a word
                stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
        served.serves()
        with Raw(served.address) as client:
            assert client.ask({"endpoint": "metrics"})["clients"] >= 200
        assert served.memory < before + 50 * MEGABYTE
    served.serves()


def test_many_who_come_and_go_stop_nothing_while_nobody_takes_note() -> None:
    """libzmq's own thread would wait for ever with its events where 1,000 frames of them are not taken."""
    context: Any = zmq.Context()
    router = context.socket(zmq.ROUTER)
    monitor = Monitor(router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    for _ in range(1200):
        with socket.create_connection(("127.0.0.1", port)) as passing:
            passing.recv(1)  # its greeting: it was accepted
    with Raw(f"tcp://127.0.0.1:{port}") as client:
        client.socket.send(b"\xc0")
        assert router.poll(5000)
        router.send_multipart(router.recv_multipart())
        assert client.receive() is None
    assert sum(1 for _ in monitor.events()) >= 2 * 1200
    monitor.close()
    context.destroy(linger=0)


def test_a_connection_that_never_greets_is_dropped() -> None:
    with (
        PolicyServer(Echo(), port=0, limits=ServerLimits(handshake_s=0.3)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as silent,
    ):
        silent.settimeout(5)
        while silent.recv(64):  # the server's own greeting, then its end
            pass


def test_garbage_instead_of_a_greeting_is_dropped(served: Served) -> None:
    for words in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(5000), b"\xff" * 5000, b"SSH-2.0-x\r\n"):
        with socket.create_connection(("127.0.0.1", served.port)) as attacker, contextlib.suppress(OSError):
            attacker.sendall(words)
        served.serves()


def test_a_client_that_never_reads_costs_little(served: Served) -> None:
    before = served.memory
    context: Any = zmq.Context()
    deaf = context.socket(zmq.DEALER)
    deaf.setsockopt(zmq.LINGER, 0)
    deaf.setsockopt(zmq.RCVHWM, 1)
    deaf.setsockopt(zmq.SNDTIMEO, 500)
    deaf.connect(served.address)
    frame = pack({"endpoint": "get_action", "data": {"observation": standing(STATE)}})
    with contextlib.suppress(zmq.Again):
        for _ in range(3000):
            deaf.send_multipart([b"", frame])
    served.serves()
    assert served.memory < before + 100 * MEGABYTE
    context.destroy(linger=0)


def test_nobodys_answer_is_lost_to_one_who_leaves_in_a_hurry(served: Served) -> None:
    """libzmq's credit for a client was late then: every hundredth client never had an answer."""
    frame = pack({"endpoint": "get_action", "data": {"observation": standing(STATE)}})
    for _ in range(10):
        context: Any = zmq.Context()
        hasty = context.socket(zmq.DEALER)
        hasty.setsockopt(zmq.RCVHWM, 1)
        hasty.setsockopt(zmq.SNDTIMEO, 200)
        hasty.connect(served.address)
        with contextlib.suppress(zmq.Again):
            for _ in range(1000):
                hasty.send_multipart([b"", frame])
        context.destroy(linger=0)
        with Raw(served.address) as client:
            for _ in range(150):
                assert client.ask({"endpoint": "ping"})["status"] == "ok"


def test_the_log_cannot_be_flooded(served: Served) -> None:
    log = Path(f"/proc/{served.process.pid}/fd/2").resolve()
    before = log.stat().st_size
    with Raw(served.address) as attacker:
        for number in range(2000):
            attacker.ask(pack({"endpoint": f"{number}" + "x" * 90}))
    assert log.stat().st_size < before + 50_000


def test_random_bytes_are_never_the_end(served: Served) -> None:
    random = np.random.default_rng(4)
    valid = pack({"endpoint": "get_action", "data": {"observation": standing(), "options": None}})
    with Raw(served.address) as attacker:
        for _ in range(300):
            mutated = bytearray(valid)
            for place in random.integers(0, len(valid), random.integers(1, 6)):
                mutated[place] = random.integers(0, 256)
            attacker.ask(bytes(mutated))
    served.serves()


@contextlib.contextmanager
def _zmtp(port: int) -> Iterator[socket.socket]:
    """A connection that has shaken hands as a REQ client: ZMTP 3.1, mechanism NULL (rfc.zeromq.org/spec/37)."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(2)
        connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32))
        ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"REQ"
        connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
        assert connection.recv(64)
        yield connection


def _until(true: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
