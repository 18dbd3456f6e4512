"""A deploy's transaction as a stream of events: carried out in a task, taken up again when the connection was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RefusedError
from dm_isaac_g1.core.events import Event, Progress, Result
from dm_isaac_g1.core.units import duration
from dm_isaac_g1.deploy import gathering, transaction
from dm_isaac_g1.deploy.lease import LEASE_S, Lease, left_behind

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.deployments import HistoryEntry
    from dm_isaac_g1.deploy.gathering import Place
    from dm_isaac_g1.deploy.record import Record
    from dm_isaac_g1.deploy.site import HostSite
    from dm_isaac_g1.deploy.store import StoreState
    from dm_isaac_g1.deploy.transaction import Ended, Tell

T = TypeVar("T")

#: Seconds that a host which went away in the midst of a deploy is waited for, and how often in a row.
BACK_WITHIN_S = 60.0
TIMES = 5


class Telling(Generic[T]):
    """Work that tells of itself: iterate over `events` to their end, then take `result`. Leaving early cancels it."""

    def __init__(self, do: Callable[[Tell], Awaitable[T]]) -> None:
        self._do = do
        self._told: asyncio.Queue[Progress | None] = asyncio.Queue()
        self._last: Progress | None = None
        self._result: list[T] = []

    @property
    def result(self) -> T:
        return self._result[0]

    async def events(self) -> AsyncIterator[Progress]:
        """What it tells. Raises what it raises."""
        task = asyncio.ensure_future(self._work())
        try:
            while (told := await self._told.get()) is not None:
                yield told
            self._result.append(await task)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def _work(self) -> T:
        try:
            return await self._do(self._told.put_nowait)
        finally:
            self._told.put_nowait(None)


def lease(ctx: Context, there: Place, txn: str, state: StoreState, *, wait: float = 0.0) -> Lease:
    """The right to deploy there. A dead console's of this machine is taken over at once, others' after `wait`."""
    return Lease(there.store, ctx.by, txn, held=state.lock.txn if state.lock else "", wait=wait)


def tell_of_waiting(state: StoreState, tell: Tell) -> None:
    """Say so where another console's right must end first: it may be alive."""
    if state.lock is not None and left_behind(state.lock.txn) is None:
        left = duration(max(0.0, state.lock.until - state.now))
        tell(Progress(text=f"{state.lock.owner} has the right to deploy there for {left}; waiting", step="plan"))


#: Seconds after which a console that says nothing any more has lost its right for certain.
OVER_S = LEASE_S + 5.0


async def carry_out(site: HostSite, there: Place, record: Record, tell: Tell, *, away: str | None = None) -> Ended:
    """`transaction.carry_out`, or `abandon` for the reason `away`; on from the host's record after a lost connection.

    Raises HostUnreachable where the host does not come back: then the record says where it is.
    """
    at = record.step

    def heard(progress: Progress) -> None:
        nonlocal at
        at = progress.step or at
        tell(progress)

    for attempt in range(TIMES):
        try:
            if attempt:
                record = await as_it_is(there, record)
            if away is not None:
                return await transaction.abandon(site, record, away, heard)
            return await transaction.carry_out(site, record, heard)
        except HostUnreachable as lost:
            if attempt + 1 == TIMES:
                raise _left_open(there, lost) from None
            tell(Progress(text=f"{lost.line()}; waiting for {there.host.name}", step=at))
            await _back(there, lost)
    raise AssertionError("the last attempt raises")


async def as_it_is(there: Place, record: Record) -> Record:
    """The record as it is on the host now. Raises RefusedError where that deploy has ended."""
    now = gathering.open_record(await there.store.look(), there.host.name)
    if now is None or now.id != record.id:
        raise RefusedError("that deploy was ended by somebody else meanwhile", where=there.host.name)
    return now


async def insist_on_none(there: Place) -> None:
    """Raises RefusedError where a deploy has not ended."""
    if (await there.store.look()).transaction is not None:
        fix = f"`dm-g1 deploy resume --to {there.host.name}` ends it first"
        raise RefusedError("a deploy there has not ended", where=there.host.name, fix=fix)


async def _back(there: Place, lost: HostUnreachable) -> None:
    # The link may not have noticed yet: a moment before it is asked.
    await asyncio.sleep(1.0)
    try:
        await there.host.ready(BACK_WITHIN_S)
    except (DmG1Error, TimeoutError):
        raise _left_open(there, lost) from None


def _left_open(there: Place, lost: HostUnreachable) -> HostUnreachable:
    fix = f"what served still does, or the new one; `dm-g1 deploy resume --to {there.host.name}` ends it"
    return HostUnreachable(lost.what, where=there.host.name, fix=fix)


def ending(ended: Ended, host: str) -> Result:
    """The result of a deploy that is done. Raises RefusedError for one that is not: the old one serves."""
    entry, record = ended.entry, ended.record
    if entry.outcome != "done":
        raise _Undone(f"{_WORDS[entry.outcome]}: {entry.reason}", where=host, fix=_serves(record, entry))
    outage = f", {duration(entry.outage_s)} without a server" if entry.outage_s else ""
    word = "Back to" if entry.what == "rollback" else "In service:"
    data = {**told(entry, host), "warnings": list(ended.warnings)}
    return Result(text=f"{word} {entry.release} on {host}{outage}", data=data)


class _Undone(DmG1Error):
    """A deploy that ended with the old one."""


_WORDS = {"refused": "not deployed", "failed": "not deployed", "rolled-back": "rolled back"}


def _serves(record: Record, entry: HistoryEntry) -> str:
    if entry.outcome == "refused":
        return "nothing was changed"
    if record.lost:
        return "look at `dm-g1 deploy status`, then deploy or roll back to another release"
    if record.first:
        return "nothing serves there, as before"
    return f"{record.previous.id} serves" if record.previous is not None else "what served before serves"


def told(entry: HistoryEntry, host: str) -> dict[str, Any]:
    return {"entry": msgspec.to_builtins(entry), "host": host, "release": entry.release}


async def events(telling: Telling[Any]) -> AsyncIterator[Event]:
    """Its events, for an action to pass on."""
    async for event in telling.events():
        yield event
