"""What a trainer is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dm_isaac_g1.core.profile import Host
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.core.runs import SavePlan


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a trainer needs to know to write its command: the recipe with all paths made absolute on the host.

    `dataset_info`: the first dataset's meta/info.json, where it was read; it makes sizes known before the first save.
    """

    recipe: Recipe
    host: Host
    datasets: tuple[str, ...]
    output: str
    workspace: str
    dataset_info: Mapping[str, Any] | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A trainer's answer."""

    argv: tuple[str, ...]
    cwd: str
    save: SavePlan
    env: dict[str, str] = {}
    events_dir: str | None = None
    stop_file: str | None = None
