"""Knocking at a host that is away: plain TCP, once a second; the connection it accepts is the one SSH is spoken on.

Nothing is said and no login is tried before the host accepts, so there is nothing that fail2ban could hold against us,
however long it takes; and a link that returns is used within a second or two, however long it was gone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from dm_isaac_g1.remote import tasks

#: Seconds between knocks, and how long one is waited for: a SYN that was lost is sent again by the system only after
#: 1, 3, 7... seconds, a new one by us after one.
EVERY = 1.0
PATIENCE = 5.0
#: Knocks at one time: each is a file of ours, and there may be many hosts.
UNDER_WAY = 2
#: Seconds after which the next of several addresses is tried as well (RFC 8305).
NEXT_ADDRESS = 0.25
#: Seconds for the resolver once addresses are known from before.
RESOLVED_WITHIN = 2.0

Addresses = list[tuple[Any, Any, Any, Any, Any]]


class Door:
    """Where a host is knocked at. Keeps its addresses: a link that is down often takes the resolver with it."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._addresses: Addresses = []

    async def knock(self, refused: Callable[[OSError], None], within: float) -> socket.socket | None:
        """A connection, once there is one; None after `within` seconds. `refused` is called with what is in the way.

        Raises OSError when the host has no address.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        await self._look_up()
        waiting: list[asyncio.Task[socket.socket]] = []
        try:
            while loop.time() < until:
                if len(waiting) == UNDER_WAY:
                    # The older one may be on a slow network, and has its time.
                    await tasks.end(waiting[-1])
                    _closed(waiting.pop())
                waiting.append(asyncio.create_task(self._open()))
                again = loop.time() + EVERY
                while waiting and loop.time() < again:
                    await asyncio.wait(waiting, timeout=again - loop.time(), return_when=asyncio.FIRST_COMPLETED)
                    for task in [each for each in waiting if each.done()]:
                        waiting.remove(task)
                        error = task.exception()
                        if error is None:
                            return task.result()
                        if not isinstance(error, OSError):
                            raise error
                        refused(error)
                await asyncio.sleep(again - loop.time())
            return None
        finally:
            for task in waiting:
                await tasks.end(task)
                _closed(task)

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVED_WITHIN if self._addresses else None):
                self._addresses = list(await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
        except OSError:
            if not self._addresses:
                raise

    async def _open(self) -> socket.socket:
        from aiohappyeyeballs import start_connection

        async with asyncio.timeout(PATIENCE):
            return await start_connection(self._addresses, happy_eyeballs_delay=NEXT_ADDRESS)


def _closed(task: asyncio.Task[socket.socket]) -> None:
    """Nobody wants what came of it."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
