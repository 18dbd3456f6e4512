"""The policy server keeps GR00T's protocol, in its words, and answers a ping whatever the policy does."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq
from servedpolicies import SPEC, Echo, Raw, flattened, seeing

from dm_isaac_g1.inference.protocol import ModalityConfig
from dm_isaac_g1.inference.server import PolicyServer, ServerLimits
from dm_isaac_g1.inference.server.ports import PortTaken, owner_of


@pytest.fixture
def policy() -> Echo:
    return Echo()


@pytest.fixture
def server(policy: Echo) -> Iterator[PolicyServer]:
    with PolicyServer(policy, port=0) as server:
        yield server


@pytest.fixture
def client(server: PolicyServer) -> Iterator[Raw]:
    with Raw(server) as client:
        yield client


def test_every_endpoint_answers_in_the_protocols_form(client: Raw) -> None:
    assert client.ask({"endpoint": "ping"}) == {"status": "ok", "message": "Server is running"}
    config = client.ask({"endpoint": "get_modality_config"})
    assert isinstance(config["action"], ModalityConfig)
    assert config["action"].delta_indices == list(range(5))
    assert config["state"].modality_keys == ["left_arm", "waist"]
    actions, info = client.action(seeing())
    assert actions["left_arm"].dtype == np.float32 and actions["left_arm"].shape == (1, 5, 7)
    assert (actions["left_arm"] == 0.5).all() and info["batch"] == 1
    # A request without an endpoint asks for an action.
    assert client.ask({"data": {"observation": seeing(batch=4)}})[1]["batch"] == 4
    assert client.ask({"endpoint": "reset", "data": {"options": {"a": 1}}}) == {"options": {"a": 1}}
    assert client.ask({"endpoint": "reset"}) == {"options": None}


def test_errors_are_said_in_the_words_of_nvidias_server(client: Raw) -> None:
    def error(message: Any) -> str:
        return str(client.ask(message)["error"])

    assert error({"endpoint": "nope"}) == "Unknown endpoint: nope"
    assert error({"endpoint": "get_action", "data": {"obs": {}}}) == (
        "BasePolicy.get_action() got an unexpected keyword argument 'obs'"
    )
    assert "missing 1 required positional argument: 'observation'" in error({"endpoint": "get_action"})
    assert "must be a mapping" in error({"endpoint": "get_action", "data": [1]})


def _without(*path: str) -> Any:
    def change(observation: dict[str, Any]) -> None:
        for key in path[:-1]:
            observation = observation[key]
        del observation[path[-1]]

    return change


def _with(kind: str, name: str, value: Any) -> Any:
    return lambda observation: observation[kind].__setitem__(name, value)


_LANGUAGE = "annotation.human.task_description"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("video"), "Observation must contain a 'video' key"),
        (_without("language"), "Observation must contain a 'language' key"),
        (_without("state", "waist"), "State key 'waist' must be in observation"),
        (_without("video", "ego_view"), "Video key 'ego_view' must be in observation"),
        (
            _with("state", "waist", np.zeros((1, 1, 3))),
            "State key 'waist' must be a numpy array of type np.float32. Got float64",
        ),
        (_with("state", "waist", [0, 0, 0]), "State key 'waist' must be a numpy array. Got <class 'list'>"),
        (
            _with("state", "waist", np.zeros((1, 3), np.float32)),
            "State key 'waist' must be a numpy array of shape (B, T, D), got (1, 3)",
        ),
        (_with("state", "waist", np.zeros((1, 2, 3), np.float32)), "State key 'waist''s horizon must be 1. Got 2"),
        (
            _with("state", "waist", np.zeros((1, 1, 4), np.float32)),
            "State key 'waist''s dimension 'D' must be 3. Got 4",
        ),
        (_with("state", "waist", np.zeros((2, 1, 3), np.float32)), "State key 'waist' must have batch size 1. Got 2"),
        (_with("state", "waist", np.full((1, 1, 3), np.nan, np.float32)), "State key 'waist' must be finite"),
        (
            _with("video", "ego_view", np.zeros((1, 480, 640, 3), np.uint8)),
            "Video key 'ego_view' must be a numpy array of shape (B, T, H, W, C), got (1, 480, 640, 3)",
        ),
        (
            _with("video", "ego_view", np.zeros((1, 1, 8, 8, 3), np.float32)),
            "Video key 'ego_view' must be a numpy array of type np.uint8. Got float32",
        ),
        (_with("video", "ego_view", np.zeros((1, 1, 8, 8, 4), np.uint8)), "channel 'C' must be 3. Got 4"),
        (_with("language", _LANGUAGE, "fold"), f"Language key '{_LANGUAGE}' must be a list. Got <class 'str'>"),
        (_with("language", _LANGUAGE, ["fold"]), "Language batch item must be a list. Got <class 'str'>"),
        (_with("language", _LANGUAGE, [[3]]), "Language batch item must be a string. Got <class 'int'>"),
    ],
)
def test_what_is_wrong_with_an_observation_is_said(client: Raw, policy: Echo, change: Any, said: str) -> None:
    observation = seeing()
    change(observation)
    assert said in client.action(observation)["error"]
    assert policy.calls == 0
    assert client.action(seeing())[0]["waist"].shape == (1, 5, 3)  # and it goes on


def test_a_flat_observation_to_a_nested_server_and_the_other_way_round(policy: Echo, client: Raw) -> None:
    assert client.action(flattened(seeing()))["error"] == "Observation must contain a 'video' key"
    with PolicyServer(policy, port=0, dialect="flat") as flat, Raw(flat) as other:
        assert other.action(seeing())["error"] == "Video key 'video.ego_view' must be in observation"
        actions, info = other.action(flattened(seeing(batch=2)))
        assert set(actions) == {"action.left_arm", "action.waist"} and info["batch"] == 2
        wrong = flattened(seeing()) | {_LANGUAGE: "fold"}
        assert "must be a tuple or list" in other.action(wrong)["error"]


def test_a_ping_is_answered_while_the_policy_thinks(server: PolicyServer, client: Raw, policy: Echo) -> None:
    with policy.hold(), Raw(server) as other:
        client.send({"endpoint": "get_action", "data": {"observation": seeing()}})
        assert policy.entered.wait(5)
        began = time.monotonic()
        assert other.ask({"endpoint": "ping"})["status"] == "ok"
        assert other.ask({"endpoint": "get_modality_config"})["action"].modality_keys
        assert other.ask({"endpoint": "metrics"})["requests"] == 0
        assert time.monotonic() - began < 1.0
    assert client.receive()[0]["waist"].shape == (1, 5, 3)


def test_the_token_is_asked_for_everything(policy: Echo) -> None:
    with PolicyServer(policy, port=0, token="s3cret") as server, Raw(server) as client:
        for endpoint in ("ping", "get_action", "metrics", "kill", "nope"):
            for token in ({}, {"api_token": "s3cre"}, {"api_token": "s3cret "}, {"api_token": 1}, {"api_token": None}):
                assert client.ask({"endpoint": endpoint, **token}) == {"error": "Unauthorized: Invalid API token"}
        assert client.ask({"endpoint": "ping", "api_token": "s3cret"})["status"] == "ok"
        assert policy.calls == 0


def test_kill_is_refused_unless_it_is_allowed(server: PolicyServer, client: Raw, policy: Echo) -> None:
    assert "refused" in client.ask({"endpoint": "kill"})["error"]
    assert client.ask({"endpoint": "ping"})["status"] == "ok"
    with PolicyServer(policy, port=0, allow_kill=True) as mortal, Raw(mortal) as other:
        assert other.ask({"endpoint": "kill"}) is None
        assert mortal._left.wait(5)


def test_metrics_say_what_was_asked(client: Raw) -> None:
    for _ in range(20):
        client.action(seeing())
    client.action({})
    client.ask({"endpoint": "nope"})
    said = client.ask({"endpoint": "metrics"})
    assert (said["requests"], said["errors"], said["refused"]) == (21, 1, 1)
    assert said["model"] == "echo-1" and said["kind"] == "echo" and said["clients"] == 1
    assert 0 < said["p50_ms"] <= said["p99_ms"] < 1000
    assert 0 < said["per_second"] <= 21
    assert said["spec"]["state"] == SPEC.state
    assert abs(said["since"] - time.time()) < 60


def test_a_sick_models_answer_is_passed_on_and_told(client: Raw, policy: Echo, capfd: Any) -> None:
    sick = {"left_arm": np.full((1, 5, 7), np.nan, np.float32), "waist": np.zeros((1, 4, 3), np.float32)}
    policy.answer = sick
    actions, _ = client.action(seeing())
    assert np.isnan(actions["left_arm"]).all() and actions["waist"].shape == (1, 4, 3)
    assert client.ask({"endpoint": "metrics"})["odd_answers"] == 2
    said = capfd.readouterr().err
    assert "left_arm is not finite" in said and "waist is of shape (1, 4, 3), expected (B, 5, 3)" in said


def test_a_policy_that_raises_costs_one_answer(client: Raw, policy: Echo) -> None:
    policy.answer = {"left_arm": object()}
    assert "error" in client.action(seeing())
    policy.answer = 5
    assert "error" in client.action(seeing())
    policy.answer = None

    def leave(observation: Any, options: Any = None) -> Any:
        sys.exit("a policy that would end its process")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "get_action", leave)
        assert "error" in client.action(seeing())
    assert client.action(seeing())[0]["left_arm"].shape == (1, 5, 7)


def test_nvidias_own_kind_of_policy_is_served_too() -> None:
    class Plain:
        """As a subclass of NVIDIA's BasePolicy: no spec, no name, get_modality_config."""

        def get_modality_config(self) -> dict[str, Any]:
            return {}

        def get_action(self, observation: Any, options: Any = None) -> Any:
            return {"x": np.zeros((1, 2, 3), np.float32)}, {"seen": sorted(observation)}

        def reset(self, options: Any = None) -> dict[str, Any]:
            return {}

    with PolicyServer(Plain(), port=0) as server, Raw(server) as client:
        assert client.ask({"endpoint": "get_modality_config"}) == {}
        assert client.action({"whatever": 1})[1] == {"seen": ["whatever"]}


