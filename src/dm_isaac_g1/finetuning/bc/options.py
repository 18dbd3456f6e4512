"""What a bc run is told, and what its model weighs: values only, nothing of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class BcOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe's `options` for trainer `bc`. Field descriptions become the command's help."""

    action_horizon: Annotated[int, Meta(ge=1, le=512, description="actions predicted at once from one state")] = 16
    hidden_size: Annotated[int, Meta(ge=8, le=16384, description="width of the residual blocks")] = 384
    layers: Annotated[int, Meta(ge=0, le=64, description="number of residual blocks")] = 4
    weight_decay: Annotated[float, Meta(ge=0, description="AdamW's weight decay")] = 1e-5
    warmup_ratio: Annotated[
        float, Meta(ge=0, le=1, description="share of the steps that warm the learning rate up")
    ] = 0.05
    logging_steps: Annotated[int, Meta(ge=1, description="steps between two log lines")] = 10
    device: Annotated[Literal["auto", "cpu", "cuda"], Meta(description="auto: CUDA where there is one")] = "auto"
    threads: Annotated[int, Meta(ge=1, le=256, description="CPU threads of torch")] = 1


class BcRun(msgspec.Struct, frozen=True, kw_only=True):
    """All of one run."""

    datasets: tuple[Path, ...]
    output: Path
    steps: int
    batch_size: int
    learning_rate: float
    save_steps: int
    save_total_limit: int | None
    seed: int
    options: BcOptions


class ModelSize(msgspec.Struct, frozen=True, kw_only=True):
    """How large a policy is. `trainable`: learned parameters; `buffers`: the statistics saved with them;
    `tensors`: learned tensors (each has its own records in optimizer.pt)."""

    trainable: int
    buffers: int
    tensors: int


#: The residual block's inner width is this many times `hidden_size`, as in a transformer's feed-forward part.
EXPANSION = 4


def model_size(options: BcOptions, *, state_dim: int, action_dim: int) -> ModelSize:
    """The size of `policy.ActionChunkingPolicy` for these options, without building it (a test holds it to it)."""
    h = options.hidden_size
    inner = EXPANSION * h
    out = options.action_horizon * action_dim
    embed = state_dim * h + h
    block = 2 * h + (h * inner + inner) + (inner * h + h)
    head = 2 * h + (h * out + out)
    return ModelSize(
        trainable=embed + options.layers * block + head,
        buffers=2 * state_dim + 2 * action_dim,
        tensors=2 + 6 * options.layers + 4,
    )
