"""One row of a form: what it is called, its value, and what it means. Made from a parameter's declaration."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Static

from dm_isaac_g1.actions.registry import Field
from dm_isaac_g1.console import shown


class Changed(Message):
    """A field's value changed."""


class Choice(Static, can_focus=True):
    """One of a few values, walked with left and right (or space); the mouse steps on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", show=False),
        Binding("right,space,l", "step(1)", show=False),
    ]
    value: reactive[str] = reactive("")

    def __init__(self, options: tuple[str, ...], value: str) -> None:
        self.options = options if value in options else (value, *options)
        super().__init__(classes="editor")
        self.set_reactive(Choice.value, value)

    def render(self) -> Content:
        at = f"  {self.options.index(self.value) + 1} of {len(self.options)}" if len(self.options) > 1 else ""
        name = shown.name(self.value, 48) if self.value else "none"
        return Content.assemble(("‹ ", "$muted"), (name, "bold"), (" ›", "$muted"), (at, "$faint"))

    def watch_value(self) -> None:
        self.post_message(Changed())

    def action_step(self, by: int) -> None:
        if self.options:
            self.value = self.options[(self.options.index(self.value) + by) % len(self.options)]

    def on_click(self) -> None:
        self.action_step(1)


class Flag(Static, can_focus=True):
    """Yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space,left,right", "turn", show=False)]
    value: reactive[bool] = reactive(False)

    def render(self) -> Content:
        return Content.styled("[x] yes", "bold") if self.value else Content.styled("[ ] no", "$muted")

    def watch_value(self) -> None:
        self.post_message(Changed())

    def action_turn(self) -> None:
        self.value = not self.value

    def on_click(self) -> None:
        self.action_turn()


class Row(Horizontal):
    """A parameter: label, editor, meaning. `hint` stands in an empty editor: the value that will be used."""

    def __init__(self, field: Field, *, value: Any = None, options: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(classes="field")
        self.field = field
        # What may be left out can be chosen not to be said.
        choices = ("", *field.choices) if field.optional and field.choices else field.choices
        self.editor: Widget = self._editor(value, options or choices, hint)

    def compose(self) -> ComposeResult:
        name = (self.field.said or self.field.name).replace("_", " ").replace("-", " ").removesuffix(" id")
        yield Static(Content.styled(name, "$muted"), classes="label")
        yield self.editor
        yield Static(Content.styled(self.field.description, "$faint"), classes="meaning")

    def hint(self, text: str) -> None:
        """Another value stands in the empty editor now."""
        if isinstance(self.editor, Input):
            self.editor.placeholder = shown.line(text, 80)

    @property
    def value(self) -> Any:
        """What the user said, as plain values for `Action.parse`; None: nothing."""
        match self.editor:
            case Flag(value=flag):
                return flag or None
            case Choice(value=choice):
                return choice or None
            case Input(value=text):
                text = text.strip()
                if not text:
                    return None
                return tuple(part for part in text.replace(",", " ").split()) if self.field.many else text
        return None

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(Changed())

    def on_enter(self, event: events.Enter) -> None:
        event.stop()

    def _editor(self, value: Any, options: tuple[str, ...], hint: str) -> Widget:
        if self.field.kind == "flag":
            flag = Flag(classes="editor")
            flag.set_reactive(Flag.value, bool(value))
            return flag
        if options and not self.field.many:
            return Choice(options, str(value) if value is not None else options[0])
        # Each attribute that is set later has the widget styled again; so has an empty text that is set.
        return Input(
            None if value is None else str(value), placeholder=shown.line(hint, 80), compact=True, classes="editor"
        )
