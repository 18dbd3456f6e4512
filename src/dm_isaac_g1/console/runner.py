"""Runs actions from the screen: their events go to the footer, the store and the message corner.

One action at a time per group may run; each in a worker, so that closing the console ends it like any other task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from textual.content import Content
from textual.screen import Screen

from dm_isaac_g1.console import shown
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import DmG1Error

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.actions.registry import Action, Params
    from dm_isaac_g1.console.app import DmG1App

#: Seconds to wait for the fleet to be there before an action gives up.
PATIENCE = 15.0
#: Events that are part of the picture: shown at once, before a monitor sees them.
_PICTURE = (ev.Job, ev.Checkpoints, ev.Forecasts, ev.HostStatus)

Confirmation = Callable[["Plan"], Awaitable[bool]]
Perform = Callable[["Action", Any, "Params"], AsyncIterator[ev.Event]]


class Runner:
    """Performs actions with the fleet's hosts."""

    def __init__(self, app: DmG1App, perform: Perform | None = None) -> None:
        self.app = app
        self._perform = perform

    def start(self, action: Action, params: Params, *, confirm: Confirmation | None = None) -> None:
        """Run an action in the background and show what it says."""
        self.app.run_worker(self._run(action, params, confirm), group=f"action:{action.name}", exit_on_error=False)

    async def events(
        self, action: Action, params: Params, *, confirm: Confirmation | None = None
    ) -> AsyncIterator[ev.Event]:
        """An action's events, for who wants to look at them themselves (a preview). Raises DmG1Error."""
        from dm_isaac_g1.actions.context import Context
        from dm_isaac_g1.actions.registry import perform

        hosts = await self._hosts()
        if self._perform is not None:
            stream = self._perform(action, hosts, params)
            async with aclosing(stream) as events:  # type: ignore[type-var]
                async for event in events:
                    yield event
            return
        context = Context(self.app.profile, self.app.config, hosts=hosts, confirm=confirm or self.ask)
        async with context as ctx, aclosing(perform(action, ctx, params)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def ask(self, plan: Plan) -> bool:
        """The confirmation of a plan, by the user."""
        from dm_isaac_g1.console.forms.confirm import Confirm

        screen: Screen[bool] = Confirm(plan)
        agreed = await self.app.push_screen_wait(screen)
        return agreed is True

    async def _hosts(self) -> Any:
        try:
            async with asyncio.timeout(PATIENCE):
                await self.app.fleet_ready.wait()
        except TimeoutError:
            raise DmG1Error("the fleet is not open yet", fix="try again in a moment") from None
        return self.app.fleet.hosts if self.app.fleet is not None else None

    async def _run(self, action: Action, params: Params, confirm: Confirmation | None) -> None:
        footer = self.app.overview.footer
        try:
            async with aclosing(self.events(action, params, confirm=confirm)) as events:  # type: ignore[type-var]
                async for event in events:
                    self._show(action, event)
        except DmG1Error as error:
            self.app.fail(error)
        except Exception as error:
            # A fault of ours: one line for the user; the console goes on, and the log has the rest.
            self.app.log.error(f"{action.name}: {error!r}")
            self.app.say(f"{action.title}: {type(error).__name__}: {error}", severity="error", timeout=15)
        finally:
            footer.say(Content(""))

    def _show(self, action: Action, event: ev.Event) -> None:
        match event:
            case ev.Progress():
                self.app.overview.footer.say(progress_line(action.title, event))
            case ev.Result(text=text):
                self.app.say(text)
                self.app.overview.note_result(event)
            case ev.Failure():
                self.app.fail(DmG1Error(event.what, where=event.where, fix=event.fix))
        if isinstance(event, _PICTURE) and self.app.fleet is not None:
            self.app.fleet.apply(event)


def progress_line(title: str, event: ev.Progress) -> Content:
    """What a running action says of itself, for the footer."""
    figure = ""
    if event.done is not None:
        of = f" of {event.total:g}" if event.total is not None else ""
        figure = f"  {event.done:g}{of} {event.unit}".rstrip()
    return Content.assemble(
        ("◢ ", "$warning"), (f"{shown.line(title, 60)}: ", "$muted"), shown.line(f"{event.text}{figure}", 400)
    )
