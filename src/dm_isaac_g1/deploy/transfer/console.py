"""Through the console: a stream from where the files lie, passed on to the store's host. Works wherever we do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.deploy import program
from dm_isaac_g1.remote import tasks

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.program import Conversation
    from dm_isaac_g1.deploy.transfer.copying import Order

#: Bytes read from one side and given to the other at once.
BLOCK = 1 << 20


async def send(order: Order, tell: Callable[[int], None]) -> dict[str, Any]:
    """The order's chunks; the receiver's answer. `tell`: bytes arrived so far. Raises CutOff, NoSpace, Changed, ..."""
    store, wanted = order.store, [list(each) for each in order.missing.chunks]
    sending = program.conversing(
        order.runtime,
        "send",
        {"folder": order.folder, "manifest": order.manifest.plain(), "wanted": wanted, "also": list(order.also)},
    )
    receiving = program.conversing(
        store.host.host_runtime,
        "receive",
        {"txn": order.txn, "total": order.missing.bytes},
        root=store.root,
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