def test_stopping_answers_what_is_under_way_and_what_waits(policy: Echo) -> None:
    server = PolicyServer(policy, port=0)
    server.start()
    with Raw(server) as first, Raw(server) as second:
        with policy.hold():
            first.send({"endpoint": "get_action", "data": {"observation": seeing(value=1.0)}})
            assert policy.entered.wait(5)
            second.send({"endpoint": "get_action", "data": {"observation": seeing(value=2.0)}})
            _until(lambda: len(server._waiting) == 2)
            stopping = threading.Thread(target=server.stop)
            stopping.start()
            _until(lambda: server._leaving_since is not None)
            with Raw(server) as late:
                assert late.action(seeing())["error"] == "Server is shutting down"
        assert first.receive()[0]["left_arm"][0, 0, 0] == 1.0
        assert second.receive()[0]["left_arm"][0, 0, 0] == 2.0
        stopping.join(5)
        assert not stopping.is_alive() and server._clean and owner_of(server.port) is None


def test_a_policy_that_hangs_does_not_keep_the_server(policy: Echo) -> None:
    server = PolicyServer(policy, port=0, limits=ServerLimits(grace_s=0.3))
    server.start()
    with policy.hold(), Raw(server) as client:
        client.send({"endpoint": "get_action", "data": {"observation": seeing()}})
        assert policy.entered.wait(5)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 3 and not server._clean


