"""Through the console: a stream from where the files lie, passed on to the store's host. Works wherever we do.

It is the stream of the direct way; so a model in a container, or on this machine, comes the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.deploy import program
from dm_isaac_g1.deploy.program import Conversation
from dm_isaac_g1.deploy.store import Missing
from dm_isaac_g1.deploy.transfer.way import Method, Send, Tell, Trip
from dm_isaac_g1.remote import tasks

#: Bytes read from one side and given to the other at once.
BLOCK = 1 << 20


class Console:
    """A sender there, a receiver here, and we between."""

    method: Method = "console"

    @asynccontextmanager
    async def begin(self, trip: Trip) -> AsyncIterator[Send]:
        async def send(missing: Missing, tell: Tell) -> dict[str, Any]:
            return await between(trip, missing, tell)

        yield send


async def between(trip: Trip, missing: Missing, tell: Tell) -> dict[str, Any]:
    """One stream; the receiver's answer."""
    wanted = [list(each) for each in missing.chunks]
    said = {"folder": trip.folder, "manifest": trip.manifest.plain(), "wanted": wanted, "also": list(trip.also)}
    sending = program.conversing(trip.runtime, "send", said)
    receiving = program.conversing(
        trip.store.host.host_runtime, "receive", {"txn": trip.txn, "total": missing.bytes}, root=trip.store.root
    )
    async with receiving as receiver, sending as sender:
        await receiver.heard()  # its hello
        await sender.heard()
        passing = asyncio.create_task(pass_on(sender, receiver), name="pass on")
        answer = asyncio.create_task(receiver.answer(lambda said: tell(int(said.get("at", 0)))), name="answer")
        try:
            await asyncio.wait({passing, answer}, return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                passing.result()
            result: dict[str, Any] = await answer
            return result
        finally:
            await tasks.end(passing)
            await tasks.end(answer)


async def pass_on(sender: Conversation, receiver: Conversation) -> None:
    """All that one says to the other, to its end. Raises the sender's error, where it ends before it has sent all."""
    data = sender.rest()
    while True:
        if data:
            try:
                await receiver.spawned.write(data)
            except HostUnreachable:
                return  # its answer says why
        data = await sender.spawned.read(BLOCK)
        if not data:
            break
    if await sender.spawned.wait() != 0:
        raise await sender.ended()
