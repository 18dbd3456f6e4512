"""A recipe: one YAML file that says all of a fine-tune. Reading one is `core.profiles`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Trainer = Literal["bc", "groot-n1.6"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trainer, base model, datasets, hyperparameters, where it saves.

    `datasets` and `output` are relative to the host's `paths.datasets` and `paths.checkpoints` unless absolute;
    `{job}` in `output` is the job's id. `options` goes to the trainer, which knows the names and refuses others.
    """

    name: str
    title: str = ""
    trainer: Trainer
    base_model: str | None = None
    datasets: tuple[str, ...] = ()
    embodiment: str = ""
    steps: int = 10_000
    batch_size: int = 64
    learning_rate: float = 1e-4
    save_steps: int = 1000
    #: None or 0 keeps all.
    save_total_limit: int | None = 5
    gpus: int = 1
    seed: int = 42
    output: str = "{job}"
    options: dict[str, Any] = {}
