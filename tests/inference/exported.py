"""Small policies to serve: an ONNX file with the policy.json that says what it takes and gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dm_isaac_g1.core.robot import ACTION_23, STATE_31


def onnx_policy(folder: Path, *, horizon: int = 8, value: float = 0.0, name: str = "still") -> Path:
    """UNITREE_G1's groups; answers `value` everywhere, whatever the state."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    wide = ACTION_23.width
    weights = numpy_helper.from_array(np.zeros((STATE_31.width, horizon * wide), np.float32), "w")
    offset = numpy_helper.from_array(np.full(horizon * wide, value, np.float32), "b")
    shape = numpy_helper.from_array(np.array([-1, horizon, wide], np.int64), "shape")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["state", "w", "b"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["actions"]),
        ],
        "still",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", STATE_31.width])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["batch", horizon, wide])],
        [weights, offset, shape],
    )
    folder.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "p.onnx")
    groups = {kind: {g.name: len(g.names) for g in layout.groups} for kind, layout in LAYOUTS.items()}
    side = {"format": "onnx", "file": "p.onnx", "horizon": horizon, "name": name, **groups}
    (folder / "policy.json").write_text(json.dumps(side))
    return folder


LAYOUTS = {"state": STATE_31, "action": ACTION_23}
