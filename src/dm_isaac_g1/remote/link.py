"""One SSH connection a host, kept alive and shared by everything; reconnected with back-off.

A host that nothing reaches is knocked at (remote.knock) until it answers; only what fails after that backs off. A
refusal (untrusted key, failed login) stops it for good: trying again would only feed fail2ban. `retry` begins anew once
the user has mended it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from dm_isaac_g1.core.errors import AuthFailed, ConfigError, DmG1Error, HostUnreachable, HostUntrusted
from dm_isaac_g1.core.redact import redact
from dm_isaac_g1.remote import tasks
from dm_isaac_g1.remote.broadcast import Broadcast
from dm_isaac_g1.remote.clean import clean
from dm_isaac_g1.remote.connect import (
    CONNECT_TIMEOUT,
    KEEPALIVE_COUNT,
    KEEPALIVE_INTERVAL,
    Connection,
    Credentials,
    Secrets,
    login,
)
from dm_isaac_g1.remote.knock import Door
from dm_isaac_g1.remote.refusals import Seen, explain
from dm_isaac_g1.remote.sessions import Sessions
from dm_isaac_g1.remote.target import Target, resolve

State = Literal["connecting", "up", "away", "refused", "off"]

#: Where there is no knocking (behind a jump host) or where SSH itself fails: after the link broke, the next tries come
#: quickly for so long, each waiting so short. Then full jitter over 0.5 s * 2^n, capped at 30 s.
EAGER_FOR = 120.0
EAGER_PAUSE = 0.9
EAGER_REACH = 3.0
BACKOFF_FIRST = 0.5
BACKOFF_CAP = 30.0
#: A host is knocked at for so long before the configuration is read again, and its address looked up.
KNOCK_FOR = 30.0
#: Seconds between looks for an address of a host that has none.
NO_ADDRESS_PAUSE = 1.5
#: A connection that held this long counts as good again.
STEADY_AFTER = 10.0


@dataclass(frozen=True)
class LinkState:
    """Where the link is, since when (epoch seconds), and why."""

    state: State
    since: float
    error: DmG1Error | None = None


class Link:
    """The connection to one host. An async context manager: entering starts it, leaving ends all on it."""

    def __init__(self, name: str, ssh: str, *, ssh_config: str | None = None, secrets: Secrets | None = None) -> None:
        self.name = name
        self._ssh = ssh
        self._ssh_config = ssh_config
        self._secrets = secrets
        self._credentials = Credentials()
        self._states: Broadcast[LinkState] = Broadcast()
        self._retry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._door: Door | None = None
        self.state = LinkState("off", time.time())
        self.connection: Connection | None = None
        self.sessions = Sessions(name)

    async def __aenter__(self) -> Link:
        self._enter("connecting")
        self._task = asyncio.create_task(self._keep(), name=f"link {self.name}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            await tasks.end(self._task)
        self._enter("off")
        self._states.close()

    def states(self) -> AsyncIterator[LinkState]:
        """The current state, then each change; ends when the link is closed."""
        return self._states.listen(self.state)

    def retry(self) -> None:
        """Try again now: after a refusal was mended, or instead of waiting."""
        self._credentials.again()
        if self.state.state == "refused":
            self._enter("connecting")
        self._retry.set()

    async def up(self, timeout: float | None = None) -> Connection:
        """The connection, once there is one. Raises HostUnreachable, HostUntrusted, AuthFailed, ConfigError.

        Without `timeout`, it waits for a first answer only: a host that is known to be away raises at once.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                async for state in self.states():
                    if state.state == "up" and self.connection is not None:
                        return self.connection
                    final = state.state in ("refused", "off") or (state.state == "away" and timeout is None)
                    if final:
                        raise self.error()
        except TimeoutError:  # the context's own comes as it is left
            if not limit.expired():
                raise
        raise self.error() from None

    def error(self) -> DmG1Error:
        """Why there is no connection, as an error."""
        return self.state.error or HostUnreachable(
            "not connected yet" if self.state.state == "connecting" else "the connection is closed", where=self.name
        )

    def doubt(self, quiet: bool) -> None:
        """Ask for signs of life more often while the host, which should talk, is quiet."""
        if self.connection is not None:
            interval = 3.0 if quiet else KEEPALIVE_INTERVAL
            self.connection.ssh.set_keepalive(interval, KEEPALIVE_COUNT)

    def _enter(self, state: State, error: DmG1Error | None = None) -> None:
        since = self.state.since if self.state.state == state else time.time()
        self.state = LinkState(state, since, error)
        self._states.send(self.state)

    async def _keep(self) -> None:
        failures = 0
        broke = time.monotonic()
        while True:
            eager = time.monotonic() - broke < EAGER_FOR
            try:
                target = await resolve(self.name, self._ssh, self._ssh_config)
                opened = await self._knock(target)
                if target.door is not None and opened is None:
                    failures = 0
                    continue
                connection = await login(
                    target,
                    secrets=self._secrets,
                    credentials=self._credentials,
                    reach=EAGER_REACH if eager and failures else CONNECT_TIMEOUT,
                    opened=opened,
                )
            except (HostUntrusted, AuthFailed, ConfigError) as error:
                self._enter("refused", error)
                self._retry.clear()
                await self._retry.wait()
                self._enter("connecting")
                failures = 0
                continue
            except Exception as error:
                # Whatever it is, a host must not be lost for good by it.
                failures += 1
                self._enter("away", error if isinstance(error, DmG1Error) else unexpected(error, self.name))
                await self._pause(backoff(failures, eager))
                continue
            began = time.monotonic()
            await self._hold(connection)
            broke = time.monotonic()
            failures = 1 if broke - began < STEADY_AFTER else 0
            self._enter("away", HostUnreachable("the connection was lost", where=self.name, fix="reconnecting"))
            await self._pause(backoff(failures, eager=True))

    async def _knock(self, target: Target) -> socket.socket | None:
        """A TCP connection to the host, where it takes one; None after a while, or where it is not for us to knock."""
        if target.door is None:
            return None
        if self._door is None or (self._door.host, self._door.port) != target.door:
            self._door = Door(*target.door)

        def refused(error: OSError) -> None:
            why = explain(error, target, Seen())
            if self.state.state != "away" or self.state.error is None or self.state.error.line() != why.line():
                self._enter("away", why)

        try:
            return await self._door.knock(refused, KNOCK_FOR)
        except OSError as error:
            refused(error)
            await self._pause(NO_ADDRESS_PAUSE)
            return None

    async def _hold(self, connection: Connection) -> None:
        """Serve one connection until it is gone."""
        self.connection = connection
        self.sessions = Sessions(self.name)
        self._enter("up")
        try:
            await connection.wait_closed()
        finally:
            self.connection = None
            self.sessions.close()
            await connection.close()

    async def _pause(self, seconds: float) -> None:
        self._retry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._retry.wait()


def unexpected(error: Exception, name: str) -> HostUnreachable:
    """Something that nobody foresaw, on one line."""
    return HostUnreachable(f"unexpected {type(error).__name__}: {clean(redact(str(error)))[:200]}", where=name)


def backoff(failures: int, eager: bool, chance: float | None = None) -> float:
    """Seconds to wait after so many failures in a row: full jitter, so that consoles do not knock in step."""
    top = EAGER_PAUSE if eager else min(BACKOFF_CAP, BACKOFF_FIRST * 2.0 ** min(failures, 10))
    top = min(top, BACKOFF_FIRST * 2.0 ** min(failures, 10))
    return top * (random.random() if chance is None else chance)  # noqa: S311 - jitter, no secret
