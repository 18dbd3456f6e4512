"""A deploy as a transaction: preflight, copy, verify, candidate, gate, switch, confirm. Read `carry_out` first.

Each step is on the host's disk before it begins, and every step may be done again: so whoever finds a record goes on at
the step that it names (`carry_out` with that record), after a `kill -9` of the console, a lost connection, or a reboot
of the host. What fails before the switch leaves the old server untouched; what fails after it brings the old one back.
That it is being undone is on disk first, too: nobody goes forward from there any more.

Pure but for its `Site`, which tests replace by one in memory that dies at any of its calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec.structs import replace

from dm_isaac_g1.core.deployments import Health, HistoryEntry, Outcome, Release, Step
from dm_isaac_g1.core.errors import AuthFailed, DmG1Error, HostUnreachable, HostUntrusted, RefusedError
from dm_isaac_g1.core.events import Progress
from dm_isaac_g1.core.units import size
from dm_isaac_g1.deploy import history
from dm_isaac_g1.deploy.record import Record

if TYPE_CHECKING:
    from dm_isaac_g1.deploy.runtimes.served import Switched
    from dm_isaac_g1.deploy.transfer.copying import Copied

Tell = Callable[[Progress], None]

#: Seconds that undoing gets once the user has interrupted.
PATIENCE = 30.0


class LeaseLost(RefusedError):
    """Somebody else has taken the deploy over: whatever is done now, they do."""


#: Nothing can be done there now, not even by us: the record stays open.
AWAY = (HostUnreachable, HostUntrusted, AuthFailed, LeaseLost)


class StepFailed(DmG1Error):
    """A step's own verdict: the deploy is undone."""


