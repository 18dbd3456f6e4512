"""Models in folders, small and real: bc, TorchScript, ONNX; and what a GR00T checkpoint's folder looks like."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from dm_isaac_g1.core import robot

STATE = {group.name: len(group.names) for group in robot.STATE_31.groups}
ACTION = {group.name: len(group.names) for group in robot.ACTION_23.groups}


def bc_checkpoint(
    folder: Path, *, horizon: int = 4, state: Any = None, action: Any = None, broken: bool = False
) -> Path:
    """A bc policy with made-up weights, as its trainer saves one; `broken`: its answers are NaN."""
    import torch
    from safetensors.torch import save_file

    from dm_isaac_g1.finetuning.bc.network import Network
    from dm_isaac_g1.inference.policies.bc import Shape

    state = list(robot.STATE_31.names if state is None else state)
    action = list(robot.ACTION_23.names if action is None else action)
    shape = Shape(
        state_dim=len(state),
        action_dim=len(action),
        action_horizon=horizon,
        hidden_size=8,
        layers=1,
        state_names=state,
        action_names=action,
    )
    torch.manual_seed(4)
    tensors = Network(shape).state_dict()
    if broken:
        tensors["head.bias"][0] = float("nan")
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    config = {name: getattr(shape, name) for name in shape.__struct_fields__}
    (folder / "config.json").write_text(json.dumps({"model_type": "dm_g1_bc", **config}))
    (folder / "trainer_state.json").write_text('{"global_step": 40, "log_history": [{"loss": NaN}]}')
    (folder / "optimizer.pt").write_bytes(b"x" * 5000)
    return folder


def sidecar(folder: Path, **changed: Any) -> None:
    told = {"state": {"left_arm": 7}, "action": {"left_arm": 7, "left_hand": 1}, "horizon": 3, **changed}
    (folder / "policy.json").write_text(json.dumps(told))


def torchscript_policy(folder: Path, *, camera: bool = False) -> Path:
    """Answers the state seven times 1, 2 and 3 steps ahead; with a camera its first pixel is the hand's value."""
    import torch

    class Ahead(torch.nn.Module):
        def forward(self, state: torch.Tensor) -> torch.Tensor:
            steps = torch.arange(1.0, 4.0).reshape(1, 3, 1)
            return torch.cat([state[:, None, :] + steps, torch.zeros(state.shape[0], 3, 1)], dim=2)

    class Seeing(torch.nn.Module):
        def forward(self, state: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
            hand = picture[:, 0, 0, 0].float().reshape(-1, 1, 1).expand(-1, 3, 1)
            return torch.cat([state[:, None, :].expand(-1, 3, 7), hand], dim=2)

    folder.mkdir(parents=True)
    torch.jit.script(Seeing() if camera else Ahead()).save(str(folder / "policy.pt"))
    seen = {"cameras": ["ego_view"], "language": "annotation.human.task_description"} if camera else {}
    sidecar(folder, format="torchscript", file="policy.pt", **seen)
    return folder


def onnx_policy(folder: Path) -> Path:
    """(B, 7) to (B, 3, 8): twice the state, then zeros... as a matrix product of a constant."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((7, 24), np.float32)
    for step in range(3):
        weights[np.arange(7), step * 8 + np.arange(7)] = 2.0
    nodes = [
        helper.make_node("MatMul", ["state", "weights"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["action"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([-1, 3, 8], np.int64), "shape"),
    ]
    inputs = [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["B", 7])]
    outputs = [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["B", 3, 8])]
    graph = helper.make_graph(nodes, "policy", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / "policy.onnx"))
    sidecar(folder, format="onnx", file="policy.onnx")
    return folder


def safetensors(path: Path, values: int = 100) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * values))


def groot_checkpoint(folder: Path, embodiments: tuple[str, ...] = ("gr1", "unitree_g1"), shards: int = 2) -> Path:
    """What stands in checkpoint-N of GR00T N1.6, with weights of a few bytes."""
    folder.mkdir(parents=True)
    names = [f"model-{n + 1:05d}-of-{shards:05d}.safetensors" for n in range(shards)]
    for name in names:
        safetensors(folder / name)
    texts: dict[str, Any] = {
        "config.json": {"model_type": "Gr00tN1d6", "architectures": ["Gr00tN1d6"]},
        "model.safetensors.index.json": {
            "metadata": {"total_size": 400 * shards},
            "weight_map": {f"w{n}": name for n, name in enumerate(names)},
        },
        "processor_config.json": {"processor_kwargs": {"modality_configs": {tag: _modality() for tag in embodiments}}},
        "statistics.json": {tag: _statistics() for tag in embodiments},
        "embodiment_id.json": {tag: number for number, tag in enumerate(embodiments)},
        "trainer_state.json": {"global_step": 6000},
        "wandb_config.json": {"project": "p", "run_id": "r"},
        "experiment_cfg/final_model_config.json": {},
    }
    for name, value in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin"):
        (folder / name).write_bytes(b"pickle")
    return folder


def _modality() -> dict[str, Any]:
    def one(keys: list[str], steps: int = 1) -> dict[str, Any]:
        return {"delta_indices": list(range(steps)), "modality_keys": keys}

    return {
        "video": one(["ego_view"]),
        "state": one(list(STATE)),
        "action": one(list(ACTION), 30),
        "language": one(["annotation.human.task_description"]),
    }


def _statistics() -> dict[str, Any]:
    def stats(widths: dict[str, int]) -> dict[str, Any]:
        return {name: {"mean": [0.0] * width, "std": [1.0] * width} for name, width in widths.items()}

    arms = {name: width for name, width in ACTION.items() if name.endswith("arm")}
    relative = {name: {"mean": [[0.0] * width] * 30} for name, width in arms.items()}
    return {
        "state": stats(STATE),
        "action": stats({name: width for name, width in ACTION.items() if name not in arms}),
        "relative_action": relative,
    }


def standing(state: dict[str, int] = STATE, *, batch: int = 1, **changed: Any) -> dict[str, Any]:
    """A nested observation of zeros, without cameras and words."""
    zeros = {name: np.zeros((batch, 1, width), np.float32) for name, width in state.items()}
    return {"video": {}, "state": zeros, "language": {}, **changed}
