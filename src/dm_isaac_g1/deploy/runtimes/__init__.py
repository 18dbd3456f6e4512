"""The ways to serve a model on a host: a process, an existing container, one for each release, a compose service."""

from __future__ import annotations

from dm_isaac_g1.deploy.runtimes.choosing import choose

__all__ = ["choose"]
