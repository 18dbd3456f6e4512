"""The gate: whatever may be wrong with a server is found, named, and never raised."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import zmq
from serving import SPEC
from tiny_server import answer

from dm_isaac_g1.deploy import health
from dm_isaac_g1.inference.protocol import ModalityConfig, pack, unpack
from dm_isaac_g1.inference.specs import PolicySpec

pytestmark = pytest.mark.timeout(40)


@contextlib.contextmanager
def serving(act: str = "good", slow_s: float = 0.0) -> Iterator[str]:
    """A server in a thread that behaves like that; its endpoint."""
    context = zmq.Context()
    rep = context.socket(zmq.REP)
    rep.linger = 0
    port = rep.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            if not rep.poll(50):
                continue
            request = unpack(rep.recv())
            endpoint = request["endpoint"]
            if act == "deaf" or (act == "hang" and endpoint == "get_action"):
                stop.wait(10)
                return
            if slow_s and endpoint == "get_action":
                stop.wait(slow_s)
            rep.send(b"\xc1 no msgpack" if act == "garbage" else pack(answer(endpoint, request, 0.5, act)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        stop.set()
        thread.join()
        rep.close()
        context.term()


async def gated(address: str, spec: PolicySpec | None = SPEC, **more: float) -> health.Health:
    return await health.gate(address, spec, **{"patience_s": 1.0, "answer_s": 1.5, **more})  # type: ignore[arg-type]


async def test_a_good_server_passes_every_rung_and_is_timed() -> None:
    said: list[str] = []
    with serving() as address:
        found = await health.gate(address, SPEC, patience_s=2, answer_s=2, tell=said.append)
    assert found.ok and found.passed == "action" and found.problem is None and found.dialect == "nested"
    assert found.ping_ms is not None and found.action_ms is not None and found.checked > 0
    assert len(said) == 3


@pytest.mark.parametrize(
    ("act", "passed", "said"),
    [
        ("nan", "ping", "its arm holds nan at step 2, value 1 (1 of 15 are no finite numbers): the model is broken"),
        ("shape", "ping", "its hand has the shape (1, 2, 1), not (1, 5, 1)"),
        ("dtype", "ping", "float64, not float32"),
        ("names", "ping", "its answer lacks hand (it has arm, wing)"),
        ("error", "ping", "it answers with an error: CUDA error: device-side assert triggered"),
        ("hang", "ping", "it did not answer get_action within 1.5 s: it hangs"),
        ("deaf", "greeting", "it listens and answered no ping within 1.5 s: it hangs, or is very busy"),
        ("garbage", "greeting", "its answer makes no sense"),
    ],
)
async def test_each_illness_has_a_sentence_of_its_own(act: str, passed: str, said: str) -> None:
    with serving(act) as address:
        found = await gated(address)
    assert not found.ok and found.passed == passed and said in (found.problem or ""), found


async def test_where_nobody_listens_the_gate_waits_for_the_model_to_load_and_no_longer() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        began = time.monotonic()
        found = await gated(f"tcp://127.0.0.1:{port}", patience_s=0.5)
    assert (found.passed, found.problem) == ("nothing", "nothing listens on its port after 0.5 s")
    assert time.monotonic() - began < 3


async def test_nobody_waits_for_a_server_that_has_ended() -> None:
    async def dead() -> str | None:
        return "it ended with exit 3: no such file"

    began = time.monotonic()
    found = await health.gate("tcp://127.0.0.1:9", SPEC, patience_s=30, alive=dead)
    assert found.problem == "it ended with exit 3: no such file" and time.monotonic() - began < 5


@pytest.mark.parametrize("late", [False, True])
async def test_a_strangers_good_answers_say_nothing_of_the_server_that_was_meant(late: bool) -> None:
    asked = itertools.count()

    async def taken() -> str | None:
        return None if late and next(asked) == 0 else "port 5556 belongs to somebody"

    told: list[str] = []
    with serving() as address:
        found = await health.gate(address, SPEC, patience_s=2, answer_s=2, tell=told.append, taken=taken)
    assert not found.ok and found.problem == "port 5556 belongs to somebody"
    assert len(told) == (3 if late else 1), "a stranger on the port is not even asked"


async def test_a_server_that_ends_while_it_is_asked_is_not_fit_however_well_somebody_answered() -> None:
    asked = itertools.count()

    async def alive() -> str | None:
        return None if next(asked) == 0 else "it ended while loading"

    with serving() as address:
        found = await health.gate(address, SPEC, patience_s=2, answer_s=2, alive=alive)
    assert not found.ok and found.problem == "it ended while loading"


async def test_what_is_no_policy_server_is_told_from_one_that_is() -> None:
    async def greet(said: bytes) -> health.Health:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            with contextlib.suppress(OSError):
                await writer.drain()
                await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await gated(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", patience_s=0.1)

    assert (
        await greet(b"SSH-2.0-OpenSSH_9.2\r\n")
    ).problem == "something else than a ZeroMQ server listens on its port"
    assert "takes" not in ((silent := await greet(b"")).problem or "") and "says nothing" in (silent.problem or "")


async def test_a_server_of_another_model_is_no_good_however_well_it_answers() -> None:
    wider = PolicySpec(state={"state": 4}, action={"arm": 3, "leg": 1}, horizon=5)
    longer = PolicySpec(state={"state": 4}, action={"arm": 3, "hand": 1}, horizon=16)
    with serving() as address:
        assert "another model: its action is arm, hand, the model's arm, leg" in (
            (await gated(address, wider)).problem or ""
        )
        assert "5 steps of action, the model's are 16" in ((await gated(address, longer)).problem or "")


async def test_a_monitor_sees_busy_as_busy_and_asks_for_no_action() -> None:
    with serving() as address:
        found, traffic = await health.watch(address)
    assert found.ok and found.passed == "ping" and traffic is None, "a server that is not ours says nothing of traffic"
    with serving("deaf") as address:
        found, _ = await health.watch(address)
    assert not found.ok and found.passed == "greeting" and found.problem is None
    found, _ = await health.watch("tcp://127.0.0.1:9")
    assert found.passed == "nothing" and found.problem == "nothing listens on its port"


def test_values_that_are_no_numbers_are_found_wherever_they_are() -> None:
    def actions(**more: object) -> dict[str, object]:
        return {"arm": np.zeros((1, 5, 3), np.float32), "hand": np.zeros((1, 5, 1), np.float32), **more}

    assert health.wrong(actions(), SPEC) is None
    for step in range(5):
        bad = np.zeros((1, 5, 1), np.float32)
        bad[0, step, 0] = np.inf
        assert f"holds inf at step {step}, value 0" in (health.wrong(actions(hand=bad), SPEC) or "")
    assert "is list, not float32" in (health.wrong(actions(arm=[[1.0]]), SPEC) or "")
    assert "which the model does not" in (health.wrong(actions(tail=1), SPEC) or "")


def test_a_g1_whose_checkpoint_nobody_has_is_known_by_its_groups() -> None:
    def config(*keys: str, steps: int = 1) -> ModalityConfig:
        return ModalityConfig(delta_indices=list(range(steps)), modality_keys=list(keys))

    modality = {
        "video": config("ego_view"),
        "state": config("left_arm", "left_hand"),
        "action": config("left_arm", "waist", steps=30),
        "language": config("annotation.human.task_description"),
    }
    spec = health.of_modality(modality)
    assert (
        spec is not None
        and spec.state == {"left_arm": 7, "left_hand": 1}
        and spec.action == {"left_arm": 7, "waist": 3}
    )
    assert spec.horizon == 30 and spec.cameras == ("ego_view",)
    assert health.of_modality({**modality, "state": config("tentacle")}) is None
