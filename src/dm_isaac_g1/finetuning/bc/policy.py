"""The policy: one state in, a chunk of actions out.

A residual multi-layer perceptron over the normalised state, trained with a masked squared error on the normalised next
`action_horizon` actions (action chunking as in ACT, Zhao et al. 2023, arXiv:2304.13705, without its encoder: there are
no images here). The layers themselves stand in `network`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from dm_isaac_g1.finetuning.bc.network import Layers

#: A column that moves less than this (rad, m) is a constant: dividing by its spread would only amplify noise.
STILL = 1e-4


class PolicyConfig(PretrainedConfig):  # type: ignore[misc]
    """config.json of a saved policy. `state_names` and `action_names` say what the columns are."""

    model_type = "dm_g1_bc"

    def __init__(
        self,
        state_dim: int = 1,
        action_dim: int = 1,
        action_horizon: int = 16,
        hidden_size: int = 384,
        layers: int = 4,
        fps: float = 30.0,
        state_names: list[str] | None = None,
        action_names: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.state_dim = state_dim
        self.action_dim = action_dim
        self.action_horizon = action_horizon
        self.hidden_size = hidden_size
        self.layers = layers
        self.fps = fps
        self.state_names = state_names or []
        self.action_names = action_names or []
        super().__init__(**kwargs)


class ActionChunkingPolicy(Layers, PreTrainedModel):  # type: ignore[misc]
    """`forward(state)` gives `actions` (batch, action_horizon, action_dim) in the dataset's own units."""

    config_class = PolicyConfig
    main_input_name = "state"
    base_model_prefix = "policy"

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config)
        self.build(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """transformers calls this for every module that no checkpoint fills; torch's own init is what we want."""
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.reset_parameters()

    def set_statistics(self, *, state_mean: Any, state_std: Any, action_mean: Any, action_std: Any) -> None:
        """Take over the dataset's statistics, (state_dim,) and (action_dim,)."""
        given = {"state_mean": state_mean, "state_std": state_std, "action_mean": action_mean, "action_std": action_std}
        for name, value in given.items():
            tensor = torch.as_tensor(value, dtype=torch.float32)
            if name.endswith("_std"):
                tensor = torch.where(tensor < STILL, torch.ones_like(tensor), tensor)
            getattr(self, name).copy_(tensor)

    def forward(self, state: Tensor, actions: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """state (batch, state_dim); actions (batch, horizon, action_dim); mask (batch, horizon), 1 in the episode."""
        if actions is None:
            return {"actions": self.actions(state)}
        normal = self.normal_actions(state)
        wanted = (actions - self.action_mean) / self.action_std
        error = (normal - wanted).square().mean(dim=-1)
        weight = torch.ones_like(error) if mask is None else mask
        return {"loss": (error * weight).sum() / weight.sum().clamp(min=1.0)}
