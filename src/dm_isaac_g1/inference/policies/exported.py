"""TorchScript and ONNX policies: one file that computes, and policy.json that says what it takes and gives.

A TorchScript file is a program: serve only what you would run. An ONNX file is data to onnxruntime, which checks that
its external weights stay in its folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.inference.policies.base import Actions, Observation, PolicyError, joined, modality_config, split
from dm_isaac_g1.inference.protocol import ModalityConfig
from dm_isaac_g1.inference.specs import PolicySpec, Sidecar

#: What the model's file is called with: float32 (B, state), then uint8 (B, H, W, 3) for each camera.
Model = Callable[[list[NDArray[Any]]], NDArray[np.float32]]


class ExportedPolicy:
    """`side` is the folder's policy.json."""

    def __init__(self, folder: Path, side: Sidecar, *, device: str = "auto") -> None:
        """Raises PolicyError for a file that does not load."""
        self.kind = side.format
        self.name = side.name or folder.resolve().name
        self.spec: PolicySpec | None = side.spec
        load = _onnx if side.format == "onnx" else _torchscript
        self._model = load(folder / side.file, 1 + len(side.cameras), device)

    def modality_config(self) -> dict[str, ModalityConfig]:
        assert self.spec is not None
        return modality_config(self.spec)

    def get_action(self, observation: Observation, options: Any = None) -> tuple[Actions, dict[str, Any]]:
        assert self.spec is not None
        pictures = [np.ascontiguousarray(observation["video"][camera][:, -1]) for camera in self.spec.cameras]
        return split(np.asarray(self._model([joined(observation, self.spec), *pictures])), self.spec), {}

    def reset(self, options: Any = None) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


def _torchscript(path: Path, inputs: int, device: str) -> Model:
    try:
        import torch
    except ImportError:
        raise PolicyError("torch is not installed", fix="pip install 'dm-isaac-g1[train]'") from None
    torch.set_num_threads(1)
    if device == "cuda" and not torch.cuda.is_available():
        raise PolicyError("device cuda: torch finds no CUDA GPU here", fix="use --device cpu")
    there = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    try:
        module = torch.jit.load(str(path), map_location=there).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise PolicyError(f"not a TorchScript file: {_first_line(error)}", where=str(path)) from None

    def call(arrays: list[NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            # Copies: a frame's memory is not torch's to write to.
            answer = module(*(torch.tensor(array, device=there) for array in arrays))
        if isinstance(answer, tuple | list) and len(answer) == 1:
            answer = answer[0]
        if not isinstance(answer, torch.Tensor):
            raise PolicyError(f"the model answered a {type(answer).__name__}, expected one tensor")
        found: NDArray[np.float32] = answer.float().cpu().numpy()
        return found

    return call


def _onnx(path: Path, inputs: int, device: str) -> Model:
    try:
        import onnxruntime
    except ImportError:
        raise PolicyError("onnxruntime is not installed", fix="pip install 'dm-isaac-g1[inference]'") from None
    there = onnxruntime.get_available_providers()
    cuda = "CUDAExecutionProvider"
    if device == "cuda" and cuda not in there:
        raise PolicyError("device cuda: onnxruntime has no CUDA here", fix="use --device cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers = [*([cuda] if cuda in there and device != "cpu" else []), "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its classes share no base
        raise PolicyError(f"not an ONNX model that runs here: {_first_line(error)}", where=str(path)) from None
    names = [each.name for each in session.get_inputs()]
    if len(names) != inputs:
        raise PolicyError(f"the model takes {len(names)} inputs, policy.json says {inputs}", where=str(path))
    outputs = [session.get_outputs()[0].name]

    def call(arrays: list[NDArray[Any]]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(outputs, dict(zip(names, arrays, strict=True)))[0]
        return found

    return call


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
