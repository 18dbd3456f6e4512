"""The deploy dialog: the plan that the action itself makes, Enter, then its steps as they are walked.

The plan is the confirmation. What was started goes on when the dialog is closed; the Deployments room shows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from dm_isaac_g1.actions.registry import Action, Params
from dm_isaac_g1.console import keys, shown
from dm_isaac_g1.console.forms.command import command_line
from dm_isaac_g1.console.forms.deploy_plan import head_lines, marked, plan_lines
from dm_isaac_g1.console.forms.dialog import Dialog
from dm_isaac_g1.console.panes.steps import task_lines
from dm_isaac_g1.core.deployments import DeployPlan
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Event, Failure, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.console.tasks import Task

Perform = Callable[[Action, Params], AsyncIterator[Event]]
Start = Callable[[Params], "Task"]
#: Seconds between two looks at the task while it goes on.
PERIOD = 0.25


class DeployDialog(Dialog[None]):
    """Plan, then steps. `deploy`: one that goes on already."""

    READS = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "go", "Deploy", show=False, priority=True),
        Binding("left", "host(-1)", show=False, priority=True),
        Binding("right", "host(1)", show=False, priority=True),
        Binding("x", "cancel", show=False),
        Binding("5", "room", show=False),
    ]

    def __init__(
        self,
        action: Action,
        perform: Perform,
        start: Start,
        *,
        checkpoint: str,
        hosts: Sequence[str],
        host: str,
        now: Callable[[], float],
        cancel: Callable[[Task], None] = lambda task: None,
        deploy: Task | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.hosts, self.host = tuple(hosts), host
        super().__init__(self._titled())
        self.action = action
        self.perform, self.start, self.stop_task = perform, start, cancel
        self.now = now
        self.deploy = deploy
        self.plan: DeployPlan | None = None
        self.ready = False
        self.told = Static("", id="plan")
        self.steps = Static("", id="steps")
        self.steps.display = False
        self.command = Static("", id="command")
        self._timer: Timer | None = None

    def _titled(self) -> str:
        return f"Deploy {shown.name(_last(self.checkpoint), 48)} to {shown.name(self.host, 24)}"

    def body(self) -> list[Widget]:
        return [self.told, self.steps, self.command]

    def keys(self) -> list[tuple[str, str]]:
        if self.deploy is not None and self.deploy.going:
            return [("esc", "leave it to go on"), ("x", "cancel"), ("5", "Deployments")]
        if self.deploy is not None:
            return [("esc", "back"), ("5", "Deployments")]
        found = [("enter", "deploy")] if self.ready else []
        choose = [("← →", "another host")] if len(self.hosts) > 1 else []
        return [*found, *choose, ("esc", "leave everything as it is")]

    @property
    def cells(self) -> int:
        """Cells of a line in the box."""
        low = self.app.size.height < 30
        wide = self.app.size.width if low else min(108, self.app.size.width * 96 // 100)
        return wide - 2 * (1 if low else 2) - 3

    def on_mount(self) -> None:
        if self.deploy is not None:
            self._watch()
        else:
            self.ask()

    # -- the plan

    def ask(self) -> None:
        """Ask the action what it would do."""
        self.run_worker(self._plan(), group="plan", exclusive=True, exit_on_error=False)

    def values(self) -> dict[str, Any]:
        return {"checkpoint": self.checkpoint, "to": self.host}

    async def _plan(self) -> None:
        self.plan, self.ready = None, False
        self._say([Content.styled(f"asking {shown.name(self.host, 24)}…", "$muted")])
        lines: list[Content] = []
        try:
            params = self.action.parse(self.values() | {"dry_run": True})
            async for event in self.perform(self.action, params):
                match event:
                    case Failure():
                        where = f"{event.where}: " if event.where else ""
                        lines = marked("✗", "$error", f"{where}{event.what}", self.cells)
                        lines += marked("→", "$primary", event.fix, self.cells) if event.fix else []
                    case Result(data=data):
                        lines = self._planned(data)
                    case Progress(text=text):
                        self._say([Content.styled(f"{shown.line(text, 200)}…", "$muted")])
                await asyncio.sleep(0)
        except DmG1Error as error:
            lines = marked("✗", "$error", error.line(), self.cells)
        self._say(lines)
        words = command_line(self.action.name, self.action.fields(), self.values())
        words = words.replace("dm-g1 deploy start ", "dm-g1 deploy ", 1)  # as it is typed
        self.command.update(Content.assemble(("$ ", "$faint"), (shown.line(words), "$primary")))

    def _planned(self, data: dict[str, Any]) -> list[Content]:
        try:
            self.plan = msgspec.convert(data.get("plan"), DeployPlan)
        except msgspec.ValidationError as wrong:
            return marked("✗", "$error", f"the plan cannot be read: {wrong}", self.cells)
        self.ready = not self.plan.problems and not self.plan.serves
        return plan_lines(self.plan, self.cells)

    def _say(self, lines: list[Content]) -> None:
        self.told.update(Content("\n").join(lines))
        self._keys()

    def _keys(self) -> None:
        for foot in self.query("#keys").results(Static):
            foot.update(self.foot())

    # -- the steps

    def _watch(self) -> None:
        self.command.display, self.steps.display = False, True
        if self.plan is not None:
            self.told.update(Content("\n").join(head_lines(self.plan, self.cells)))
        self._timer = self.set_interval(PERIOD, self._show)
        self._show()

    def _show(self) -> None:
        task = self.deploy
        assert task is not None
        self.steps.update(Content("\n").join(task_lines(task, self.now(), self.cells)))
        if not task.going and self._timer is not None:
            self._timer.stop()
        self._keys()

    # -- keys

    def action_go(self) -> None:
        if self.deploy is not None:
            if not self.deploy.going:
                self.dismiss(None)
        elif self.ready:
            self.deploy = self.start(self.action.parse(self.values()))
            self._watch()

    def action_host(self, by: int) -> None:
        if self.deploy is None and len(self.hosts) > 1:
            self.host = self.hosts[(self.hosts.index(self.host) + by) % len(self.hosts)]
            self.query_one("#box").border_title = Content.styled(self._titled(), "bold")
            self.ask()

    def action_cancel(self) -> None:
        if self.deploy is not None and self.deploy.going:
            self.stop_task(self.deploy)

    def action_room(self) -> None:
        from dm_isaac_g1.console.app import DmG1App

        app = self.app
        assert isinstance(app, DmG1App)
        if self.deploy is not None:
            self.dismiss(None)
            app.enter(keys.DEPLOYMENTS)


def _last(checkpoint: str) -> str:
    """The last two folders: "g1-reach-bc/checkpoint-4000"."""
    parts = checkpoint.rstrip("/").split("/")
    return "/".join(parts[-2:]) if len(parts) > 2 else checkpoint
