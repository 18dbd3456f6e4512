"""Hosts over SSH: connections, the agent, files, containers, jobs. README.md here says which file does what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.remote.workstation import WorkstationConnection

__all__ = ["WorkstationConnection"]


def __getattr__(name: str) -> Any:
    """What scripts import from here, loaded only then."""
    if name == "WorkstationConnection":
        from dm_isaac_g1.remote.workstation import WorkstationConnection

        return WorkstationConnection
    raise AttributeError(name)
