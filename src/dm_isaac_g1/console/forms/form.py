"""A form for any action, made from the declaration of its parameters; Enter starts it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from dm_isaac_g1.actions.registry import Action, Params
from dm_isaac_g1.console import shown
from dm_isaac_g1.console.forms.command import command_line
from dm_isaac_g1.console.forms.dialog import Dialog
from dm_isaac_g1.console.forms.fields import Changed, Choice, Row
from dm_isaac_g1.core.errors import DmG1Error


class ActionForm(Dialog[Params]):
    """Dismisses with the parameters, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "start", "Start", show=False, priority=True)]
    #: Parameters that have no row: the form says them another way.
    HIDDEN: ClassVar[frozenset[str]] = frozenset({"dry_run"})

    def __init__(
        self,
        action: Action,
        *,
        values: Mapping[str, Any] | None = None,
        options: Mapping[str, tuple[str, ...]] | None = None,
        hints: Mapping[str, str] | None = None,
        fixed: Mapping[str, Any] | None = None,
        title: str | None = None,
    ) -> None:
        """`options`: what can be chosen, by a field's name or by what it names. `values`: what stands in the rows at
        first. `fixed`: parameters that have no row, the title says them.
        """
        super().__init__(title or action.title, danger=action.danger)
        self.action = action
        self.given = dict(values or {})
        self.fixed = dict(fixed or {})
        options, hints = options or {}, hints or {}
        self.rows = [
            Row(
                field,
                value=self.given.get(field.name, None if field.many or field.kind == "flag" else field.default),
                options=options.get(field.name) or options.get(field.names or "", ()),
                hint=hints.get(field.name, ""),
            )
            for field in action.fields()
            if field.name not in self.HIDDEN and field.name not in self.fixed
        ]
        #: What the field at hand means, in full: beside it there may be room for half of it.
        self.meaning = Static("", id="meaning")
        self.command = Static("", id="command")
        self.trouble = Static("", id="trouble")
        self.trouble.display = False

    def body(self) -> list[Widget]:
        summary = self.action.help.split("\n", 1)[0]
        about = Static(Content.styled(summary, "$muted"), classes="about")
        return [about, Static("", classes="gap"), *self.rows, self.meaning, self.command, self.trouble]

    def keys(self) -> list[tuple[str, str]]:
        keys = [("enter", "start"), ("tab", "next field")]
        if any(isinstance(row.editor, Choice) for row in self.rows):
            keys.append(("← →", "choose"))
        return [*keys, ("esc", "back")]

    def on_mount(self) -> None:
        self.show_command()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        row = next((row for row in self.rows if row.editor is event.widget), None)
        self.meaning.update(Content.styled(row.field.description if row is not None else "", "$muted"))

    def values(self) -> dict[str, Any]:
        """What the user said, without what they left alone."""
        said = {row.field.name: value for row in self.rows if (value := row.value) is not None}
        # A default in its editor was left alone: "5.4" is 5.4.
        left = {row.field.name for row in self.rows if str(row.value) == str(row.field.default)}
        return self.fixed | {name: value for name, value in said.items() if name not in left}

    def parsed(self) -> Params | None:
        """The parameters, or None with the trouble shown."""
        try:
            params = self.action.parse(self.values())
        except DmG1Error as error:
            self.say_trouble(error.line())
            return None
        self.say_trouble("")
        return params

    def show_command(self) -> None:
        text = command_line(self.action.name, self.action.fields(), self.values())
        self.command.update(Content.assemble(("$ ", "$faint"), (shown.line(text), "$primary")))

    def say_trouble(self, text: str) -> None:
        self.trouble.display = bool(text)
        self.trouble.update(Content.styled(f"✗ {shown.line(text)}", "$error"))

    @on(Changed)
    def _changed(self) -> None:
        self.show_command()
        self.parsed()

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        params = self.parsed()
        if params is not None:
            self.dismiss(params)
