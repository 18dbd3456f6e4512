"""The whole test of a server, against real ones over real sockets: what it finds, and what it says of what is wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import sets
from stub_servers import ZmqStub

from dm_isaac_g1.core.errors import DmG1Error, ExitCode
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.inference import GrootClient, PolicyServer
from dm_isaac_g1.inference.evaluation.examine import Plan, examine
from dm_isaac_g1.inference.evaluation.openloop import Order
from dm_isaac_g1.inference.policies.replay import ReplayPolicy
from dm_isaac_g1.inference.protocol import ModalityConfig, ServerError


@pytest.fixture(scope="module")
def groot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sets.copy_of(tmp_path_factory.mktemp("sets") / "groot", "groot", episodes=2, frames=40)


@pytest.fixture(scope="module")
def replay(groot: Path) -> Iterator[PolicyServer]:
    with PolicyServer(ReplayPolicy(groot), port=0) as server:
        yield server


def examined(
    server: PolicyServer | int, *, token: str | None = None, timeout: float = 5.0, **plan: Any
) -> dict[str, Any]:
    port = server if isinstance(server, int) else server.port
    wanted = {"server": f"spark:{port}", "seconds": 0.0} | plan
    found = examine(lambda: GrootClient(port=port, api_token=token, timeout=timeout), Plan(**wanted), Work())
    json.dumps(found, allow_nan=False)
    return found


def test_a_server_that_replays_the_recording_has_no_error_at_all(
    replay: PolicyServer, groot: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    found = examined(
        replay,
        seconds=0.3,
        clients=(1, 3),
        dataset=groot,
        order=Order(trajectories=(0, 1)),
        plot=tmp_path / "a.png",
        out=tmp_path / "a.json",
    )
    assert (found["open_loop"]["mse"], found["open_loop"]["mae"]) == (0.0, 0.0)
    assert [each["steps"] for each in found["open_loop"]["trajectories"]] == [40, 41]
    seen = found["probe"]
    assert (seen["dialect"], seen["kind"], seen["model"], seen["steps"]) == ("nested", "replay", "groot", 16)
    assert seen["gives"]["left_arm"] == 7
    assert [each["clients"] for each in found["latency"]] == [1, 3]
    assert all(each["calls"] > 5 and not each["errors"] and each["p50"] <= each["p99"] for each in found["latency"])
    assert sorted(Path(path).name for path in found["plots"]) == ["a-000000.png", "a-000001.png"]
    assert json.loads((tmp_path / "a.json").read_text())["open_loop"] == found["open_loop"]


def test_without_a_recording_it_is_shown_a_standing_robot(replay: PolicyServer) -> None:
    found = examined(replay, seconds=0.1, clients=(1,))
    assert found["open_loop"] is None
    assert found["latency"][0]["calls"] > 0


def test_the_flat_dialect_is_found_out(groot: Path) -> None:
    with PolicyServer(ReplayPolicy(groot), port=0, dialect="flat") as server:
        found = examined(server, dataset=groot)
    assert (found["probe"]["dialect"], found["open_loop"]["mse"]) == ("flat", 0.0)


# --- A trained model --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(groot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    output = tmp_path_factory.mktemp("bc") / "run"
    flags = {"dataset": groot, "output": output, "steps": 20, "batch-size": 8, "learning-rate": 3e-3, "save-steps": 20}
    small = {"save-total-limit": 1, "seed": 1, "hidden-size": 8, "layers": 1, "action-horizon": 6}
    argv = [sys.executable, "-m", "dm_isaac_g1.finetuning.bc"]
    argv += [str(word) for name, value in (flags | small).items() for word in (f"--{name}", value)]
    subprocess.run(argv, check=True, capture_output=True, timeout=100)
    return output / "checkpoint-20"


@pytest.mark.train
def test_a_trained_models_error_is_what_its_network_makes_of_the_recording(trained: Path, groot: Path) -> None:
    """Computed beside it with transformers and parquet alone, in the words of open_loop_eval."""
    import torch

    from dm_isaac_g1.finetuning.bc.policy import ActionChunkingPolicy
    from dm_isaac_g1.inference.policies.loading import load

    model = ActionChunkingPolicy.from_pretrained(trained).eval()
    table = pq.read_table(groot / "data/chunk-000/episode_000001.parquet")
    states, actions = (np.array(table[name].to_pylist(), np.float32) for name in ("observation.state", "action"))
    rows = []
    with torch.no_grad():
        for step in range(0, len(states), 6):
            rows += list(model(torch.from_numpy(states[step : step + 1]))["actions"][0].numpy())
    predicted = np.array(rows)[: len(states)]

    with PolicyServer(load(trained), port=0) as server:
        found = examined(server, dataset=groot, order=Order(trajectories=(1,)))
    assert found["open_loop"]["action_horizon"] == 6  # it predicts less than NVIDIA's 16
    assert found["open_loop"]["mse"] == pytest.approx(float(np.mean((actions - predicted) ** 2)), rel=1e-4)
    assert found["open_loop"]["mae"] == pytest.approx(float(np.mean(np.abs(actions - predicted))), rel=1e-4)
    assert found["probe"]["kind"] == "bc"


# --- What is wrong ----------------------------------------------------------------------------------------------------


def refused(server: Any, **options: Any) -> DmG1Error:
    with pytest.raises(DmG1Error) as told:
        examined(server, **options)
    return told.value


def free_port() -> int:
    with closing(socket.socket()) as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def test_no_server_is_said_at_once() -> None:
    began = time.monotonic()
    port = free_port()
    error = refused(port)
    assert time.monotonic() - began < 3
    assert error.exit_code is ExitCode.UNREACHABLE
    assert error.where == f"spark:{port}"


def test_a_port_that_says_nothing_is_given_up_at_the_deadline() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        began = time.monotonic()
        error = refused(silent.getsockname()[1], timeout=0.5)
        assert time.monotonic() - began < 5
        assert error.exit_code is ExitCode.UNREACHABLE


def test_a_wrong_token_and_none_are_refused_as_such(groot: Path) -> None:
    with PolicyServer(ReplayPolicy(groot), port=0, token="s3cret") as server:
        for token in (None, "wrong"):
            error = refused(server, token=token)
            assert error.exit_code is ExitCode.UNTRUSTED
            assert "token" in error.line()
            assert "s3cret" not in error.line()
        assert examined(server, token="s3cret")["probe"]["kind"] == "replay"


def test_a_recording_of_another_embodiment_is_told_with_what_it_lacks(replay: PolicyServer, tmp_path: Path) -> None:
    other = sets.copy_of(tmp_path / "dex3", "dex3", episodes=1, frames=20)
    error = refused(replay, dataset=other)
    assert "left_leg" in error.line()
    assert "another embodiment" in error.line()


class Spoilt(ReplayPolicy):
    """Answers what `change` makes of the recording."""

    def __init__(self, folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__(folder)
        self.change = change

    def get_action(self, observation: Any, options: Any = None) -> Any:
        actions, info = super().get_action(observation)
        return self.change(actions), info


def _fails(actions: dict[str, Any]) -> Any:
    raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a | {"waist": a["waist"] * np.float32("nan")}, "waist holds nan"),
        (lambda a: {name: rows for name, rows in a.items() if name != "waist"}, "lacks waist"),
        (lambda a: a | {"waist": a["waist"][0]}, "waist has shape (16, 3)"),
        (
            lambda a: a | {"left_hand": np.zeros((1, 16, 7), np.float32)},
            "left_hand at step 0 of episode 0 has 7 values",
        ),
        (_fails, "CUDA out of memory"),
    ],
)
def test_a_model_that_answers_nonsense_is_told_by_name(groot: Path, change: Any, told: str) -> None:
    with PolicyServer(Spoilt(groot, change), port=0) as server:
        error = refused(server, dataset=groot)
    assert told in error.line()
    assert error.line().startswith("spark:") or "groot" in str(error.where)


def test_a_policy_of_groups_that_no_robot_has_says_its_widths(groot: Path) -> None:
    """A server of ours says them with its figures, so that it needs no recording to be tested."""

    class Other(ReplayPolicy):
        def __init__(self) -> None:
            super().__init__(groot)
            assert self.spec is not None
            self.spec = msgspec.structs.replace(self.spec, state={"tentacle": 8})

    with PolicyServer(Other(), port=0) as server:
        assert examined(server)["probe"]["takes"]["state"] == ["tentacle"]


def test_widths_that_nobody_says_are_asked_for(groot: Path) -> None:
    """N1.6's own servers do not say them."""

    def handle(request: dict[str, Any]) -> Any:
        if request["endpoint"] == "ping":
            return {"status": "ok"}
        if request["endpoint"] == "get_modality_config":
            return {kind: ModalityConfig(delta_indices=[0], modality_keys=["tentacle"]) for kind in ("state", "action")}
        raise ServerError(f"Unknown endpoint: {request['endpoint']}")

    with ZmqStub(handle) as server:
        error = refused(server.port)
    assert "how wide tentacle is" in error.line()
    assert "--dataset" in error.line()


def test_a_server_that_dies_under_load_is_counted_not_waited_for(groot: Path) -> None:
    server = PolicyServer(ReplayPolicy(groot), port=0)
    server.start()
    threading.Timer(0.7, lambda: server.leave(at_once=True)).start()
    began = time.monotonic()
    with pytest.raises(DmG1Error):  # the next count of clients is not served any more
        examined(server, seconds=2.0, clients=(1, 2), timeout=1.0)
    assert time.monotonic() - began < 30
    server.stop()
