"""A fleet of fake hosts, and waiting for what it will show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fakehost import FakeHost, sample

from dm_isaac_g1.core.profile import Host, Profile
from dm_isaac_g1.fleet.fleet import Fleet
from dm_isaac_g1.fleet.hosts import Hosts


class FakeHosts(Hosts):
    """Hosts that are there already."""

    def __init__(self, *hosts: FakeHost) -> None:
        profile = Profile(name="test", hosts={host.name: Host(ssh=host.name, roles=("train",)) for host in hosts})
        super().__init__(profile)
        self._open = {host.name: host for host in hosts}  # type: ignore[misc]

    async def open(self, name: str) -> Any:
        return self._open[self.check(name)]


def fleet(*hosts: FakeHost, **more: Any) -> Fleet:
    """A fleet over these hosts; each that is up has given a sample."""
    there = FakeHosts(*hosts)
    for host in hosts:
        if host.status.state == "up":
            host.give(sample(host.name))
    return Fleet(there.profile, hosts=there, **more)


async def eventually(seen: Callable[[], object], within: float = 5.0) -> None:
    """Wait until `seen()` is true."""
    async with asyncio.timeout(within):
        while not seen():
            await asyncio.sleep(0.01)
