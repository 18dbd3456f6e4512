"""The sessions of one SSH connection: how many may be open at once.

sshd allows `MaxSessions` channels that hold a command or SFTP (10 by default; forwards do not count) and refuses the
next one; the connection survives that. We stay below, and learn the host's own limit when it is lower. A refusal may
also come from a session that ended here and is not cleared there yet, so what was learned is asked again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dm_isaac_g1.core.errors import HostUnreachable, RemoteFailed
from dm_isaac_g1.remote.clean import clean

T = TypeVar("T")

#: The agent, a log, SFTP, a command, and one to spare.
LIMIT = 5
#: How long to wait for somebody else's session to end.
PATIENCE = 30.0
#: Seconds that a learned limit is believed before the host is asked again: doubled by each refusal, up to the last.
BELIEVED = (0.2, 5.0)


class Sessions:
    """Places for sessions on one connection, first come, first served."""

    def __init__(self, name: str, limit: int = LIMIT) -> None:
        self._name = name
        self._most = limit
        self.limit = limit
        self.open = 0
        self._believed = BELIEVED[0]
        self._ask_again = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def begin(self, open_session: Callable[[], Awaitable[T]]) -> T:
        """Open a session in a place; who gets it calls `end` once it is closed.

        Raises RemoteFailed when no place comes free or the host refuses the only one, HostUnreachable when the
        connection went.
        """
        import asyncssh

        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            await self._take(deadline)
            try:
                session = await open_session()
                self._believed = BELIEVED[0]
                return session
            except asyncssh.ChannelOpenError as error:
                self.end()
                if self._closed or "connection closed" in str(error).lower():
                    raise HostUnreachable("the connection was lost", where=self._name) from error
                if not self.open:
                    raise RemoteFailed(
                        f"the host opens no session: {clean(error.reason)}",
                        where=self._name,
                        fix="check MaxSessions and ForceCommand in its sshd_config",
                    ) from error
                self._learn()
            except asyncssh.Error as error:
                self.end()
                raise HostUnreachable(f"the connection was lost: {clean(error.reason)}", where=self._name) from error
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """A session is closed: the next in line may have its place."""
        self.open -= 1
        self._call_next()

    def close(self) -> None:
        """The connection is gone: nobody waits any longer."""
        self._closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _learn(self) -> None:
        """The host refused one more than are open now."""
        self.limit = min(self.limit, self.open)
        self._ask_again = asyncio.get_running_loop().time() + self._believed
        self._believed = min(2 * self._believed, BELIEVED[1])

    async def _take(self, deadline: float) -> None:
        now = asyncio.get_running_loop().time
        while not self._closed and self.open >= self.limit:
            if self.limit < self._most and now() >= self._ask_again:
                self.limit = self.open + 1
                break
            if now() >= deadline:
                raise RemoteFailed(
                    f"all {self.limit} sessions of the connection are in use",
                    where=self._name,
                    fix="wait for a command to end, or raise MaxSessions in the host's sshd_config",
                )
            await self._wait(min(deadline, self._ask_again) if self.limit < self._most else deadline)
        if self._closed:
            raise HostUnreachable("the connection was lost", where=self._name)
        self.open += 1

    async def _wait(self, until: float) -> None:
        """Until a place may be free, but no longer than `until`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(until):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiting.remove(waiter)

    def _call_next(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
                return
