"""The launch form: a recipe, what to change in it, and what the guard says of it before anything is started.

The preview is the action itself, run with `dry_run`: what it says is what a start would do. It asks the host half a
second after the last change. A launch that the guard refuses can be forced only by typing the word.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from dm_isaac_g1.actions.registry import Action, Params
from dm_isaac_g1.console import marks, shown
from dm_isaac_g1.console.forms.fields import Changed
from dm_isaac_g1.console.forms.form import ActionForm
from dm_isaac_g1.core.errors import DmG1Error, ExitCode
from dm_isaac_g1.core.events import Event, Failure, Progress, Result
from dm_isaac_g1.core.forecasts import Verdict

if TYPE_CHECKING:
    from dm_isaac_g1.core.profile import Profile

#: Seconds after the last change before the host is asked.
PAUSE = 0.5
#: The word that overrides the guard.
FORCE = "force"

Perform = Callable[[Action, Params], AsyncIterator[Event]]


class LaunchForm(ActionForm):
    """Dismisses with StartParams, or None."""

    HIDDEN: ClassVar[frozenset[str]] = frozenset({"dry_run", "force"})

    def __init__(
        self,
        action: Action,
        profile: Profile,
        perform: Perform,
        *,
        options: Mapping[str, tuple[str, ...]],
        recipe: str | None,
    ) -> None:
        host = profile.defaults.train_host or next(
            (name for name, host in profile.hosts.items() if "train" in host.roles), None
        )
        self.profile = profile
        self.perform = perform
        self.defaults = {"recipe": recipe, "host": host}
        values = {name: value for name, value in self.defaults.items() if value is not None}
        super().__init__(action, values=values, options=options, hints=self._hints(recipe))
        self.preview = Static("", id="preview")
        self.force = Input(placeholder=f'type "{FORCE}" to start all the same', id="force", compact=True)
        self.refused = False
        self._recipe = recipe
        self._timer: Timer | None = None

    def body(self) -> list[Widget]:
        return [*super().body(), self.preview, self.force]

    def on_mount(self) -> None:
        super().on_mount()
        self.ask_soon(0.0)

    def values(self) -> dict[str, Any]:
        # The defaults go unsaid: the command line does without them too.
        said = super().values()
        said = {name: value for name, value in said.items() if self.defaults.get(name) != value}
        if self.refused and self.force.value.strip() == FORCE:
            said["force"] = True
        return said

    @on(Changed)
    def _changed(self) -> None:
        recipe = next((row.value for row in self.rows if row.field.name == "recipe"), None)
        if recipe != self._recipe:
            self._recipe = recipe
            hints = self._hints(recipe)
            for row in self.rows:
                row.hint(hints.get(row.field.name, ""))
        self.ask_soon(PAUSE)

    @on(Input.Changed, "#force")
    def _typed_force(self, event: Input.Changed) -> None:
        event.stop()
        self.show_command()

    def _hints(self, recipe: str | None) -> dict[str, str]:
        """The recipe's own values, for the empty editors."""
        if recipe is None:
            return {}
        from dm_isaac_g1.core.profiles import load_recipe

        try:
            loaded = load_recipe(recipe, self.profile)
        except DmG1Error:
            return {}
        names = ("datasets", "steps", "batch_size", "save_steps", "save_total_limit", "learning_rate", "output")
        values = {name: getattr(loaded, name) for name in names}
        values["datasets"] = " ".join(loaded.datasets)
        return {name: f"{value}" for name, value in values.items() if value is not None}

    # -- the preview

    def ask_soon(self, pause: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(max(0.01, pause), self._ask)

    def _ask(self) -> None:
        self.show_command()
        params = self.parsed()
        if params is not None:
            self.run_worker(self._preview(), group="preview", exclusive=True, exit_on_error=False)

    async def _preview(self) -> None:
        self.say([Content.styled("asking the host…", "$muted")])
        values = {name: value for name, value in self.values().items() if name != "force"}
        params = self.action.parse(values | {"dry_run": True})
        lines: list[Content] = []
        self.refused = False
        try:
            async for event in self.perform(self.action, params):
                match event:
                    case Progress(text=text, transient=True):
                        self.say([Content.styled(f"{shown.line(text)}…", "$muted")])
                    case Progress(text=text):
                        lines.append(Content.styled(shown.line(text), "$muted"))
                    case Failure():
                        self.refused = event.code == ExitCode.REFUSED
                        lines += self._failure(event)
                    case Result(data=data):
                        lines += self._guard(data)
                        lines.append(Content.styled("✓ it can start", "bold $success"))
                        lines += self._argv(data)
                await asyncio.sleep(0)
        except DmG1Error as error:
            lines.append(Content.styled(f"✗ {shown.line(error.line())}", "$error"))
        self.force.set_class(self.refused, "-asked")
        self.say(lines)

    def _failure(self, event: Failure) -> list[Content]:
        word = "✗ refused: " if self.refused else "✗ "
        lines = [Content.styled(f"{word}{shown.line(event.what, 600)}", "bold $error")]
        if event.fix:
            lines.append(Content.styled(f"  → {shown.line(event.fix, 600)}", "$muted"))
        return lines

    def _guard(self, data: Mapping[str, Any]) -> list[Content]:
        """The disk guard's word, where the action passes it on."""
        said = data.get("forecast")
        if not isinstance(said, Mapping) or said.get("verdict") not in list(Verdict):
            return []
        mark = marks.VERDICTS[Verdict(said["verdict"])]
        reason = shown.line(str(said.get("reason", "")), 400)
        return [Content.assemble(("disk: ", "$muted"), mark.content(strong=True), f"  {reason}")]

    def _argv(self, data: Mapping[str, Any]) -> list[Content]:
        argv, host = data.get("argv"), data.get("host")
        if not isinstance(argv, (list, tuple)):
            return []
        import shlex

        text = shlex.join(str(word) for word in argv)
        return [Content.styled(f"{shown.name(str(host), 24)}$ {shown.line(text, 1200)}", "$faint")]

    def say(self, lines: list[Content]) -> None:
        self.preview.update(Content("\n").join(lines))

    def action_start(self) -> None:
        params = self.parsed()
        if params is None:
            return
        if self.refused and not getattr(params, "force", False):
            self.force.focus()
            return
        self.dismiss(params)
