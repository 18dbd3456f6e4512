"""The policy's layers and its forward pass, of torch alone: what a policy server needs to run it.

Apart from `policy`, which makes a transformers model of it: importing that library takes seconds, and serving needs
nothing of it.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dm_isaac_g1.finetuning.bc.options import EXPANSION


class Shape(Protocol):
    """What the layers' sizes follow from: the fields of a saved policy's config.json."""

    state_dim: int
    action_dim: int
    action_horizon: int
    hidden_size: int
    layers: int


class ResidualBlock(nn.Module):  # type: ignore[misc]
    """x + W2 gelu(W1 norm(x)): (batch, hidden) in and out."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, EXPANSION * hidden)
        self.down = nn.Linear(EXPANSION * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.down(nn.functional.gelu(self.up(self.norm(x))))
        return y


class Layers:
    """What a module of torch is made to be: `actions(state)`, (batch, state_dim) to (batch, action_horizon,
    action_dim), in the dataset's own units.

    The statistics are buffers, so that a saved folder is all that inference needs.
    """

    state_mean: Tensor
    state_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def build(self: Any, shape: Shape) -> None:
        """Make the layers; their names are those of a checkpoint's tensors."""
        self.horizon, self.width = shape.action_horizon, shape.action_dim
        self.embed = nn.Linear(shape.state_dim, shape.hidden_size)
        self.blocks = nn.ModuleList(ResidualBlock(shape.hidden_size) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden_size)
        self.head = nn.Linear(shape.hidden_size, shape.action_horizon * shape.action_dim)
        for name, width in (("state", shape.state_dim), ("action", shape.action_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_std", torch.ones(width))

    def normal_actions(self: Any, state: Tensor) -> Tensor:
        """The actions as the loss sees them: of mean 0 and spread 1."""
        x = self.embed((state - self.state_mean) / self.state_std)
        for block in self.blocks:
            x = block(x)
        normal: Tensor = self.head(self.norm(x)).view(-1, self.horizon, self.width)
        return normal

    def actions(self, state: Tensor) -> Tensor:
        return self.normal_actions(state) * self.action_std + self.action_mean


class Network(Layers, nn.Module):  # type: ignore[misc]
    """The policy for inference. Not learned yet: load a checkpoint's tensors into it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.build(shape)
