"""Our client and our server, as a robot's code meets them."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np
import observed
import pytest

from dm_isaac_g1.inference import GrootClient, PolicyServer, canned, observation
from dm_isaac_g1.inference.embodiments import embodiment_of
from dm_isaac_g1.inference.policies.base import batch_size, modality_config
from dm_isaac_g1.inference.protocol import ServerError, ServerGone

SPEC = embodiment_of("UNITREE_G1").spec


class Standing:
    """Answers the state's left arm, so that what came over is seen."""

    kind = name = "standing"
    spec = SPEC

    def modality_config(self) -> Any:
        return modality_config(SPEC)

    def get_action(self, observation: Any, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        time.sleep((options or {}).get("seconds", 0))
        batch = batch_size(observation)
        actions = {g: np.zeros((batch, SPEC.horizon, width), np.float32) for g, width in SPEC.action.items()}
        actions["left_arm"] += observation["state"]["left_arm"]
        return actions, {"picture": int(observation["video"]["ego_view"].sum())}

    def reset(self, options: Any = None) -> dict[str, Any]:
        return {"told": options}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("dialect", ["nested", "flat"])
def test_an_observation_arrives_as_it_was_built_and_its_actions_come_back(dialect: Any) -> None:
    picture, state = observed.parts()
    with PolicyServer(Standing(), port=0, dialect=dialect) as server, GrootClient(port=server.port) as client:
        actions, info = client.get_action(observation(state=state, image=picture, task=observed.TASK))
        assert client.dialect == dialect
        np.testing.assert_array_equal(actions["left_arm"], np.tile(state["left_arm"], (1, 30, 1)))
        assert info == {"picture": int(picture.sum())}
        assert client.reset({"seed": 1}) == {"told": {"seed": 1}}
        described = client.get_modality_config()
        assert client.get_action(canned(described, batch=3))[0]["waist"].shape == (3, 30, 3)
        measured = client.metrics()
        assert measured is not None and measured["requests"] >= 2


def test_a_server_that_comes_back_on_its_port_is_asked_again() -> None:
    with PolicyServer(Standing(), port=0) as server, GrootClient(port=server.port, timeout=5) as client:
        client.get_action(canned(SPEC, height=24, width=32))
        port = server.port
        server.stop()
        with pytest.raises(ServerGone):
            client.get_action(canned(SPEC, height=24, width=32))
        with PolicyServer(Standing(), port=port):
            client.get_action(canned(SPEC, height=24, width=32))


def test_a_request_larger_than_the_server_takes_ends_at_once_and_says_so() -> None:
    with PolicyServer(Standing(), port=0) as server, GrootClient(port=server.port, timeout=20) as client:
        started = time.monotonic()
        with pytest.raises((ServerGone, ServerError), match=r"more than|at most|less at once"):
            client.get_action(canned(SPEC, batch=80))
        assert time.monotonic() - started < 10
        assert client.ping()


def test_importing_the_floor_imports_neither_numpy_nor_zeromq() -> None:
    program = (
        "import sys, dm_isaac_g1.inference, dm_isaac_g1.inference.protocol, dm_isaac_g1.inference.client\n"
        "print([name for name in ('numpy', 'zmq', 'torch', 'PIL', 'asyncssh') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(ImportError):
        exec("from dm_isaac_g1.inference import nothing_of_that_name")
