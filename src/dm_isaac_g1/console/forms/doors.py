"""From a key or the palette to an action: which dialog stands before it."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.actions import registry
from dm_isaac_g1.actions.registry import Action
from dm_isaac_g1.console import shown
from dm_isaac_g1.console.deployments import DeploymentsRoom
from dm_isaac_g1.console.forms.checkpoint import OTHER, CheckpointPicker
from dm_isaac_g1.console.forms.deploy import DeployDialog
from dm_isaac_g1.console.forms.form import ActionForm
from dm_isaac_g1.console.forms.launch import LaunchForm
from dm_isaac_g1.console.forms.stop import StopDialog
from dm_isaac_g1.core.errors import UsageError

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.console.app import DmG1App
    from dm_isaac_g1.core.datasets import DatasetSummary


async def open_door(app: DmG1App, name: str) -> None:
    """Open what leads to the action `name`. Raises UsageError."""
    await asyncio.to_thread(registry.catalogue)  # the modules of all actions, the first time
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


async def _data(app: DmG1App, action: Action) -> None:
    """What is done with the dataset that is selected, or the ones that are marked, where they lie."""
    from dm_isaac_g1.console.datasets import DatasetsRoom
    from dm_isaac_g1.console.forms.data import DataForm
    from dm_isaac_g1.console.panes.datasets import free_of

    room = app.room
    hosts = app.overview.view.store.hosts
    datasets: list[DatasetSummary] = []
    fixed: dict[str, Any] = {}
    values: dict[str, Any] = {}
    if action.name == "data.download":
        chosen = room.view.chosen if isinstance(room, DatasetsRoom) else None
        values["on"] = chosen[0] if chosen else app.profile.defaults.train_host or next(iter(app.profile.hosts), None)
        title = action.title
    elif not isinstance(room, DatasetsRoom):
        await _any(app, action)
        return
    else:
        datasets = room.several() if action.name == "data.combine" else [room.one()]
        names = [field.name for field in action.fields()]
        word = next(name for name in ("inputs", "input", "path") if name in names)
        paths = tuple(each.path for each in datasets)
        fixed = {word: paths if word == "inputs" else paths[0], "on": datasets[0].host}
        what = datasets[0].name if len(datasets) == 1 else f"{len(datasets)} datasets"
        title = f"{action.title}: {shown.name(what, 40)} on {shown.name(datasets[0].host, 24)}"
    options = _known(app)
    if len(datasets) == 1:
        cameras = tuple(key.removeprefix("observation.images.") for key in datasets[0].cameras)
        options["ego_camera"] = ("", *cameras) if cameras else ()
    form = DataForm(
        action,
        app.runner.events,
        datasets=datasets,
        free={name: free_of(host) for name, host in hosts.items()},
        values=values,
        fixed=fixed,
        options=options,
        title=title,
    )
    params = await app.push_screen_wait(form)
    if params is not None:
        app.runner.start(action, params)


async def _show(app: DmG1App, action: Action) -> None:
    from dm_isaac_g1.console.datasets import DatasetsRoom

    room = app.room
    if not isinstance(room, DatasetsRoom):
        await _any(app, action)
        return
    dataset = room.one()
    # It brings numpy: in a thread, so that keys answer meanwhile.
    module = await asyncio.to_thread(importlib.import_module, "dm_isaac_g1.console.episode")
    app.push_screen(module.EpisodeScreen(action, app.runner.events, dataset, braille=room.view.braille))


async def _deploy(app: DmG1App, action: Action) -> None:
    """The plan of a deploy, of the checkpoint that is selected or is chosen now; or the one that goes on already."""
    room = app.room
    hosts = [name for name, host in app.profile.hosts.items() if "serve" in host.roles]
    if not hosts:
        raise UsageError("no host of this profile serves", fix="give one roles: [serve]")
    host = room.one() if isinstance(room, DeploymentsRoom) else hosts[0]
    going = next((task for task in app.runner.going if task.action == action.name), None)
    if going is not None:
        checkpoint, host = (going.paths or ("",))[0], going.host or host
    elif isinstance(room, DeploymentsRoom):
        trains = [name for name, each in app.profile.hosts.items() if "train" in each.roles]
        store, perform = app.overview.view.store, app.runner.events
        picker = CheckpointPicker(store, perform, registry.get("checkpoints.list"), trains, to=host, now=app.now)
        picked = await app.push_screen_wait(picker)
        if picked == OTHER:
            await _form(app, action, {"to": host})
        if not picked:
            return
        checkpoint = picked
    else:
        chosen, run = app.overview.checkpoints.chosen(), app.overview.view.selected
        if chosen is None or run is None:
            raise UsageError("the selected run has no complete checkpoint", fix="5 and d choose among all there are")
        checkpoint = f"{run.job.host}:{chosen.path}"
    dialog = DeployDialog(
        action,
        app.runner.events,
        # The dialog said exactly what will happen: that was the confirmation.
        lambda params: app.runner.start(action, params, confirm=_agreed),
        checkpoint=checkpoint,
        hosts=hosts,
        host=host,
        now=app.now,
        cancel=app.runner.cancel,
        deploy=going,
    )
    app.push_screen(dialog)


async def _on_deployment(app: DmG1App, action: Action) -> None:
    """No form: it is about the selected host; what puts something else into service says what it will do, and asks."""
    room = app.room
    if not isinstance(room, DeploymentsRoom):
        await _any(app, action)
        return
    app.runner.start(action, action.parse(room.values(action.name)))


async def _any(app: DmG1App, action: Action) -> None:
    fields = [field for field in action.fields() if field.name not in ActionForm.HIDDEN]
    if not fields:
        app.runner.start(action, action.parse({}))
        return
    run = app.overview.view.selected
    values: dict[str, Any] = {field.name: run.id for field in fields if field.names == "job" and run is not None}
    await _form(app, action, values)


async def _form(app: DmG1App, action: Action, values: dict[str, Any]) -> None:
    options = await asyncio.to_thread(_options, app)
    params = await app.push_screen_wait(ActionForm(action, values=values, options=options))
    if params is not None:
        app.runner.start(action, params)


async def _agreed(plan: Plan) -> bool:
    del plan
    return True


def _options(app: DmG1App) -> dict[str, tuple[str, ...]]:
    """What the user can choose from, by what a parameter names."""
    from dm_isaac_g1.core.profiles import list_recipes

    return {"recipe": tuple(found.name for found in list_recipes(app.profile)), **_known(app)}


def _known(app: DmG1App) -> dict[str, tuple[str, ...]]:
    store = app.overview.view.store
    return {
        "host": tuple(app.profile.hosts),
        "job": tuple(store.runs),
        "dataset": tuple(each.path for host in store.hosts.values() for each in host.datasets or ()),
    }


_DOORS: dict[str, Callable[[DmG1App, Action], Awaitable[None]]] = {
    "train.start": _launch,
    "train.stop": _stop,
    "checkpoints.clean": _clean,
    "data.show": _show,
    "deploy.start": _deploy,
    **dict.fromkeys(("deploy.rollback", "deploy.verify", "deploy.resume"), _on_deployment),
    **dict.fromkeys(
        (
            "data.download",
            "data.convert",
            "data.validate",
            "data.stats",
            "data.repair",
            "data.split",
            "data.combine",
        ),
        _data,
    ),
}
