"""Deploys that are there already: back to the release before, and on where one was cut off."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta
from msgspec.structs import replace

from dm_isaac_g1.actions.deploy import To
from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import DmG1Error, RefusedError, UsageError
from dm_isaac_g1.core.events import Event, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.deployments import Release
    from dm_isaac_g1.deploy.record import Record
    from dm_isaac_g1.deploy.store import StoreState
    from dm_isaac_g1.deploy.transaction import Ended, Tell
    from dm_isaac_g1.remote.host import Host


class RollbackParams(Params, frozen=True, kw_only=True):
    to: To = None
    release: Annotated[
        str | None, Meta(description="The release to go back to; the one that served before otherwise.")
    ] = None


@action("deploy.rollback", title="Go back to the release before", params=RollbackParams, danger=True)
async def rollback(ctx: Context, params: RollbackParams) -> AsyncIterator[Event]:
    """Go back to a release that lies on the host: nothing is copied, its files are checked first.

    It is asked for an action once it has the port; if it fails, what serves now comes back.
    """
    from dm_isaac_g1.actions import deploying
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.deploy import gathering, record
    from dm_isaac_g1.deploy.site import HostSite

    target = ctx.name_for(params.to, "serve")
    yield Progress(text=f"Connecting to {target}", transient=True, step="plan")
    there = await gathering.place(await ctx.host(target))
    state, served, around = await gathering.now(there)
    await deploying.insist_on_none(there)
    current = gathering.serving(state, served)
    back = _back_to(state, current, params.release, target)
    clients = len(around.clients)
    lines = (
        f"serves now {current.id if current else served.title if served else 'nothing'}",
        f"back to    {back.id} ({back.kind}, from {back.source or 'unknown'})",
        f"clients    {clients} connected now" + (" (a robot?), and will wait during the switch" if clients else ""),
        "outage     while the model loads on the port",
    )
    await ctx.confirm(Plan(title=f"Roll {target} back to {back.id}", lines=lines))
    txn = record.new_id(time.time())
    begun = record.Record(
        id=txn,
        what="rollback",
        step="preflight",
        began=time.time(),
        by=ctx.by,
        release=back,
        previous=current,
        beside=False,
    )

    async def work(tell: Tell) -> Ended:
        async with there.store.held(), deploying.lease(ctx, there, txn, state) as held:
            await deploying.insist_on_none(there)
            return await deploying.carry_out(HostSite(there, held), there, begun, tell)

    carrying = deploying.Telling(work)
    async with aclosing(carrying.events()) as telling:  # type: ignore[type-var]
        async for event in telling:
            yield event
    yield deploying.ending(carrying.result, target)


def _back_to(state: StoreState, current: Release | None, named: str | None, target: str) -> Release:
    """The release meant. Raises UsageError, RefusedError."""
    from dm_isaac_g1.deploy import history

    if named is not None:
        found = next((each for each in state.releases if each.id == named), None)
        if found is None:
            there = ", ".join(each.id for each in state.releases[:6]) or "none"
            raise UsageError(f"no release {named!r} on {target}", fix=f"there are: {there}")
    else:
        found = history.before(state.history, state.releases, current.id if current else state.current)
        if found is None:
            raise RefusedError(
                "nothing to go back to: no other release that served lies there", where=target, fix="deploy one"
            )
    if current is not None and found.id == current.id:
        raise RefusedError(f"{found.id} serves already", where=target)
    return found


class ResumeParams(Params, frozen=True, kw_only=True):
    to: To = None


@action("deploy.resume", title="End a deploy that was cut off", params=ResumeParams, danger=True)
async def resume(ctx: Context, params: ResumeParams) -> AsyncIterator[Event]:
    """Go on with a deploy whose console was killed or cut off, at the step where it was; or undo it if it cannot.

    What has arrived is not sent again. A console that may still be alive has half a minute to say so.
    """
    from dm_isaac_g1.actions import deploying
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.deploy import gathering
    from dm_isaac_g1.deploy.site import HostSite

    target = ctx.name_for(params.to, "serve")
    yield Progress(text=f"Connecting to {target}", transient=True, step="plan")
    there = await gathering.place(await ctx.host(target))
    state = await there.store.look()
    cut_off = gathering.open_record(state, target)
    if cut_off is None:
        yield Result(text=f"No deploy on {target} was cut off", data={"host": target, "entry": None})
        return
    lines = (
        f"{cut_off.release.id} by {cut_off.by} was cut off at the step {cut_off.step}",
        f"it is undone: {cut_off.undo}" if cut_off.undo else "it goes on from there",
    )
    await ctx.confirm(Plan(title=f"End the deploy of {cut_off.release.id} to {target}", lines=lines))
    found: list[Host] = []
    why = None
    if not cut_off.touched and cut_off.step in ("preflight", "copy", "verify") and cut_off.undo is None:
        why = await _source_again(ctx, cut_off, found)

    async def work(tell: Tell) -> Ended:
        deploying.tell_of_waiting(state, tell)
        wait = deploying.OVER_S
        async with there.store.held(), deploying.lease(ctx, there, cut_off.id, state, wait=wait) as held:
            now = await deploying.as_it_is(there, cut_off)
            site = HostSite(there, held, found[0] if found else None)
            return await deploying.carry_out(site, there, replace(now, resumed=True), tell, away=why)

    carrying = deploying.Telling(work)
    async with aclosing(carrying.events()) as telling:  # type: ignore[type-var]
        async for event in telling:
            yield event
    yield deploying.ending(carrying.result, target)


async def _source_again(ctx: Context, cut_off: Record, found: list[Host]) -> str | None:
    """Open the host that the model comes from into `found`; or why it cannot be had any more."""
    import socket

    source = cut_off.source
    if cut_off.what == "rollback":
        return None
    if source is None:
        return "its record does not say where the model comes from"
    if source.host is None:
        if source.machine != socket.gethostname():
            return f"the model lies on {source.machine}, not on this machine"
        return None
    try:
        found.append(await ctx.host(source.host))
    except DmG1Error as error:
        return f"the model's host cannot be reached: {error.what}"
    return None
