"""The disk guard's word, asked for now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.actions.train import HostName
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Event, Forecasts, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context


class ForecastParams(Params, frozen=True, kw_only=True):
    host: HostName = None


@action("disk.forecast", title="Forecast disks", params=ForecastParams)
async def forecast(ctx: Context, params: ForecastParams) -> AsyncIterator[Event]:
    """Say for each file system whether every save to come will fit, and which one will not."""
    from dm_isaac_g1.fleet import guarding

    names = [ctx.hosts.check(params.host)] if params.host else list(ctx.hosts.names)
    silent: dict[str, DmG1Error] = {}
    said: list[Forecasts] = []
    for name in names:
        try:
            host = await ctx.host(name)
            background = ctx.hosts.background.get(name)
            found = await guarding.forecast_now(host, ctx.profile.defaults.thresholds, background)
        except DmG1Error as error:
            silent[name] = error
            yield Progress(text=error.line())
            continue
        event = Forecasts(host=name, forecasts=tuple(found))
        said.append(event)
        yield event
    if silent and not said:
        raise next(iter(silent.values()))
    worst = [each for event in said for each in event.forecasts if each.verdict in ("FAIL", "TIGHT")]
    yield Result(
        text="; ".join(f"{each.host} {each.mount}: {each.verdict.value}, {each.reason}" for each in worst)
        or "Every save to come fits, as far as is known",
        data={"forecasts": [msgspec.to_builtins(each) for event in said for each in event.forecasts]},
    )