def test_a_client_that_went_away_costs_nothing(server: PolicyServer, client: Raw, policy: Echo) -> None:
    with policy.hold(), Raw(server) as gone:
        gone.send({"endpoint": "get_action", "data": {"observation": seeing()}})
        assert policy.entered.wait(5)
    assert client.action(seeing())[0]["waist"].shape == (1, 5, 3)
    assert policy.calls == 2


def test_more_than_can_wait_is_told_so_at_once(policy: Echo) -> None:
    limits = ServerLimits(waiting=2, per_client=1)
    with PolicyServer(policy, port=0, limits=limits) as server, policy.hold():
        clients = [Raw(server) for _ in range(3)]
        try:
            for client in clients[:2]:
                client.send({"endpoint": "get_action", "data": {"observation": seeing()}})
            _until(lambda: len(server._waiting) == 2)
            assert "too many requests wait" in clients[2].action(seeing())["error"]
            assert clients[2].ask({"endpoint": "ping"})["status"] == "ok"
            policy.free.set()
            assert all(len(client.receive()) == 2 for client in clients[:2])
            assert len(clients[2].action(seeing())) == 2
        finally:
            for client in clients:
                client.__exit__()


def test_a_port_that_is_taken_names_who_has_it(server: PolicyServer, policy: Echo) -> None:
    with pytest.raises(PortTaken, match=rf"port {server.port} is taken by .*\(pid \d+\)"):
        PolicyServer(policy, port=server.port).start()
    assert owner_of(1) is None


def test_ipv6_and_sockets_in_the_file_system(policy: Echo, tmp_path: Any) -> None:
    for bind in ("::1", f"ipc://{tmp_path}/policy"):
        with PolicyServer(policy, port=0, bind=bind) as server:
            context: Any = zmq.Context()
            socket = context.socket(zmq.REQ)
            socket.setsockopt(zmq.IPV6, 1)
            socket.setsockopt(zmq.RCVTIMEO, 5000)
            socket.connect(server.address)
            socket.send(b"\x81\xa8endpoint\xa4ping")
            assert b"Server is running" in socket.recv()
            context.destroy(linger=0)


def _until(true: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
