"""Conversion of datasets: to GR00T's UNITREE_G1 (31/23), to a G1 with Inspire hands (53), between LeRobot's versions.

| file | its job |
| --- | --- |
| `layouts` | what each family of datasets has for each group of a target vector: tables |
| `handmaps` | how a hand becomes an Inspire hand |
| `cameras` | which camera becomes ego_view |
| `planning` | joins them to a plan: pure, picklable, and says in words what it will do |
| `episode` | carries the plan out for one episode: a pure function of its inputs |
| `engine` | for a whole dataset, and what its meta files say |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.data.convert.engine import ConversionResult, convert, convert_to_groot, convert_to_inspire

__all__ = ["ConversionResult", "convert", "convert_to_groot", "convert_to_inspire"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: numpy and pyarrow come with them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dm_isaac_g1.data.convert import engine

    return getattr(engine, name)
