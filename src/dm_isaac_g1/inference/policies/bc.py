"""A checkpoint of our own behaviour cloning (finetuning.bc): states in, a chunk of actions out. No pictures, no words.

Needs torch and safetensors; transformers, which wrote the checkpoint, is not imported (it costs three seconds).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dm_isaac_g1.finetuning.bc.network import Network
from dm_isaac_g1.inference.policies.base import Actions, Observation, PolicyError, joined, modality_config
from dm_isaac_g1.inference.protocol import ModalityConfig
from dm_isaac_g1.inference.specs import PolicySpec, action_columns, state_columns


class Shape(msgspec.Struct, kw_only=True):
    """What of config.json the network's layers follow from."""

    state_dim: int
    action_dim: int
    action_horizon: int
    hidden_size: int
    layers: int
    state_names: list[str] = []
    action_names: list[str] = []


class BcPolicy:
    """`spec`: in groups of the robot's layout where the columns' names are known, else "state" and "action"."""

    kind = "bc"

    def __init__(self, folder: Path) -> None:
        """Raises PolicyError: files that are missing, cut off, or do not fit each other."""
        self.name = folder.resolve().name
        shape = _shape(folder / "config.json")
        self._network = _network(shape, folder / "model.safetensors")
        state = state_columns(shape.state_names, shape.state_dim)
        action = action_columns(shape.action_names, shape.action_dim)
        #: Where the values of the groups, one after another, stand in the model's own vector.
        self._into = np.concatenate([np.array(places) for places in state.groups.values()])
        self._out = action.groups
        self.spec: PolicySpec | None = PolicySpec(
            state=state.widths, action=action.widths, horizon=shape.action_horizon
        )

    def modality_config(self) -> dict[str, ModalityConfig]:
        assert self.spec is not None
        return modality_config(self.spec)

    def get_action(self, observation: Observation, options: Any = None) -> tuple[Actions, dict[str, Any]]:
        assert self.spec is not None
        given = joined(observation, self.spec)
        state = np.empty_like(given)
        state[:, self._into] = given
        with torch.inference_mode():
            flat = self._network.actions(torch.from_numpy(state)).numpy()
        return {group: np.ascontiguousarray(flat[:, :, list(places)]) for group, places in self._out.items()}, {}

    def reset(self, options: Any = None) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass


def _shape(path: Path) -> Shape:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Shape)
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PolicyError(f"not a bc policy's: {error}", where=str(path)) from None


def _network(shape: Shape, path: Path) -> Network:
    torch.set_num_threads(1)  # small matrices: more threads only wake each other
    try:
        with torch.device("meta"):
            network = Network(shape)
        network.load_state_dict(load_file(path), assign=True)
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    except (SafetensorError, RuntimeError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise PolicyError(f"the weights do not fit config.json: {what}", where=str(path)) from None
    network.eval()
    return network
