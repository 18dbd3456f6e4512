"""Datasets: from the Hub to a dataset that GR00T and LeRobot read, with nothing silently wrong.

What scripts and notebooks use stands here by name and is imported when it is first asked for (PEP 562): numpy, pyarrow,
PyAV and huggingface_hub cost a second that a command line without data should not pay.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.data.combine import combine
    from dm_isaac_g1.data.convert.engine import convert_to_groot, convert_to_inspire
    from dm_isaac_g1.data.convert.handmaps import dex3_to_inspire, gripper_to_inspire
    from dm_isaac_g1.data.dataset import Dataset
    from dm_isaac_g1.data.hub.download import download_dataset
    from dm_isaac_g1.data.hub.hospitality import download_all_hospitality
    from dm_isaac_g1.data.repair import repair
    from dm_isaac_g1.data.split import split
    from dm_isaac_g1.data.stats.compute import compute_stats
    from dm_isaac_g1.data.validate import ValidationResult, validate_dataset

__all__ = [
    "Dataset",
    "ValidationResult",
    "combine",
    "compute_stats",
    "convert_to_groot",
    "convert_to_inspire",
    "dex3_to_inspire",
    "download_all_hospitality",
    "download_dataset",
    "gripper_to_inspire",
    "repair",
    "split",
    "validate_dataset",
]

#: Name -> the module that has it.
_HOMES = {
    "Dataset": "dataset",
    "ValidationResult": "validate",
    "combine": "combine",
    "compute_stats": "stats.compute",
    "convert_to_groot": "convert.engine",
    "convert_to_inspire": "convert.engine",
    "dex3_to_inspire": "convert.handmaps",
    "download_all_hospitality": "hub.hospitality",
    "download_dataset": "hub.download",
    "gripper_to_inspire": "convert.handmaps",
    "repair": "repair",
    "split": "split",
    "validate_dataset": "validate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    return module if name == _HOMES[name] else getattr(module, name)


class _Function(ModuleType):
    """A module with one public function of its own name; calling the module calls that."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*arguments, **options)


class _Package(ModuleType):
    """This package. Importing data.split sets its attribute `split` to the module, whoever does it and whenever: thus
    the module itself must do what `from dm_isaac_g1.data import split` promises.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if _HOMES.get(name) == name and isinstance(value, ModuleType):
            value.__class__ = _Function
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
