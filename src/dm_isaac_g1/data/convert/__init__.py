"""Conversion of datasets: to GR00T's UNITREE_G1 (31/23), to a G1 with Inspire hands (53), between LeRobot's versions.

| file | its job |
| --- | --- |
| `layouts` | what each family of datasets has for each group of a target vector: tables |
| `handmaps` | how a hand becomes an Inspire hand |
| `cameras` | which camera becomes ego_view |
| `plans` | a plan as values: picklable, says in words what it will do |
| `planning` | joins the tables and the user's options to a plan |
| `episode` | carries the plan out for one episode: a pure function of its inputs |
| `engine` | for a whole dataset, and what its meta files say |
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.data.convert.engine import ConversionResult as ConversionResult
    from dm_isaac_g1.data.convert.engine import convert as convert
    from dm_isaac_g1.data.convert.engine import convert_to_groot as convert_to_groot
    from dm_isaac_g1.data.convert.engine import convert_to_inspire as convert_to_inspire
    from dm_isaac_g1.data.convert.episode import convert_episode as convert_episode
    from dm_isaac_g1.data.convert.handmaps import dex3_to_inspire as dex3_to_inspire
    from dm_isaac_g1.data.convert.handmaps import gripper_to_inspire as gripper_to_inspire
    from dm_isaac_g1.data.convert.planning import plan as plan

_HOMES = {
    "ConversionResult": "engine",
    "convert": "engine",
    "convert_episode": "episode",
    "convert_to_groot": "engine",
    "convert_to_inspire": "engine",
    "dex3_to_inspire": "handmaps",
    "gripper_to_inspire": "handmaps",
    "plan": "planning",
}


def __getattr__(name: str) -> Any:
    """Loaded when asked for: numpy and pyarrow come with them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
