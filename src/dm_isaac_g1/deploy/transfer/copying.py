"""The copy of a model into a store: only chunks that are missing, over the shortest way that works.

On the machine itself, where it is the same; straight from host to host; through the console. A way that breaks off is
taken up again as long as it gets on; one that does not work gives way to the next. What has arrived stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RemoteFailed
from dm_isaac_g1.deploy.manifest import Manifest, runtime_of
from dm_isaac_g1.deploy.program import NoWay
from dm_isaac_g1.deploy.store import Missing, Store
from dm_isaac_g1.deploy.transfer import console, direct, local

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host
    from dm_isaac_g1.remote.runtime import Runtime

#: nothing: all of it was there. local: on the serve host itself. direct: from host to host. console: through us.
Method = Literal["nothing", "local", "direct", "console"]
#: Seconds that a host which went away in the middle is waited for.
BACK_WITHIN_S = 30.0
#: Tries of one way in a row that bring nothing new.
TRIES = 2


class CopyProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a copy is: bytes of those that were missing when it began."""

    done: int
    total: int
    method: Method


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that is complete. `bytes_sent`: that left the source, again or not; 0 for a copy on the machine itself."""

    method: Method
    bytes_sent: int
    seconds: float


@dataclass(frozen=True)
class Order:
    """What is to be brought where, for one attempt over one way."""

    #: None: this machine.
    source: Host | None
    folder: str
    also: tuple[str, ...]
    #: The folder as the source's host sees it, outside any container; None: it does not.
    host_folder: str | None
    store: Store
    manifest: Manifest
    txn: str
    missing: Missing

    @property
    def runtime(self) -> Runtime:
        """Where `folder` is seen."""
        return runtime_of(self.source)


class Way(Protocol):
    async def __call__(self, order: Order, tell: Callable[[int], None]) -> dict[str, Any]: ...


async def copy(
    source: Host | None,
    folder: str,
    store: Store,
    manifest: Manifest,
    txn: str,
    *,
    also: Sequence[str] = (),
    host_folder: str | None = None,
    tell: Callable[[CopyProgress], None] = lambda progress: None,
    ways: Sequence[tuple[Method, Way]] | None = None,
) -> Copied:
    """Bring what is missing of `manifest` from `folder` into the store; `commit` makes a release of it.

    `source` None: this machine. `also`: as for `manifest_of`. `host_folder`: the folder as the source's host sees it,
    where that is known of one in a container. `tell`: ten times a second at most. `ways`: instead of those that suit.
    Raises NoSpace, Changed, RefusedError, RemoteFailed (a chunk that comes damaged each time), HostUnreachable.
    Cancelled or failed, the next copy of the same files goes on from what has arrived.
    """
    begun = time.monotonic()
    if host_folder is None and source is not None and source.runtime is source.host_runtime:
        host_folder = folder
    left = iter(suitable(source, store, host_folder) if ways is None else ways)
    way = next(left, None)
    total, sent, tries, at = 0, 0, 0, 0
    method: Method = "nothing"
    problem: DmG1Error | None = None
    before: int | None = None
    while True:
        missing = await prepared(store, txn, manifest)
        total = total or missing.bytes
        if not missing.chunks:
            break
        tries = 0 if before is None or missing.bytes < before else tries + 1
        before = missing.bytes
        if way is not None and tries >= TRIES:
            way, tries = next(left, None), 0
        if way is None:
            raise problem or RemoteFailed("there is no way to copy it", where=store.host.name)
        method, send = way
        order = Order(source, folder, tuple(also), host_folder, store, manifest, txn, missing)

        def told(now: int, method: Method = method, rest: int = missing.bytes, total: int = total) -> None:
            nonlocal at
            at = max(at, now)
            tell(CopyProgress(done=min(total, total - rest + now), total=total, method=method))

        at = 0
        try:
            answer = await send(order, told)
        except NoWay as error:
            problem, way, before = error, next(left, None), None
            continue
        except HostUnreachable as error:
            problem = error
            sent += at
            continue
        sent += int(answer.get("arrived", 0))
        if not answer.get("bad"):
            break
        problem = damaged(answer["bad"], manifest, order)
    if method == "local":
        sent = 0
    return Copied(method=method, bytes_sent=sent, seconds=time.monotonic() - begun)


async def prepared(store: Store, txn: str, manifest: Manifest) -> Missing:
    """`Store.prepare`, also when the host comes back only now."""
    try:
        return await store.prepare(txn, manifest)
    except HostUnreachable:
        await store.host.ready(BACK_WITHIN_S)
        return await store.prepare(txn, manifest)


def suitable(source: Host | None, store: Store, host_folder: str | None) -> Iterator[tuple[Method, Way]]:
    """The ways that may work, the shortest first."""
    if source is not None and host_folder is not None and local.same_machine(source, store.host):
        yield "local", local.send
    elif source is not None:
        yield "direct", direct.send
    yield "console", console.send


def damaged(bad: Sequence[Sequence[int]], manifest: Manifest, order: Order) -> RemoteFailed:
    """What to say of chunks that did not arrive as they were hashed."""
    place, index = bad[0]
    name = manifest.files[place].path
    return RemoteFailed(
        f"{name}: chunk {index + 1} of {len(manifest.files[place].chunks)} did not arrive as it was hashed",
        where=order.runtime.where,
        fix="if it comes again: the file was written to since, or a disk or the network damages it",
    )
