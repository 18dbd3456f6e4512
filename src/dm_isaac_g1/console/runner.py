"""Runs actions from the screen, several at once: their events go to the rooms, the store and the message corner.

Each runs in a worker, so that closing the console ends it like any other task; cancelling one is ending its worker,
which an action answers by ending what it started, wherever that runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from textual.content import Content
from textual.screen import Screen
from textual.worker import Worker

from dm_isaac_g1.console import shown
from dm_isaac_g1.console.tasks import KEPT, Task
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import DmG1Error

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Plan
    from dm_isaac_g1.actions.registry import Action, Params
    from dm_isaac_g1.console.app import DmG1App

#: Seconds to wait for the fleet to be there before an action gives up.
PATIENCE = 15.0
#: Seconds between two times that progress is shown.
SHOWN_EVERY = 0.1
#: Events that are part of the picture: shown at once, before a monitor sees them.
_PICTURE = (ev.Job, ev.Checkpoints, ev.Forecasts, ev.HostStatus)

Confirmation = Callable[["Plan"], Awaitable[bool]]
Perform = Callable[["Action", Any, "Params"], AsyncIterator[ev.Event]]


class Runner:
    """Performs actions with the fleet's hosts. `tasks`: what runs and what ran, the oldest first."""

    def __init__(self, app: DmG1App, perform: Perform | None = None) -> None:
        self.app = app
        self.tasks: list[Task] = []
        self._perform = perform
        self._workers: dict[int, Worker[None]] = {}
        self._count = 0
        self._due = False

    def start(self, action: Action, params: Params, *, confirm: Confirmation | None = None) -> Task:
        """Run an action in the background and show what it says."""
        self._count += 1
        values = msgspec.structs.asdict(params)
        task = Task(id=self._count, action=action.name, title=action.title, values=values, began=self.app.now())
        ended = [each for each in self.tasks if not each.going]
        self.tasks = [each for each in self.tasks if each.going or each in ended[-KEPT:]] + [task]
        self._workers[task.id] = self.app.run_worker(
            self._run(task, action, params, confirm), group=f"action:{action.name}", exit_on_error=False
        )
        self._changed()
        return task

    def cancel(self, task: Task) -> None:
        """End a task; it may take a moment until what it started elsewhere has ended, too."""
        worker = self._workers.get(task.id)
        if worker is not None and task.state == "running":
            task.state = "cancelling"
            self._changed()
            worker.cancel()

    @property
    def going(self) -> list[Task]:
        """What runs now, the oldest first."""
        return [task for task in self.tasks if task.going]

    def line(self) -> Content:
        """What the newest one that runs says of itself, for a footer; empty when nothing runs."""
        going = self.going
        told = next((task for task in reversed(going) if task.progress is not None), None)
        if told is None or told.progress is None:
            return Content("")
        more = Content.styled(f"  and {len(going) - 1} more", "$muted") if len(going) > 1 else Content("")
        return progress_line(told.title, told.progress) + more

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

    async def _run(self, task: Task, action: Action, params: Params, confirm: Confirmation | None) -> None:
        try:
            async with aclosing(self.events(action, params, confirm=confirm)) as events:  # type: ignore[type-var]
                async for event in events:
                    self._take(task, event)
        except DmG1Error as error:
            self._failed(task, error)
        except asyncio.CancelledError:
            task.state = "cancelled"
            raise
        except Exception as error:
            # A fault of ours: one line for the user; the console goes on, and the log has the rest.
            self.app.log.error(f"{action.name}: {error!r}")
            task.state, task.said = "failed", f"{type(error).__name__}: {error}"
            self.app.say(f"{action.title}: {task.said}", severity="error", timeout=15)
        finally:
            if task.going:
                task.state = "cancelled" if task.state == "cancelling" else "done"
            task.ended = self.app.now()
            self._workers.pop(task.id, None)
            self.app.action_ended(task)
            self._changed()

    def _take(self, task: Task, event: ev.Event) -> None:
        match event:
            case ev.Progress():
                task.advance(event, self.app.now())
                self._changed()
            case ev.Result(text=text):
                # An action may do its work and say that what it was about failed: a check that found errors.
                task.state = "done" if event.code == 0 else "failed"
                task.said, task.data = text, event.data
                if text and not self.app.room.tells_work:
                    self.app.say(text)
                self.app.room.note_result(event)
            case ev.Failure():
                self._failed(task, DmG1Error(event.what, where=event.where, fix=event.fix))
        if isinstance(event, _PICTURE) and self.app.fleet is not None:
            self.app.fleet.apply(event)

    def _failed(self, task: Task, error: DmG1Error) -> None:
        what = f"{error.where}: {error.what}" if error.where else error.what
        task.state, task.said, task.fix = "failed", what, error.fix or ""
        if not (self.app.room.tells_work and self.app.room.view.wide):
            self.app.fail(error)

    def _changed(self) -> None:
        """Show it, a few times a second at most."""
        if not self._due:
            self._due = True
            self.app.set_timer(SHOWN_EVERY, self._show)

    def _show(self) -> None:
        self._due = False
        self.app.room.show_work()


def progress_line(title: str, event: ev.Progress) -> Content:
    """What a running action says of itself, for the footer."""
    figure = ""
    if event.done is not None:
        of = f" of {event.total:g}" if event.total is not None else ""
        figure = f"  {event.done:g}{of} {event.unit}".rstrip()
    return Content.assemble(
        ("◢ ", "$warning"), (f"{shown.line(title, 60)}: ", "$muted"), shown.line(f"{event.text}{figure}", 400)
    )
