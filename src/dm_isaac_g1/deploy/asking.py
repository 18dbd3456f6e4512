"""A server of a host, asked over the host's connection: what a stranger must not be told, and what a lost link is not.

ZeroMQ hides both: whoever binds a port first answers there, and a forward that has ended is only silent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.deploy import tokens
from dm_isaac_g1.remote import around

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.gathering import Place
    from dm_isaac_g1.deploy.runtimes.served import Served

T = TypeVar("T")


async def ask(there: Place, served: Served, question: Callable[[str, str | None], Awaitable[T]]) -> T:
    """What `question(endpoint, token)` says of a server there. One that no deploy started gets no token.

    Raises HostUnreachable where the connection was lost meanwhile: what was found then is of the link, not of the
    server. And as `Host.reach`, `tokens.api_token`.
    """
    host = there.host
    token = None if served.foreign else await tokens.api_token(host)
    async with host.reach(served.port, served.address) as address:
        connection = host.link.connection
        found = await question(address, token)
        if connection is None or host.link.connection is not connection or connection.ssh.is_closed():
            raise HostUnreachable("the connection was lost while its server was asked", where=host.name)
    return found


async def taken(there: Place, served: Served) -> str | None:
    """Who listens on a server's port and is not it; None: nobody, or /proc there does not say."""
    runtime = there.host.runtime if there.runtime.kind == "process" else there.host.host_runtime
    return taken_by(there, served, (await around.around(runtime, served.port)).listening)


def taken_by(there: Place, served: Served, listening: tuple[around.Listener, ...]) -> str | None:
    """The same of those who are known to listen on that port. Pure."""
    if served.foreign:
        return None
    job = served.id if there.runtime.kind == "process" else ""
    found = around.stranger(listening, served.address, job=job, pid=served.pid or 0)
    return None if found is None else f"port {served.port} belongs to {found.title}, not to it"
