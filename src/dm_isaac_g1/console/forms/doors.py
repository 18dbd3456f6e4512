"""From a key or the palette to an action: which dialog stands before it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.actions import registry
from dm_isaac_g1.actions.registry import Action
from dm_isaac_g1.console.forms.form import ActionForm
from dm_isaac_g1.console.forms.launch import LaunchForm
from dm_isaac_g1.console.forms.stop import StopDialog
from dm_isaac_g1.core.errors import UsageError

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.console.app import DmG1App


async def open_door(app: DmG1App, name: str) -> None:
    """Open what leads to the action `name`. Raises UsageError."""
    action = registry.get(name)
    await _DOORS.get(name, _any)(app, action)


async def _launch(app: DmG1App, action: Action) -> None:
    options = await asyncio.to_thread(_options, app)
    if not options.get("recipe"):
        raise UsageError("there is no recipe", fix="put one into ~/.config/dm-g1/recipes")
    recipe = app.profile.defaults.recipe or options["recipe"][0]
    form = LaunchForm(action, app.profile, app.runner.events, options=options, recipe=recipe)
    params = await app.push_screen_wait(form)
    if params is not None:
        app.runner.start(action, params)


async def _stop(app: DmG1App, action: Action) -> None:
    run = app.overview.view.selected
    if run is None or run.job.state.ended:
        raise UsageError("no running run is selected", fix="choose one in Runs")
    mode = await app.push_screen_wait(StopDialog(run.job))
    if mode is not None:
        # The dialog said exactly what will happen: that was the confirmation.
        params = action.parse({"job_id": run.id, "mode": mode})
        app.runner.start(action, params, confirm=_agreed)


async def _clean(app: DmG1App, action: Action) -> None:
    """No form: the action itself lists what it would remove, and asks."""
    run = app.overview.view.selected
    values = {"host": run.job.host} if run is not None else {}
    app.runner.start(action, action.parse(values))


async def _any(app: DmG1App, action: Action) -> None:
    fields = [field for field in action.fields() if field.name not in ActionForm.HIDDEN]
    if not fields:
        app.runner.start(action, action.parse({}))
        return
    options = await asyncio.to_thread(_options, app)
    run = app.overview.view.selected
    values: dict[str, Any] = {field.name: run.id for field in fields if field.names == "job" and run is not None}
    params = await app.push_screen_wait(ActionForm(action, values=values, options=options))
    if params is not None:
        app.runner.start(action, params)


async def _agreed(plan: Plan) -> bool:
    del plan
    return True


def _options(app: DmG1App) -> dict[str, tuple[str, ...]]:
    """What the user can choose from, by what a parameter names."""
    from dm_isaac_g1.core.profiles import list_recipes

    return {
        "recipe": tuple(found.name for found in list_recipes(app.profile)),
        "host": tuple(app.profile.hosts),
        "job": tuple(app.overview.view.store.runs),
    }


_DOORS: dict[str, Callable[[DmG1App, Action], Awaitable[None]]] = {
    "train.start": _launch,
    "train.stop": _stop,
    "checkpoints.clean": _clean,
}
