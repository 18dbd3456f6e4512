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
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.core.errors import DmG1Error, RemoteFailed
from dm_isaac_g1.deploy import program
from dm_isaac_g1.deploy.program import NoWay
from dm_isaac_g1.remote.transfers import door_of, one_shot_key

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.transfer.copying import Order
    from dm_isaac_g1.remote.runtime import Runtime

#: Seconds in which the source must have logged in.
OPEN_S = 60.0
#: Seconds that taking the key away may take, when nobody waits for it any more.
CLOSE_S = 10.0


async def send(order: Order, tell: Callable[[int], None]) -> dict[str, Any]:
    """The order's chunks; the receiver's answer. Raises NoWay where the hosts do not reach each other, CutOff, ..."""
    runtime, folder = sender(order)
    door = await door_of(order.store.host)
    try:
        found = await program.do(runtime, "reach", {"addresses": list(door.addresses), "port": door.port})
    except RemoteFailed as error:
        raise NoWay(error.what, where=error.where) from error
    if not found.get("ssh"):
        raise NoWay("it has no ssh client", where=runtime.where)
    if not found.get("open"):
        to = f"{' or '.join(door.addresses)} port {door.port}"
        raise NoWay(f"it does not reach {to}: {found.get('why')}", where=runtime.where)
    where = {"address": found["open"], "port": door.port, "user": door.user, "host_key": door.host_key}
    try:
        return await _through(order, runtime, folder, where, found.get("source"), tell)
    except NoWay as error:
        if "denied" not in error.what:
            raise
        # Behind NAT its address is another one there.
        return await _through(order, runtime, folder, where, None, tell)


def sender(order: Order) -> tuple[Runtime, str]:
    """Where the source's program runs: on its host, if that sees the folder; else where the folder is seen."""
    assert order.source is not None
    if order.host_folder is not None:
        return order.source.host_runtime, order.host_folder
    return order.runtime, order.folder


async def _through(
    order: Order, runtime: Runtime, folder: str, door: dict[str, Any], source: str | None, tell: Callable[[int], None]
) -> dict[str, Any]:
    key = one_shot_key()
    args = {
        "folder": folder,
        "manifest": order.manifest.plain(),
        "wanted": [list(each) for each in order.missing.chunks],
        "also": list(order.also),
        "door": door,
        "key": key.private,
    }
    closed = False
    try:
        await _open(order, key.public, source)
        async with program.conversing(runtime, "push", args) as conversation:
            await conversation.heard()  # its hello: ssh is in
            closing = asyncio.create_task(order.store.ask("close_door"))
            answer: dict[str, Any] = await conversation.answer(lambda said: tell(int(said.get("at", 0))))
            await closing
            closed = True
            return answer
    finally:
        if not closed:
            with contextlib.suppress(DmG1Error, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await order.store.ask("close_door")


async def _open(order: Order, public: str, source: str | None) -> None:
    root = order.store.root
    asked = program.question("receive", root, None, {"txn": order.txn, "total": order.missing.bytes})
    text = f"import sys,json,types\nd=json.loads({json.dumps(asked)!r})\n{program.RUN}\n"
    try:
        await order.store.ask("open_door", txn=order.txn, program=text, public=public, source=source, seconds=OPEN_S)
    except RemoteFailed as error:
        raise NoWay(f"its authorized_keys cannot be written: {error.what}", where=order.store.host.name) from error
