"""Policies for tests of the server: of a known answer, slow on demand; and a client that speaks raw frames."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import zmq

from dm_isaac_g1.inference.policies.base import batch_size, modality_config
from dm_isaac_g1.inference.protocol import pack, unpack
from dm_isaac_g1.inference.server import PolicyServer
from dm_isaac_g1.inference.specs import PolicySpec

SPEC = PolicySpec(
    state={"left_arm": 7, "waist": 3},
    action={"left_arm": 7, "waist": 3},
    horizon=5,
    cameras=("ego_view",),
    language="annotation.human.task_description",
)


class Echo:
    """Answers the state, the same at every step. `hold`: get_action waits until it is released."""

    kind, name, spec = "echo", "echo-1", SPEC

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()
        self.calls = 0
        self.answer: Any = None

    def modality_config(self) -> Any:
        return modality_config(SPEC)

    def get_action(self, observation: Any, options: Any = None) -> Any:
        self.calls += 1
        self.entered.set()
        self.free.wait(20)
        if self.answer is not None:
            return self.answer, {}
        actions = {name: np.repeat(observation["state"][name], 5, axis=1) for name in SPEC.action}
        return actions, {"batch": batch_size(observation), "options": options}

    def reset(self, options: Any = None) -> Any:
        return {"options": options}

    def close(self) -> None:
        pass

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self.free.clear()
        self.entered.clear()
        try:
            yield
        finally:
            self.free.set()


def seeing(batch: int = 1, value: float = 0.5) -> dict[str, Any]:
    """An observation for SPEC, nested."""
    return {
        "video": {"ego_view": np.zeros((batch, 1, 8, 8, 3), np.uint8)},
        "state": {
            "left_arm": np.full((batch, 1, 7), value, np.float32),
            "waist": np.zeros((batch, 1, 3), np.float32),
        },
        "language": {"annotation.human.task_description": [["fold the towel"]] * batch},
    }


def flattened(observation: dict[str, Any]) -> dict[str, Any]:
    """The same as the sim wrapper takes it."""
    flat = {f"{kind}.{name}": v for kind in ("video", "state") for name, v in observation[kind].items()}
    return flat | {key: tuple(item[0] for item in said) for key, said in observation["language"].items()}


class Raw:
    """A REQ client that sends what it is told and never waits for ever."""

    def __init__(self, server: PolicyServer | str) -> None:
        self._context: Any = zmq.Context()
        self.socket = self._context.socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 10_000)
        self.socket.connect(server if isinstance(server, str) else server.address)

    def send(self, message: Any) -> None:
        self.socket.send(message if isinstance(message, bytes) else pack(message))

    def receive(self, timeout_ms: int = 10_000) -> Any:
        self.socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
        return unpack(self.socket.recv())

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self.receive()

    def action(self, observation: Any, **more: Any) -> Any:
        return self.ask({"endpoint": "get_action", "data": {"observation": observation, "options": None}, **more})

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._context.destroy(linger=0)
