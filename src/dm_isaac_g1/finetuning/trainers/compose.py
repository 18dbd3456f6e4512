"""From a recipe to a job: the registry of trainers, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Protocol

import msgspec

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.profile import Host
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.core.runs import JobSpec
from dm_isaac_g1.finetuning.trainers import bc, groot_n16
from dm_isaac_g1.finetuning.trainers.order import Command, Order

#: A path of the profile ("workspace", "datasets", "checkpoints", ...) as an absolute one on the host: Host.path.
Resolve = Callable[[str], str]


class Trainer(Protocol):
    """A module of this package."""

    def command(self, order: Order) -> Command:
        """Raises UsageError where the recipe makes no sense for this trainer."""


TRAINERS: dict[str, Trainer] = {"bc": bc, "groot-n1.6": groot_n16}


def compose(
    recipe: Recipe,
    host: Host,
    job_id: str,
    resolve: Resolve,
    *,
    dataset_info: Mapping[str, Any] | None = None,
) -> JobSpec:
    """The job that trains `recipe` on `host`. Nothing is started or looked at. Raises UsageError."""
    output = under(resolve("checkpoints"), recipe.output.replace("{job}", job_id), "output")
    command = TRAINERS[recipe.trainer].command(
        Order(
            recipe=recipe,
            host=host,
            datasets=dataset_paths(recipe, resolve),
            output=output,
            workspace=resolve("workspace"),
            dataset_info=dataset_info,
        )
    )
    return JobSpec(
        id=job_id,
        name=recipe.name,
        kind="train",
        argv=command.argv,
        cwd=command.cwd,
        # Without it stdout is held back 8 KiB at a time and lost on SIGKILL.
        env={**host.env, "PYTHONUNBUFFERED": "1", **command.env},
        trainer=recipe.trainer,
        recipe=msgspec.to_builtins(recipe),
        output_dir=output,
        events_dir=command.events_dir,
        stop_file=command.stop_file,
        save=command.save,
    )


def dataset_paths(recipe: Recipe, resolve: Resolve) -> tuple[str, ...]:
    """The recipe's datasets as absolute folders on the host; meta/info.json of each says its columns."""
    if not recipe.datasets:
        raise UsageError(f"recipe {recipe.name} names no dataset", fix="name one with --datasets")
    return tuple(under(resolve("datasets"), name, "dataset") for name in recipe.datasets)


def under(base: str, name: str, what: str) -> str:
    """`name` under `base`, or itself where it is absolute. Raises UsageError where it would climb out or looks like a
    flag."""
    path = PurePosixPath(name)
    if not name or ".." in path.parts or name.startswith(("-", "~")) or "\0" in name or "\n" in name:
        raise UsageError(f"{what} {name!r} is not a path under {base}", fix="write a name, or an absolute path")
    return str(PurePosixPath(base) / path)
