"""The policy protocol of GR00T: clients, a server for policies that GR00T's own does not serve, and their tests."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.inference.client.async_client import GrootClientAsync
    from dm_isaac_g1.inference.client.client import GrootClient
    from dm_isaac_g1.inference.observations import canned, observation
    from dm_isaac_g1.inference.server import PolicyServer

__all__ = ["GrootClient", "GrootClientAsync", "PolicyServer", "canned", "observation"]

#: What scripts import from here -> where it is, imported when it is asked for: it needs numpy and ZeroMQ.
_LATE = {
    "GrootClient": "client.client",
    "GrootClientAsync": "client.async_client",
    "PolicyServer": "server",
    "canned": "observations",
    "observation": "observations",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
