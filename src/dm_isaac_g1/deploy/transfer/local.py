"""A copy on the machine itself: the model lies on the host that is to serve it. Nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.transfer.copying import Order
    from dm_isaac_g1.remote.host import Host


def same_machine(one: Host, other: Host) -> bool:
    """Whether both names lead to the same login on the same machine, by the user's own configuration."""
    if one is other or one.name == other.name:
        return True
    if one.link.connection is None or other.link.connection is None:
        return False
    here, there = one.link.connection.target, other.link.connection.target
    return (here.known_as, here.known_port, here.user) == (there.known_as, there.known_port, there.user)


async def send(order: Order, tell: Callable[[int], None]) -> dict[str, Any]:
    """The order's chunks, read and written by one program there."""
    said: dict[str, Any] = await order.store.ask(
        "take",
        txn=order.txn,
        folder=order.host_folder,
        wanted=[list(each) for each in order.missing.chunks],
        also=list(order.also),
        tell=lambda done, total: tell(done),
    )
    return said
