"""A copy on the machine itself: the model lies on the host that is to serve it. Nothing is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.deploy.store import Missing
from dm_isaac_g1.deploy.transfer.way import Method, Send, Tell, Trip

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host


def same_machine(one: Host, other: Host) -> bool:
    """Whether both names lead to the same login on the same machine, by the user's own configuration."""
    if one is other or one.name == other.name:
        return True
    if one.link.connection is None or other.link.connection is None:
        return False
    here, there = one.link.connection.target, other.link.connection.target
    return (here.known_as, here.known_port, here.user) == (there.known_as, there.known_port, there.user)


class Local:
    """The chunks, read and written by one program there."""

    method: Method = "local"

    @asynccontextmanager
    async def begin(self, trip: Trip) -> AsyncIterator[Send]:
        async def send(missing: Missing, tell: Tell) -> dict[str, Any]:
            said: dict[str, Any] = await trip.store.ask(
                "take",
                txn=trip.txn,
                folder=trip.host_folder,
                wanted=[list(each) for each in missing.chunks],
                also=list(trip.also),
                tell=lambda done, total: tell(done),
            )
            return said

        yield send
