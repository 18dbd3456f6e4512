"""Deploys: a checkpoint into service."""

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
    from dm_isaac_g1.core.deployments import DeployPlan
    from dm_isaac_g1.deploy.gathering import Gathered, Place
    from dm_isaac_g1.deploy.lease import Lease
    from dm_isaac_g1.deploy.record import Record
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
            return await deploying.carry_out(site, there, after(last, begun), tell)

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

    await ctx.confirm(Plan(title=f"Deploy {planned.release.id} to {planned.host}, port {planned.port}", lines=lines))


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


def after(last: Ended | None, begun: Record) -> Record:
    """The record of a deploy that begins after another was ended: it may have put something into service."""
    if last is None or last.record.lost:
        return begun
    if last.entry.outcome == "done":
        return replace(begun, previous=last.record.release, first=False)
    if begun.first and last.record.previous is not None:  # the host was rebooted, and what served is started again
        return replace(begun, previous=last.record.previous, first=False)
    return begun


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
