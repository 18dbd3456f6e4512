"""Our policy server: GR00T's protocol for what GR00T's own server does not serve, and a proxy in front of that one.

`python -m dm_isaac_g1.inference.server --model DIR` runs it; `PolicyServer` is it, for scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.inference.server.limits import ServerLimits
    from dm_isaac_g1.inference.server.server import PolicyServer

__all__ = ["PolicyServer", "ServerLimits"]


def __getattr__(name: str) -> Any:
    """What scripts import from here, loaded only then: zmq and numpy come with it."""
    if name in __all__:
        from dm_isaac_g1.inference.server import server

        return getattr(server, name)
    raise AttributeError(name)
