"""GR00T's policy protocol: msgpack in one ZeroMQ frame each way, as Isaac-GR00T N1.6 and N1.5 speak it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.inference.protocol.errors import ProtocolError, ServerError, ServerGone, ServerSilent
from dm_isaac_g1.inference.protocol.limits import LIMITS, Limits
from dm_isaac_g1.inference.protocol.modality import ActionConfig, ModalityConfig

if TYPE_CHECKING:
    from dm_isaac_g1.inference.protocol.packing import Packer, pack
    from dm_isaac_g1.inference.protocol.unpacking import unpack

__all__ = [
    "LIMITS",
    "ActionConfig",
    "Limits",
    "ModalityConfig",
    "Packer",
    "ProtocolError",
    "ServerError",
    "ServerGone",
    "ServerSilent",
    "pack",
    "unpack",
]

#: What needs numpy, imported when it is asked for.
_LATE = {"Packer": "packing", "pack": "packing", "unpack": "unpacking"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
