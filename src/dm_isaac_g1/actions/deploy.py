"""Deploys: a checkpoint into service, back to the one before, and on where one was cut off."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import ExitCode, RefusedError, UsageError
from dm_isaac_g1.core.events import Event, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.actions.deploy_sources import Chosen
    from dm_isaac_g1.core.deployments import DeployPlan, Release
    from dm_isaac_g1.deploy.gathering import Gathered, Place
    from dm_isaac_g1.deploy.lease import Lease
    from dm_isaac_g1.deploy.record import Record
    from dm_isaac_g1.deploy.store import StoreState
    from dm_isaac_g1.deploy.transaction import Ended, Tell

To = Annotated[
    str | None, Meta(description="The host that serves; the profile's serve host otherwise.", extra={"names": "host"})
]


class StartParams(Params, frozen=True, kw_only=True):
    checkpoint: Annotated[
        str | None,
        Meta(
            description="HOST:PATH, a folder here, RUN/checkpoint-300, checkpoint-300, or `last` of the newest run.",
            extra={"positional": True},
        ),
    ] = None
    to: To = None
    from_host: Annotated[
        str | None,
        Meta(
            description="The host where the checkpoint lies; the one that trains otherwise.",
            extra={"names": "host", "option": "from"},
        ),
    ] = None
    from_hub: Annotated[str | None, Meta(description="A model of the Hub instead: OWNER/NAME[/FOLDER][@REVISION].")] = (
        None
    )
    name: Annotated[str | None, Meta(description="What the release is called; the run's name otherwise.")] = None
    embodiment: Annotated[str | None, Meta(description="GR00T's embodiment tag, where the model knows several.")] = None
    no_candidate: Annotated[
        bool, Meta(description="Do not test it beside the old server: it needs no memory for two.")
    ] = False
    dry_run: Annotated[bool, Meta(description="Only say what would be done; nothing is changed anywhere.")] = False


@action(
    "deploy.start",
    title="Deploy a checkpoint",
    params=StartParams,
    key="d",
    needs_host="serve",
    danger=True,
    resumes=True,
)
async def start(ctx: Context, params: StartParams) -> AsyncIterator[Event]:
    """Put a checkpoint into service: the robot's next request is answered by it.

    It is copied (only what the host lacks), checked, started beside what serves, and asked for an action. Only then
    the servers are exchanged. Whatever fails: what served before serves.
    """
    from dm_isaac_g1.deploy import gathering

    target = ctx.name_for(params.to, "serve")
    found: list[Chosen] = []
    async with aclosing(_source(ctx, params, found)) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    yield Progress(text=f"Connecting to {target}", transient=True, step="plan")
    there = await gathering.place(await ctx.host(target))
    async with there.store.held(), aclosing(_planned(ctx, params, found[0], there)) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


async def _planned(ctx: Context, params: StartParams, chosen: Chosen, there: Place) -> AsyncIterator[Event]:
    """The plan, and the deploy if it is wanted."""
    from dm_isaac_g1.actions import deploying
    from dm_isaac_g1.deploy import plan

    target = there.host.name
    planning = deploying.Telling(lambda tell: _gather(there, chosen, params, tell))
    async with aclosing(planning.events()) as telling:  # type: ignore[type-var]
        async for told in telling:
            yield told
    gathered = planning.result
    planned = plan.plan_deploy(gathered.facts)
    lines = plan.lines(planned)
    data: dict[str, Any] = {"plan": msgspec.to_builtins(planned), "lines": list(lines), "dry_run": params.dry_run}
    if params.dry_run:
        yield Result(
            text=f"Cannot deploy to {target}" if planned.problems else f"Would deploy {planned.release.id} to {target}",
            data=data,
            code=ExitCode.REFUSED if planned.problems else ExitCode.DONE,
        )
        return
    if planned.problems:
        raise RefusedError("; ".join(planned.problems), where=target)
    if planned.serves:
        yield Result(text=f"{planned.release.id} serves on {target} already", data=data)
        return
    await _confirm(ctx, planned, lines)
    async with aclosing(_carried_out(ctx, gathered, planned, chosen)) as events:  # type: ignore[type-var]
        async for event in events:
            yield event


async def _carried_out(ctx: Context, gathered: Gathered, planned: DeployPlan, chosen: Chosen) -> AsyncIterator[Event]:
    """The transaction."""
    from dm_isaac_g1.actions import deploying
    from dm_isaac_g1.deploy import record
    from dm_isaac_g1.deploy.site import HostSite

    there = gathered.place
    txn = record.new_id(time.time())
    begun = _record(ctx, gathered, planned, chosen, txn)

    async def work(tell: Tell) -> Ended:
        async with deploying.lease(ctx, there, txn, gathered.state) as held:
            last = await _end_the_last_one(ctx, there, held, tell)
            site = HostSite(there, held, chosen.host, manifest=gathered.manifest)
            now = begun
            if last is not None and last.entry.outcome == "done":
                now = replace(begun, previous=last.record.release, first=False)
            return await deploying.carry_out(site, there, now, tell)

    carrying = deploying.Telling(work)
    async with aclosing(carrying.events()) as telling:  # type: ignore[type-var]
        async for event in telling:
            yield event
    yield deploying.ending(carrying.result, there.host.name)


async def _source(ctx: Context, params: StartParams, found: list[Chosen]) -> AsyncIterator[Event]:
    """Find the model that is meant; it is in `found` then."""
    from dm_isaac_g1.actions import deploy_sources

    if (params.checkpoint is None) == (params.from_hub is None):
        fix = f"name a checkpoint, or {ctx.option('from_hub')} OWNER/NAME"
        raise UsageError("which model?" if params.checkpoint is None else "two models were named", fix=fix)
    if params.checkpoint is not None:
        yield Progress(text=f"Looking for {params.checkpoint}", transient=True, step="plan")
        chosen = await deploy_sources.named(ctx, params.checkpoint, params.from_host)
    else:
        assert params.from_hub is not None
        hub = deploy_sources.FromHub(ctx, params.from_hub)
        async with aclosing(hub.events()) as events:  # type: ignore[type-var]
            async for event in events:
                yield event
        chosen = hub.chosen
    found.append(replace(chosen, name=params.name) if params.name else chosen)


async def _gather(there: Place, chosen: Chosen, params: StartParams, tell: Tell) -> Gathered:
    from dm_isaac_g1.deploy import gathering

    tell(Progress(text=f"Reading {chosen.source.said}", step="plan"))

    def told(done: int, total: int) -> None:
        tell(Progress(text="Reading the model", done=done, total=total, unit="bytes", step="plan"))

    return await gathering.gather(
        there,
        chosen.facts,
        chosen.source,
        chosen.host,
        name=chosen.name,
        embodiment=params.embodiment,
        candidate=not params.no_candidate,
        tell=told,
    )


async def _confirm(ctx: Context, planned: DeployPlan, lines: tuple[str, ...]) -> None:
    from dm_isaac_g1.actions.context import Plan

    waits = f"{planned.clients} connected now will wait meanwhile" if planned.clients else ""
    await ctx.confirm(
        Plan(title=f"Deploy {planned.release.id} to {planned.host}, port {planned.port}", lines=lines, loses=waits)
    )


def _record(ctx: Context, gathered: Gathered, planned: DeployPlan, chosen: Chosen, txn: str) -> Record:
    from dm_isaac_g1.deploy.record import Record

    return Record(
        id=txn,
        what="deploy",
        step="preflight",
        began=time.time(),
        by=ctx.by,
        release=planned.release,
        previous=gathered.facts.current,
        first=gathered.facts.current is None and gathered.facts.foreign is None,
        source=chosen.source,
        beside=planned.beside,
    )


async def _end_the_last_one(ctx: Context, there: Place, held: Lease, tell: Tell) -> Ended | None:
    """A deploy that was cut off is ended before another begins: forward if it had switched, else undone."""
    from dm_isaac_g1.actions import deploying
    from dm_isaac_g1.deploy import gathering
    from dm_isaac_g1.deploy.site import HostSite

    state = await there.store.look()
    cut_off = gathering.open_record(state, there.host.name)
    if cut_off is None:
        return None
    tell(Progress(text=f"Ending the deploy of {cut_off.release.id} by {cut_off.by}, which was cut off", step="plan"))
    site = HostSite(there, held)
    return await deploying.carry_out(site, there, cut_off, tell, away=f"cut off; {ctx.by} began another deploy")


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
    waits = f"{clients} connected now will wait meanwhile" if clients else ""
    lines = (
        f"serves now {current.id if current else served.title if served else 'nothing'}",
        f"back to    {back.id} ({back.kind}, from {back.source or 'unknown'})",
        f"clients    {clients} connected now",
        "outage     while the model loads on the port",
    )
    await ctx.confirm(Plan(title=f"Roll {target} back to {back.id}", lines=lines, loses=waits))
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
    found: list[Any] = []
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


async def _source_again(ctx: Context, cut_off: Record, found: list[Any]) -> str | None:
    """Open the host that the model comes from into `found`; or why it cannot be had any more."""
    import socket

    from dm_isaac_g1.core.errors import DmG1Error

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