class Site(Protocol):
    """The serve host as a transaction needs it; `deploy.site` is the real one. Every call may be made again.

    All raise HostUnreachable when the connection is lost, LeaseLost, and other DmG1Errors that mean: undo it.
    """

    async def write(self, record: Record) -> None:
        """The record on the host's disk, before its step begins."""

    async def preflight(self, record: Record) -> None:
        """What could have changed since the plan. Raises RefusedError."""

    async def copy(self, record: Record, tell: Tell) -> Copied:
        """The chunks that the host lacks, each checked."""

    async def verify(self, record: Record) -> Release:
        """All files under the release's name, each with its hash."""

    async def start_candidate(self, record: Record) -> None:
        """The new server beside the old one."""

    async def test_candidate(self, record: Record, tell: Tell) -> Health:
        """One real request to it, once it has loaded."""

    async def drop_candidate(self, record: Record) -> None:
        """No candidate is left."""

    async def switch(self, record: Record) -> Switched:
        """The new server on the port, or the old one back."""

    async def test(self, record: Record, tell: Tell) -> Health:
        """One real request to what is on the port, which must be the record's release."""

    async def restore(self, record: Record) -> Switched:
        """What served before the switch serves again."""

    async def revive(self, record: Record) -> bool:
        """Start what served before if nothing serves: the host was rebooted meanwhile. Whether it serves."""

    async def close(self, record: Record, entry: HistoryEntry, serving: Release | None) -> tuple[str, ...]:
        """The entry into the history, what serves marked, what is superfluous gone, and last the record.

        What is superfluous and could not go is returned, a sentence each: it keeps no record open.
        """


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a deploy ended. `health`: of what serves now, if it was asked. `warnings`: what could not be tidied up."""

    record: Record
    entry: HistoryEntry
    health: Health | None = None
    warnings: tuple[str, ...] = ()


async def carry_out(site: Site, record: Record, tell: Tell) -> Ended:
    """Go on at the record's step, to the end: the new one serves, or the old one does.

    Raises HostUnreachable (the record stays: go on when the host is back) and LeaseLost. Interrupted before the
    switch, it undoes what it did; after it, the record stays, too.
    """
    if record.entry is not None:
        return await _close(site, record, record.entry, tell)
    if record.undo is not None:
        return await _undo(site, record, record.undo, tell)
    outage: float | None = None
    health: Health | None = None
    try:
        for step in _ahead(record):
            record = replace(record, step=step)
            await site.write(record)
            tell(Progress(text=_TITLES[step].format(record.release.id), step=step))
            match step:
                case "switch":
                    record, outage = await _switch(site, record)
                case "confirm":
                    health = await site.test(record, tell)
                    _insist(health, "the new server failed its test on the port")
                case _:
                    record = await _DO[step](site, record, tell)
    except AWAY:
        raise
    except asyncio.CancelledError:
        if not record.touched:
            await _in_peace(_undo(site, record, "interrupted", tell))
        raise
    except DmG1Error as error:
        if isinstance(error, _Outage):
            outage = error.outage_s
        return await _undo(site, record, error.what, tell, outage)
    entry = history.entry(record, "done", now=time.time(), outage_s=outage, reason=None)
    return replace(await _close(site, record, entry, tell), health=health)


async def abandon(site: Site, record: Record, reason: str, tell: Tell) -> Ended:
    """End a deploy that was cut off, without going forward unless the new server is on the port already."""
    if record.entry is not None or (record.touched and record.undo is None):
        return await carry_out(site, record, tell)
    return await _undo(site, record, reason, tell)


def _ahead(record: Record) -> tuple[Step, ...]:
    """The steps to do. A test that was cut off begins with a new candidate: the old one may have been dropped."""
    step: Step = "candidate" if record.step == "gate" and record.beside else record.step
    return record.steps[record.steps.index(step) :]


# --- The steps --------------------------------------------------------------------------------------------------------


async def _preflight(site: Site, record: Record, tell: Tell) -> Record:
    del tell
    await site.preflight(record)
    return record


async def _copy(site: Site, record: Record, tell: Tell) -> Record:
    copied = await site.copy(record, tell)
    tell(Progress(text=_sent(copied), step="copy"))
    sent, took = copied.bytes_sent + (record.bytes_sent or 0), copied.seconds + (record.copy_s or 0.0)
    return replace(record, bytes_sent=sent, copy_s=round(took, 3))


async def _verify(site: Site, record: Record, tell: Tell) -> Record:
    del tell
    return replace(record, release=await site.verify(record))


async def _candidate(site: Site, record: Record, tell: Tell) -> Record:
    del tell
    await site.drop_candidate(record)
    await site.start_candidate(record)
    return record


async def _gate(site: Site, record: Record, tell: Tell) -> Record:
    begun = time.monotonic()
    try:
        _insist(await site.test_candidate(record, tell), "the new server failed its test beside the old one")
    except HostUnreachable:
        raise
    except DmG1Error as error:
        raise StepFailed(error.what, where=error.where) from None
    load = round(time.monotonic() - begun, 3)
    await site.drop_candidate(record)
    return replace(record, load_s=load)


_DO: dict[Step, Callable[[Site, Record, Tell], Awaitable[Record]]] = {
    "preflight": _preflight,
    "copy": _copy,
    "verify": _verify,
    "candidate": _candidate,
    "gate": _gate,
}

#: What is said when a step begins.
_TITLES: dict[Step, str] = {
    "plan": "Planning",
    "preflight": "Looking once more whether {} can be served there",
    "copy": "Copying what the host lacks of {}",
    "verify": "Checking every file of {}",
    "candidate": "Starting {} beside what serves",
    "gate": "Asking {} for an action",
    "switch": "Exchanging the servers: {} takes the port",
    "confirm": "Asking {} on its port for an action",
}


class _Outage(StepFailed):
    """The exchange failed, and for so long nothing served."""

    outage_s: float | None = None


async def _switch(site: Site, record: Record) -> tuple[Record, float | None]:
    done = await site.switch(record)
    if not done.ok:
        failed = _Outage(f"the new server did not come up: {done.problem or 'no word from it'}")
        failed.outage_s = done.outage_s
        raise failed
    load = done.load_s if done.load_s is not None else record.load_s
    return replace(record, load_s=load), None if record.first else done.outage_s


def _insist(health: Health, what: str) -> None:
    if not health.ok:
        raise StepFailed(f"{what}: {health.problem or 'it did not answer'}")


# --- Back -------------------------------------------------------------------------------------------------------------


async def _undo(site: Site, record: Record, reason: str, tell: Tell, outage: float | None = None) -> Ended:
    """Nothing of the new one is left in service; the old one serves.

    What cannot be done is said in the reason, and the deploy ends all the same: the next one must be able to begin.
    """
    record = replace(record, undo=reason)
    await site.write(record)
    outcome: Outcome = "refused" if record.step == "preflight" else "failed"
    old = record.previous.id if record.previous else "what served before"
    if not record.touched:
        tell(Progress(text=f"{reason}. Tidying up; {old} serves on", step=record.step))
    left = await _problem(site.drop_candidate(record))
    lost = None
    if record.touched:
        tell(Progress(text=f"{reason}. Bringing {old} back", step=record.step))
        back = await _restored(site, record)
        outcome = "rolled-back"
        outage = _sum(outage, back.outage_s)
        if not (back.ok or back.back):
            lost = f"{old} did not come back: {back.problem or 'no word from it'}"
    try:
        if await site.revive(record):
            lost = None
    except AWAY:
        raise
    except DmG1Error as error:
        lost = lost or error.what
    reason = "; and ".join(each for each in (reason, left, lost) if each)
    record = replace(record, lost=lost is not None)
    entry = history.entry(record, "failed" if lost else outcome, now=time.time(), outage_s=outage, reason=reason)
    return await _close(site, record, entry, tell)


async def _restored(site: Site, record: Record) -> Switched:
    from dm_isaac_g1.deploy.runtimes.served import Switched

    try:
        return await site.restore(record)
    except AWAY:
        raise
    except DmG1Error as error:
        return Switched(ok=False, problem=error.what)


async def _problem(work: Awaitable[None]) -> str | None:
    """What went wrong with it."""
    try:
        await work
    except AWAY:
        raise
    except DmG1Error as error:
        return error.what
    return None


async def _close(site: Site, record: Record, entry: HistoryEntry, tell: Tell) -> Ended:
    """From here on nothing is decided any more: that it has ended, and how, is on disk."""
    record = replace(record, entry=entry)
    await site.write(record)
    warnings = await site.close(record, entry, record.release if entry.outcome == "done" else record.previous)
    for each in warnings:
        tell(Progress(text=f"not tidied up: {each}", step=record.step))
    return Ended(record=record, entry=entry, warnings=warnings)


def _sum(first: float | None, second: float | None) -> float | None:
    return second if first is None else first + (second or 0.0)


async def _in_peace(work: Awaitable[object]) -> None:
    """Let `work` end although we are cancelled; PATIENCE at most."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=PATIENCE)
    if not task.done():
        task.cancel()
    elif not task.cancelled():
        task.exception()


def _sent(copied: Copied) -> str:
    if copied.method == "nothing":
        return "Nothing to send: the host has all of it"
    if copied.method == "local":
        return f"Copied on the host itself in {copied.seconds:.1f} s"
    return f"Sent {size(copied.bytes_sent)} in {copied.seconds:.1f} s ({copied.method})"
