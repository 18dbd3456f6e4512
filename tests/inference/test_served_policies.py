"""What each kind of policy answers is what its model computes, in the order that its names say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servedmodels import (
    ACTION,
    STATE,
    bc_checkpoint,
    groot_checkpoint,
    onnx_policy,
    sidecar,
    standing,
    torchscript_policy,
)
from servedpolicies import Raw

from dm_isaac_g1.core import robot
from dm_isaac_g1.core.errors import RefusedError, UsageError
from dm_isaac_g1.inference.policies.base import PolicyError
from dm_isaac_g1.inference.policies.loading import load
from dm_isaac_g1.inference.policies.replay import ReplayPolicy
from dm_isaac_g1.inference.server import PolicyServer
from dm_isaac_g1.lab import seed

ARM = {"left_arm": 7}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replayed") / "g1_right_arm"
    seed.write(folder)
    return folder


def _random_state(batch: int = 3) -> dict[str, Any]:
    random = np.random.default_rng(1)
    return {name: random.normal(size=(batch, 1, width)).astype(np.float32) for name, width in STATE.items()}


@pytest.mark.train
def test_a_bc_checkpoint_answers_what_the_trainers_own_model_does(tmp_path: Path) -> None:
    import torch

    from dm_isaac_g1.finetuning.bc.policy import ActionChunkingPolicy

    folder = bc_checkpoint(tmp_path / "checkpoint-40")
    state = _random_state()
    policy = load(folder)
    actions, _ = policy.get_action(standing() | {"state": state})
    theirs = ActionChunkingPolicy.from_pretrained(folder)
    flat = torch.from_numpy(np.concatenate([state[name][:, 0] for name in STATE], axis=1))
    with torch.no_grad():
        expected = theirs(flat)["actions"].numpy()
    assert list(actions) == list(ACTION)
    np.testing.assert_allclose(np.concatenate(list(actions.values()), axis=2), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.train
def test_columns_go_by_their_names_not_by_their_places(tmp_path: Path) -> None:
    """The same network, its columns shuffled: the same answer for the same robot."""
    import torch
    from safetensors.torch import load_file, save_file

    plain = bc_checkpoint(tmp_path / "plain")
    shuffled = bc_checkpoint(tmp_path / "shuffled")
    random = np.random.default_rng(2)
    into, out = random.permutation(31), random.permutation(23)
    config = json.loads((plain / "config.json").read_text())
    config["state_names"] = [robot.STATE_31.names[place] for place in into]
    config["action_names"] = [robot.ACTION_23.names[place] for place in out]
    (shuffled / "config.json").write_text(json.dumps(config))
    tensors = load_file(plain / "model.safetensors")
    tensors["embed.weight"] = tensors["embed.weight"][:, torch.from_numpy(into)]
    for name in ("head.weight", "head.bias"):
        steps = tensors[name].unflatten(0, (4, 23))[:, torch.from_numpy(out)]
        tensors[name] = steps.flatten(0, 1).contiguous()
    for name, order in (("state_mean", into), ("state_std", into), ("action_mean", out), ("action_std", out)):
        tensors[name] = tensors[name][torch.from_numpy(order)]
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, shuffled / "model.safetensors")
    observation = standing() | {"state": _random_state()}
    expected, found = load(plain).get_action(observation)[0], load(shuffled).get_action(observation)[0]
    assert list(found) == list(expected)
    for group, values in expected.items():
        np.testing.assert_allclose(found[group], values, rtol=1e-5, atol=1e-6)


@pytest.mark.train
def test_a_bc_server_does_without_transformers(tmp_path: Path) -> None:
    folder = bc_checkpoint(tmp_path / "checkpoint-40")
    program = (
        "import sys, dm_isaac_g1.inference.server.server\n"
        "from dm_isaac_g1.inference.policies.loading import load\n"
        f"load({str(folder)!r}); print(*(name in sys.modules for name in ('transformers', 'pyarrow', 'textual')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


#: torch says that torch.export is to come in TorchScript's place; files of it are what people have.
_DEPRECATED = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@_DEPRECATED
@pytest.mark.train
@pytest.mark.parametrize("batch", [1, 4])
def test_a_torchscript_policy_is_called_with_state_and_pictures(tmp_path: Path, batch: int) -> None:
    state = {"left_arm": np.full((batch, 1, 7), 0.25, np.float32)}
    actions, _ = load(torchscript_policy(tmp_path / "ahead")).get_action(standing() | {"state": state})
    assert actions["left_arm"].shape == (batch, 3, 7)
    np.testing.assert_allclose(actions["left_arm"][0, :, 0], [1.25, 2.25, 3.25])
    picture = np.zeros((batch, 1, 4, 6, 3), np.uint8)
    picture[:, 0, 0, 0, 0] = 77
    seen = standing() | {"state": state, "video": {"ego_view": picture}}
    actions, _ = load(torchscript_policy(tmp_path / "seeing", camera=True)).get_action(seen)
    assert (actions["left_hand"] == 77).all()


def test_an_onnx_policy_is_served_over_the_wire(tmp_path: Path) -> None:
    with PolicyServer(load(onnx_policy(tmp_path / "reach")), port=0) as server, Raw(server) as client:
        state = {"left_arm": np.full((2, 1, 7), 0.5, np.float32)}
        actions, _ = client.action(standing() | {"state": state})
        assert actions["left_arm"].shape == (2, 3, 7) and (actions["left_arm"] == 1.0).all()
        assert actions["left_hand"].shape == (2, 3, 1) and (actions["left_hand"] == 0.0).all()
        assert client.ask({"endpoint": "metrics"})["kind"] == "onnx"


def test_a_model_that_answers_another_shape_than_it_promised_is_an_error(tmp_path: Path) -> None:
    folder = onnx_policy(tmp_path / "reach")
    sidecar(folder, format="onnx", file="policy.onnx", action={"left_arm": 7})
    with PolicyServer(load(folder), port=0) as server, Raw(server) as client:
        answer = client.action(standing(ARM))
        assert answer["error"] == "the model answered (1, 3, 8), expected (B, 3, 7)"


def test_what_does_not_load_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such model folder"):
        load(tmp_path / "nothing")
    with pytest.raises(RefusedError, match="GR00T's own server"):
        load(groot_checkpoint(tmp_path / "checkpoint-1"))
    broken = onnx_policy(tmp_path / "broken")
    (broken / "policy.onnx").write_bytes(b"no model")
    with pytest.raises(PolicyError, match="not an ONNX model"):
        load(broken)
    with pytest.raises(PolicyError, match="CUDA"):
        load(onnx_policy(tmp_path / "onnx"), device="cuda")
    sidecar(tmp_path / "onnx", format="onnx", file="policy.onnx", cameras=["ego_view"])
    with pytest.raises(PolicyError, match=r"takes 1 inputs, policy\.json says 2"):
        load(tmp_path / "onnx")


@_DEPRECATED
@pytest.mark.train
def test_what_torch_does_not_load_says_why(tmp_path: Path) -> None:
    script = torchscript_policy(tmp_path / "script")
    (script / "policy.pt").write_bytes(b"no model")
    with pytest.raises(PolicyError, match="not a TorchScript file"):
        load(script)
    checkpoint = bc_checkpoint(tmp_path / "checkpoint-40")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "hidden_size": 16}))
    with pytest.raises(PolicyError, match=r"weights do not fit config\.json"):
        load(checkpoint)
    other = bc_checkpoint(tmp_path / "checkpoint-50")
    data = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(data[:-40])
    with pytest.raises(RefusedError, match="is cut off"):
        load(other)


def test_a_replay_answers_what_was_recorded(dataset: Path) -> None:
    _, recorded = seed.episodes()[0]
    policy = ReplayPolicy(dataset, horizon=30, executed=10)
    assert policy.spec is not None and (policy.spec.state, policy.spec.action) == (STATE, ACTION)
    with PolicyServer(policy, port=0) as server, Raw(server) as client:
        asked = standing(language={"annotation.human.task_description": [["reach"]]})
        for step in (0, 10, 20):
            actions, info = client.action(asked)
            assert info == {"current_step": step, "episode_length": len(recorded), "episode_index": 0}
            answered = np.concatenate([actions[group.name][0] for group in robot.ACTION_23.groups], axis=1)
            np.testing.assert_array_equal(answered, recorded[step : step + 30])


def test_a_replay_begins_where_reset_says(dataset: Path) -> None:
    _, recorded = seed.episodes()[3]
    with PolicyServer(ReplayPolicy(dataset, horizon=8), port=0) as server, Raw(server) as client:
        asked = standing(batch=2, language={"annotation.human.task_description": [["reach"]] * 2})
        last = len(recorded) - 1
        said = client.ask({"endpoint": "reset", "data": {"options": {"episode_index": 3, "step_index": last - 2}}})
        assert said == {"episode_index": 3, "episode_length": len(recorded), "current_step": last - 2}
        arm = client.action(asked)[0]["right_arm"]
        rows = recorded[:, robot.ACTION_23["right_arm"].slice]
        assert arm.shape == (2, 8, 7)
        np.testing.assert_array_equal(arm[1], rows[np.minimum(np.arange(last - 2, last + 6), last)])
        # Past the end: the last one, again and again.
        np.testing.assert_array_equal(client.action(asked)[0]["right_arm"][0], np.repeat(rows[-1:], 8, axis=0))
        assert "no episode 99" in client.ask({"endpoint": "reset", "data": {"options": {"episode_index": 99}}})["error"]
        assert "step_index is -1" in client.ask({"endpoint": "reset", "data": {"options": {"step_index": -1}}})["error"]
        assert client.ask({"endpoint": "reset"})["current_step"] == 0
