"""Datasets looked at: which lie where, and what is in one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from dm_isaac_g1.actions.data import SET, folder
from dm_isaac_g1.actions.registry import Params, Placed, action
from dm_isaac_g1.actions.train import HostName
from dm_isaac_g1.actions.working import Working, need
from dm_isaac_g1.core.errors import DmG1Error, UsageError
from dm_isaac_g1.core.events import Datasets, Event, Progress, Result
from dm_isaac_g1.core.units import many

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.datasets import DatasetSummary
    from dm_isaac_g1.data.work import Work

#: Where datasets of this machine are looked for when nobody says where, and there are no hosts.
HERE = "datasets"
LOCAL = "here"


class ShowParams(Placed, frozen=True, kw_only=True):
    path: Annotated[str, Meta(description="The dataset's folder.", extra={**SET, "positional": True})]
    deep: Annotated[bool, Meta(description="Read every row for the joint ranges, where no statistics tell them.")] = (
        False
    )
    episode: Annotated[int | None, Meta(description="Show this episode: its joints over time, and its cameras.")] = None
    joints: Annotated[
        str | None, Meta(description="With --episode: these, as names or patterns (left_arm, *elbow*, action).")
    ] = None
    at: Annotated[
        float | None, Meta(description="With --episode: the second that the cameras show; else the middle.")
    ] = None
    strip: Annotated[int, Meta(description="With --episode: pictures of each camera, over time.", ge=1, le=12)] = 1


@action("data.show", title="Show a dataset", params=ShowParams, needs_profile=False)
async def show(ctx: Context, params: ShowParams) -> AsyncIterator[Event]:
    """Show what is in a dataset: tasks, episodes, cameras, joint ranges, hours; or one of its episodes."""
    if params.episode is None and (params.joints or params.at is not None or params.strip != 1):
        raise UsageError("joints and cameras are shown of one episode", fix=f"say {ctx.option('episode')} N, too")
    need("pyarrow", *(("av",) if params.episode is not None else ()))

    def look(work: Work) -> dict[str, Any]:
        from dm_isaac_g1.data.show import view

        path = folder(params.path)
        if params.episode is None:
            return view.summary_view(path, deep=params.deep, work=work)
        return view.episode_view(
            path, params.episode, joints=params.joints, at=params.at, strip=params.strip, work=work
        )

    work = Working(look)
    async with aclosing(work.events()) as events:  # type: ignore[type-var]
        async for event in events:
            yield event
    yield Result(text="", data=work.result)


class ListParams(Params, frozen=True, kw_only=True):
    on: HostName = None
    path: Annotated[str | None, Meta(description="Those in this folder of this machine instead.", extra=SET)] = None


@action("data.list", title="List datasets", params=ListParams, needs_profile="if-any")
async def list_datasets(ctx: Context, params: ListParams) -> AsyncIterator[Event]:
    """List the datasets of every host, of one (--on), or of a folder of this machine (--path).

    Without a profile: those in ./datasets. Whether one is valid is what its last check said, unless it changed since.
    """
    if params.on is not None and params.path is not None:
        raise UsageError("a host's datasets are listed from its datasets folder", fix=f"drop {ctx.option('path')}")
    if params.on is None and (params.path is not None or not ctx.hosts.names):
        path = folder(params.path) if params.path is not None else Path(HERE)
        if not path.is_dir():
            raise UsageError(f"no folder {path}", fix=f"say which with {ctx.option('path')}")
        from dm_isaac_g1.data.summary import summaries

        known = await asyncio.to_thread(summaries, path.absolute(), LOCAL)
        yield Datasets(host=LOCAL, datasets=tuple(known))
        yield Result(text=_count(known, f"in {path}"), data={"datasets": _names(known), "silent": {}})
        return
    names = [ctx.hosts.check(params.on)] if params.on else list(ctx.hosts.names)
    asked = await asyncio.gather(*(_of(ctx, name) for name in names))
    silent = {name: answer for name, answer in zip(names, asked, strict=True) if isinstance(answer, DmG1Error)}
    if silent and len(silent) == len(names):
        raise next(iter(silent.values()))
    every: list[DatasetSummary] = []
    for name, answer in zip(names, asked, strict=True):
        if isinstance(answer, DmG1Error):
            yield Progress(text=answer.line())
            continue
        yield Datasets(host=name, datasets=tuple(answer))
        every += answer
    yield Result(
        text=_count(every, f"on {', '.join(name for name in names if name not in silent)}"),
        data={"datasets": _names(every), "silent": {name: error.line() for name, error in silent.items()}},
    )


async def _of(ctx: Context, name: str) -> list[DatasetSummary] | DmG1Error:
    """A host's datasets, or why it did not say."""
    from dm_isaac_g1.fleet.monitors.datasets import DatasetMonitor

    said: list[Event] = []
    try:
        await DatasetMonitor(await ctx.host(name), said.append).see()
    except DmG1Error as error:
        return error
    return [each for event in said if isinstance(event, Datasets) for each in event.datasets]


def _count(known: list[DatasetSummary], where: str) -> str:
    return f"{many(len(known), 'dataset')} {where}"


def _names(known: list[DatasetSummary]) -> list[dict[str, Any]]:
    return [{"host": each.host, "name": each.name, "path": each.path, "validity": each.validity} for each in known]
