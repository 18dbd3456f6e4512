"""The copy of a model into a store: only chunks that are missing, over the shortest way that works.

On the machine itself, where it is the same; straight from host to host; through the console. A way that breaks off is
taken up again as long as it gets on; one that does not work gives way to the next. What has arrived stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, DockerUnavailable, HostUnreachable, RefusedError, RemoteFailed
from dm_isaac_g1.core.profile import DockerRuntime
from dm_isaac_g1.deploy.manifest import Manifest
from dm_isaac_g1.deploy.program import NoWay
from dm_isaac_g1.deploy.runtimes import mounts
from dm_isaac_g1.deploy.store import Missing, Store
from dm_isaac_g1.deploy.transfer.console import Console
from dm_isaac_g1.deploy.transfer.direct import Direct
from dm_isaac_g1.deploy.transfer.local import Local, same_machine
from dm_isaac_g1.deploy.transfer.way import Method, Trip, Way

if TYPE_CHECKING:
    from dm_isaac_g1.remote.host import Host

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


async def copy(
    source: Host | None,
    folder: str,
    store: Store,
    manifest: Manifest,
    txn: str,
    *,
    also: Sequence[str] = (),
    tell: Callable[[CopyProgress], None] = lambda progress: None,
    ways: Sequence[Way] | None = None,
) -> Copied:
    """Bring what is missing of `manifest` from `folder` into the store; `commit` makes a release of it.

    `source` None: this machine. `also`: as for `manifest_of`. `tell`: ten times a second at most. `ways`: instead of
    those that suit.
    Raises NoSpace, Changed, RefusedError, RemoteFailed (a chunk that comes damaged each time), HostUnreachable.
    Cancelled or failed, the next copy of the same files goes on from what has arrived.
    """
    trip = Trip(source, folder, tuple(also), await on_host(source, folder), store, manifest, txn)
    async with store.held():
        return await Copying(trip, tell).run(iter(suitable(trip) if ways is None else ways))


class Copying:
    """One copy, over one way after the other."""

    def __init__(self, trip: Trip, tell: Callable[[CopyProgress], None]) -> None:
        self._trip = trip
        self._tell = tell
        self._begun = time.monotonic()
        #: Bytes missing at first, and when last looked.
        self._total: int | None = None
        self._left: int | None = None
        #: Bytes that have left the source, those of this attempt apart.
        self._sent = 0
        self._now = 0
        self._problem: DmG1Error | None = None

    async def run(self, ways: Iterator[Way]) -> Copied:
        for way in ways:
            tries = 0
            while tries < TRIES:
                before = self._left
                try:
                    if await self._attempt(way):
                        return self._copied("nothing" if self._total == 0 else way.method)
                except NoWay as error:
                    self._problem = error
                    break
                tries = tries + 1 if before is not None and self._left == before else 1
        raise self._problem or RemoteFailed("there is no way to copy it", where=self._trip.store.host.name)

    async def _attempt(self, way: Way) -> bool:
        """Whether all of it is there now. Raises what another attempt would not mend, and NoWay."""
        async with AsyncExitStack() as stack:
            send = await stack.enter_async_context(way.begin(self._trip))
            missing = await self._missing()
            self._left = missing.bytes
            self._total = missing.bytes if self._total is None else self._total
            if not missing.chunks:
                return True
            self._now = 0
            try:
                answer = await send(missing, lambda now: self._told(now, way.method))
            except HostUnreachable as error:
                self._problem = error
                self._sent += self._now
                return False
            self._sent += int(answer.get("arrived", 0)) if way.method != "local" else 0
            if answer.get("bad"):
                self._problem = self._damaged(answer["bad"])
                return False
            return True

    async def _missing(self) -> Missing:
        """`Store.prepare`, also when the host comes back only now."""
        store, trip = self._trip.store, self._trip
        try:
            return await store.prepare(trip.txn, trip.manifest)
        except HostUnreachable:
            await store.host.ready(BACK_WITHIN_S)
            return await store.prepare(trip.txn, trip.manifest)

    def _told(self, now: int, method: Method) -> None:
        self._now = max(self._now, now)
        total, left = self._total or 0, self._left or 0
        self._tell(CopyProgress(done=min(total, total - left + now), total=total, method=method))

    def _copied(self, method: Method) -> Copied:
        return Copied(method=method, bytes_sent=self._sent, seconds=time.monotonic() - self._begun)

    def _damaged(self, bad: Sequence[Sequence[int]]) -> RemoteFailed:
        """What to say of chunks that did not arrive as they were hashed."""
        file = self._trip.manifest.files[bad[0][0]]
        return RemoteFailed(
            f"{file.path}: chunk {bad[0][1] + 1} of {len(file.chunks)} did not arrive as it was hashed",
            where=self._trip.runtime.where,
            fix="if it comes again: the file was written to since, or a disk or the network damages it",
        )


async def on_host(source: Host | None, folder: str) -> str | None:
    """A folder where commands run, as the host itself sees it; None where it does not: it lies in the container."""
    if source is None or not isinstance(source.profile.runtime, DockerRuntime):
        return None if source is None else folder
    try:
        container = await source.engine().inspect(source.profile.runtime.docker.container)
        return mounts.outside(mounts.read(container or {}), folder, where=source.name)
    except (RefusedError, DockerUnavailable):
        return None


def suitable(trip: Trip) -> Iterator[Way]:
    """The ways that may work, the shortest first."""
    if trip.source is not None:
        if trip.host_folder is not None and same_machine(trip.source, trip.store.host):
            yield Local()
        else:
            yield Direct()
    yield Console()
