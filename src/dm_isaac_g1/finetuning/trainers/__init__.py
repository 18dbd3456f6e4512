"""Trainers: how a recipe becomes a command line on a host. One module each; `compose` picks by the recipe's trainer."""

from __future__ import annotations

from dm_isaac_g1.finetuning.trainers.compose import compose, dataset_paths

__all__ = ["compose", "dataset_paths"]
