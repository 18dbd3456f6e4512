"""A host's state and its samples, as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dm_isaac_g1.core.events import Event, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from dm_isaac_g1.remote.host import Host


async def watch_status(host: Host, apply: Callable[[Event], None]) -> None:
    """Every state of the host, the present one first. Ends when the host is closed."""
    async for status in host.statuses():
        apply(status)


async def watch_samples(host: Host, apply: Callable[[Event], None]) -> None:
    """Every sample of the host. Ends when the host is closed."""
    async for sample in host.samples():
        apply(Sample(sample=sample))
