"""What serves on a host: looked at often while somebody looks, once a minute otherwise, at once when a deploy ended.

A look never asks the server for an action: that would make a robot wait.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.deployments import Deployment
from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, HostUnreachable, HostUntrusted
from dm_isaac_g1.core.events import Deployments, Event

if TYPE_CHECKING:
    from dm_isaac_g1.core.profile import Host as HostProfile
    from dm_isaac_g1.remote.host import Host

#: Seconds between two looks: while the room is open (quicker while a deploy is at work there), and otherwise.
OPEN, MOVING, CLOSED = 5.0, 2.0, 60.0
#: What a look needs, the one that looks first.
NEEDED = (
    "dm_isaac_g1.deploy.looking",
    "dm_isaac_g1.deploy.health",
    "dm_isaac_g1.deploy.runtimes",
    "dm_isaac_g1.inference.client.async_client",
)
#: A look that takes longer says nothing of the server: the host is too slow.
LONGEST = 30.0

Look = Callable[["Host", "HostProfile"], Awaitable[Deployment]]


class DeploymentMonitor:
    """Watches what serves on one host. `looked`: there was an answer, whatever it was."""

    def __init__(
        self,
        host: Host,
        made: HostProfile,
        apply: Callable[[Event], None],
        *,
        look: Look | None = None,
        open_: float = OPEN,
        moving: float = MOVING,
        closed: float = CLOSED,
    ) -> None:
        self.looked = False
        self._host, self._made, self._apply = host, made, apply
        self._look = look
        self._pauses = {"open": open_, "moving": moving, "closed": closed}
        self._open = False
        self._asked = asyncio.Event()
        self._seen: Deployment | None = None

    def open(self, open_: bool) -> None:
        """Somebody looks at deployments from now on, or nobody does."""
        if open_ and not self._open:
            self._asked.set()
        self._open = open_

    def look(self) -> None:
        """Look again now: a deploy began, got on or ended."""
        self._asked.set()

    async def watch(self) -> None:
        """Look for ever. Raises what looking raises where the host is away; call again to go on."""
        while True:
            self._asked.clear()
            await self._host.ready()
            try:
                await self.see()
            finally:
                self.looked = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._asked.wait()

    @property
    def _pause(self) -> float:
        if not self._open:
            return self._pauses["closed"]
        seen = self._seen
        moves = seen is not None and (seen.unfinished is not None or seen.state == "loading")
        return self._pauses["moving" if moves else "open"]

    async def see(self) -> None:
        """Look now. Raises HostUnreachable, HostUntrusted, AuthFailed: the host's own state says so already."""
        try:
            async with asyncio.timeout(LONGEST):
                found = await (await self._looking())(self._host, self._made)
        except (HostUnreachable, HostUntrusted, AuthFailed):
            raise
        except TimeoutError:
            found = self._unknown(f"no answer within {LONGEST:.0f} s")
        except DmG1Error as error:
            found = self._unknown(error.line())
        news = self._seen is None or _lasting(found) != _lasting(self._seen)
        self._seen = found
        if news or self._open:
            self._apply(Deployments(deployments=(found,)))

    def _unknown(self, problem: str) -> Deployment:
        """What was known of it, and why nothing new is."""
        before = self._seen or Deployment(host=self._host.name, port=self._made.port)
        return msgspec.structs.replace(
            before, state="unknown", problem=problem, health=None, traffic=None, clients=None
        )

    async def _looking(self) -> Look:
        if self._look is None:
            # They bring what speaks to servers (numpy, zmq): in a thread, so that whoever waits for keys is not kept
            # waiting.
            modules = [await asyncio.to_thread(importlib.import_module, name) for name in NEEDED]
            look: Look = modules[0].look
            self._look = look
        return self._look


def _lasting(seen: Deployment) -> Deployment:
    """What counts as a change: not how fast a ping was."""
    health = seen.health
    if health is not None:
        health = msgspec.structs.replace(health, checked=0.0, ping_ms=None, action_ms=None)
    return msgspec.structs.replace(seen, health=health)
