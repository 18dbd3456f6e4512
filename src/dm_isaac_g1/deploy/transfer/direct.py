"""Straight from the source's host to the store's: half the way of going through us, and our network does not count.

The source's own `ssh` logs in to the store's host with a key that was made for this, in our memory. On the store's host
it is good for one command (take chunks of this manifest), from that address, for a minute; it is taken away as soon as
the connection stands, and the next deploy takes away what a killed console left. The source pins the host key that we
know. Agent forwarding would lend the user's keys to whoever is root on the source.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import DmG1Error, RefusedError, RemoteFailed, UsageError
from dm_isaac_g1.deploy import program
from dm_isaac_g1.deploy.program import Conversation, Locked, NoWay
from dm_isaac_g1.deploy.store import Missing
from dm_isaac_g1.deploy.transfer.way import Method, Send, Tell, Trip
from dm_isaac_g1.remote import tasks
from dm_isaac_g1.remote.transfers import Door, door_of, one_shot_key

if TYPE_CHECKING:
    from dm_isaac_g1.remote.runtime import Runtime

#: Seconds in which the source must have logged in.
OPEN_S = 60.0
#: Seconds that taking the key away may take, when nobody waits for it any more.
CLOSE_S = 10.0


class Direct:
    """A sender at the source. While we look what is missing, it starts and looks whether it reaches the other host."""

    method: Method = "direct"

    @asynccontextmanager
    async def begin(self, trip: Trip) -> AsyncIterator[Send]:
        async with AsyncExitStack() as stack:

            async def pusher() -> tuple[Door, Conversation]:
                try:
                    door = await door_of(trip.store.host)
                except RemoteFailed as error:
                    raise NoWay(error.what, where=error.where) from error
                return door, await stack.enter_async_context(pushing(trip, door))

            first = asyncio.create_task(pusher(), name="pusher")

            async def send(missing: Missing, tell: Tell) -> dict[str, Any]:
                door, push = await first
                try:
                    found = (await push.heard()).get("reach") or {}
                    where = reached(found, door, trip)
                    try:
                        return await through(trip, push, where, found.get("source"), missing, tell)
                    except NoWay as error:
                        if "denied" not in error.what:
                            raise
                    # Behind NAT its address is another one there.
                    async with pushing(trip, door) as again:
                        await again.heard()
                        return await through(trip, again, where, None, missing, tell)
                except (UsageError, RemoteFailed) as error:
                    if isinstance(error, NoWay) or trip.host_folder == trip.folder:
                        raise
                    # The host may not be what we took it for, or its user may not read what the container may.
                    raise NoWay(error.what, where=error.where) from error

            try:
                yield send
            finally:
                await tasks.end(first)
                if not first.cancelled():
                    first.exception()  # `send` has raised it, or nobody needed it


def pushing(trip: Trip, door: Door) -> contextlib.AbstractAsyncContextManager[Conversation]:
    """The sender's program, where it sees the folder: on the source's host, or in its container."""
    runtime, folder = sender(trip)
    said = {
        "folder": folder,
        "manifest": trip.manifest.plain(),
        "addresses": list(door.addresses),
        "port": door.port,
        "also": list(trip.also),
    }
    return program.conversing(runtime, "push", said)


def sender(trip: Trip) -> tuple[Runtime, str]:
    """Where the source's program runs: on its host, if that sees the folder; else where the folder is seen."""
    assert trip.source is not None
    if trip.host_folder is not None:
        return trip.source.host_runtime, trip.host_folder
    return trip.runtime, trip.folder


def reached(found: dict[str, Any], door: Door, trip: Trip) -> dict[str, Any]:
    """The door as the source may use it. Raises NoWay."""
    where = sender(trip)[0].where
    if not found.get("ssh"):
        raise NoWay("it has no ssh client", where=where)
    if not found.get("open"):
        to = f"{' or '.join(door.addresses)} port {door.port}"
        raise NoWay(f"it does not reach {to}: {found.get('why')}", where=where)
    return {"address": found["open"], "port": door.port, "user": door.user, "host_key": door.host_key}


async def through(
    trip: Trip, push: Conversation, door: dict[str, Any], source: str | None, missing: Missing, tell: Tell
) -> dict[str, Any]:
    """The stream, with a key that is let in before and taken away as soon as it was used."""
    key = one_shot_key()
    closing: asyncio.Task[Any] | None = None
    try:
        await let_in(trip, key.public, source, missing)
        await push.tell({"door": door, "key": key.private, "wanted": [list(each) for each in missing.chunks]})
        await push.heard()  # its hello: ssh is in
        closing = asyncio.create_task(trip.store.ask("close_door"), name="close door")
        answer: dict[str, Any] = await push.answer(lambda said: tell(int(said.get("at", 0))))
        await closing
        return answer
    finally:
        if closing is None or not closing.done() or closing.cancelled() or closing.exception() is not None:
            with contextlib.suppress(DmG1Error, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await trip.store.ask("close_door")
        if closing is not None:
            await tasks.end(closing)


async def let_in(trip: Trip, public: str, source: str | None, missing: Missing) -> None:
    root = trip.store.root
    asked = program.question("receive", root, None, {"txn": trip.txn, "total": missing.bytes})
    text = f"import sys,json,types\nd=json.loads({json.dumps(asked)!r})\n{program.RUN}\n"
    try:
        await trip.store.ask("open_door", txn=trip.txn, program=text, public=public, source=source, seconds=OPEN_S)
    except Locked:
        raise  # not another way's either
    except (RefusedError, RemoteFailed) as error:
        raise NoWay(f"its authorized_keys cannot be written: {error.what}", where=trip.store.host.name) from error
