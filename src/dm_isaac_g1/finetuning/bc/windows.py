"""Training samples: a state and the actions that follow it. A thin view over the arrays, nothing is copied ahead."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dm_isaac_g1.finetuning.bc.dataset import Demonstrations


class Windows(Dataset[dict[str, Tensor]]):  # type: ignore[misc]
    """Item i: `state` (state_dim,), `actions` (horizon, action_dim) and `mask` (horizon,), 0 past the episode's end."""

    def __init__(self, demonstrations: Demonstrations, horizon: int) -> None:
        episodes = demonstrations.episodes
        self.horizon = horizon
        self.states = torch.from_numpy(np.concatenate([e.state for e in episodes]))
        self.actions = torch.from_numpy(np.concatenate([e.action for e in episodes]))
        lengths = np.array([len(e.state) for e in episodes])
        #: For every frame, one past the last frame of its episode.
        self.ends = np.repeat(np.cumsum(lengths), lengths)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        inside = min(self.horizon, int(self.ends[index]) - index)
        actions = self.actions[index : index + inside]
        mask = torch.ones(self.horizon)
        if inside < self.horizon:  # the last action is held; the mask keeps it out of the loss
            actions = torch.cat([actions, actions[-1:].expand(self.horizon - inside, -1)])
            mask[inside:] = 0.0
        return {"state": self.states[index], "actions": actions, "mask": mask}
