"""What serves, what served, and whether it is still what was deployed: looked at, nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.deploy import To
from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import DmG1Error, ExitCode, RefusedError, UsageError
from dm_isaac_g1.core.events import Deployments, Event, Progress, Result
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.deployments import Deployment, Health
    from dm_isaac_g1.deploy.store import Damage
    from dm_isaac_g1.deploy.transaction import Tell

#: States in which a robot gets its answers.
FINE = ("serving", "busy", "foreign", "loading", "none")


class StatusParams(Params, frozen=True, kw_only=True):
    to: Annotated[
        str | None, Meta(description="Only this host; all that serve otherwise.", extra={"names": "host"})
    ] = None


@action("deploy.status", title="What serves where", params=StatusParams)
async def status(ctx: Context, params: StatusParams) -> AsyncIterator[Event]:
    """Show what serves on the hosts: the release, since when, its health, its requests, who is connected.

    The model is not asked for an action. The exit code is 1 where something should serve and does not.
    """
    from dm_isaac_g1.deploy.looking import look

    names = _serving(ctx, params.to)

    async def of(name: str) -> Deployment | DmG1Error:
        try:
            return await look(await ctx.host(name), ctx.profile.hosts[name])
        except DmG1Error as error:
            return error

    found = await asyncio.gather(*(of(name) for name in names))
    seen = tuple(each for each in found if not isinstance(each, DmG1Error))
    silent = {name: each for name, each in zip(names, found, strict=True) if isinstance(each, DmG1Error)}
    if not seen:
        raise next(iter(silent.values()))
    for error in silent.values():
        yield Progress(text=error.line())
    yield Deployments(deployments=seen)
    bad = [each for each in seen if each.state not in FINE or each.unfinished is not None]
    data = {
        "deployments": [_brief(each) for each in seen],
        "silent": {name: error.line() for name, error in silent.items()},
    }
    text = f"{len(bad)} of {many(len(seen), 'host')} needs a look" if bad else ""
    yield Result(text=text, data=data, code=ExitCode.FAILED if bad or silent else ExitCode.DONE)


def _serving(ctx: Context, name: str | None) -> list[str]:
    if name is not None:
        return [ctx.hosts.check(name)]
    found = [each for each, made in ctx.profile.hosts.items() if "serve" in made.roles]
    if not found:
        raise UsageError(f"no host of profile {ctx.profile.name} has the role serve", fix="say which with --to")
    return found


def _brief(each: Deployment) -> dict[str, Any]:
    return {
        "host": each.host,
        "state": each.state,
        "release": each.current.id if each.current else None,
        "unfinished": each.unfinished.step if each.unfinished else None,
        "problem": each.problem,
    }


class HistoryParams(Params, frozen=True, kw_only=True):
    to: To = None
    limit: Annotated[int, Meta(description="At most so many, newest first.", ge=1)] = 20


@action("deploy.history", title="What was deployed", params=HistoryParams)
async def history(ctx: Context, params: HistoryParams) -> AsyncIterator[Event]:
    """Show what was deployed to a host, how that ended, and the releases that a rollback can go to."""
    from dm_isaac_g1.deploy import gathering

    target = ctx.name_for(params.to, "serve")
    there = await gathering.place(await ctx.host(target))
    state = await there.store.look()
    entries = state.history[: params.limit]
    yield Result(
        text=f"{many(len(entries), 'deploy')}, {many(len(state.releases), 'release')} on {target}",
        data={
            "host": target,
            "current": state.current,
            "history": [msgspec.to_builtins(each) for each in entries],
            "releases": [msgspec.to_builtins(each) for each in state.releases],
        },
    )


class VerifyParams(Params, frozen=True, kw_only=True):
    to: To = None


@action("deploy.verify", title="Check what serves", params=VerifyParams)
async def verify(ctx: Context, params: VerifyParams) -> AsyncIterator[Event]:
    """Check the release that serves: every byte of its files against what was deployed, and one request to its server.

    The exit code is 1 where a file is damaged or the server is not fit.
    """
    from dm_isaac_g1.actions.deploying import Telling
    from dm_isaac_g1.deploy import gathering
    from dm_isaac_g1.deploy.site import fitness

    target = ctx.name_for(params.to, "serve")
    there = await gathering.place(await ctx.host(target))
    state, served, _ = await gathering.now(there)
    if served is None:
        raise RefusedError("nothing serves there", where=target, fix=f"`dm-g1 deploy status --to {target}` says more")
    release = gathering.serving(state, served)

    async def work(tell: Tell) -> tuple[tuple[Damage, ...], Health]:
        def told(done: int, total: int) -> None:
            tell(Progress(text="Reading its files", done=done, total=total, unit="bytes", step="verify"))

        damage = await there.store.verify(release.id, tell=told) if release is not None else ()
        tell(Progress(text="Asking it for an action", step="gate"))
        return damage, await fitness(there, served, release)

    checking = Telling(work)
    async with aclosing(checking.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    damage, health = checking.result
    name = release.id if release is not None else served.title
    problems = [each.line() for each in damage] + ([] if health.ok else [health.problem or "it does not answer"])
    if release is None:
        yield Progress(text=f"no deploy put {name} there: its files cannot be checked")
    yield Result(
        text=f"{name} on {target}: {'; '.join(problems) if problems else _fine(health)}",
        data={
            "host": target,
            "release": release.id if release else None,
            "damage": msgspec.to_builtins(damage),
            "health": msgspec.to_builtins(health),
        },
        code=ExitCode.FAILED if problems else ExitCode.DONE,
    )


def _fine(health: Health) -> str:
    took = f" in {health.action_ms:.0f} ms" if health.action_ms is not None else ""
    return f"all files as deployed, an action{took}"
