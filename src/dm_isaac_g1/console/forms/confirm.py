"""The question before something that cannot be undone: exactly what will happen, and what is lost by it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from dm_isaac_g1.actions.context import Plan
from dm_isaac_g1.console import shown
from dm_isaac_g1.console.forms.dialog import Dialog


class Confirm(Dialog[bool]):
    """Yes is the key `y` alone: an Enter too many deletes nothing."""

    READS = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "agree", "Yes", show=False),
        Binding("n", "leave", "No", show=False),
    ]

    def __init__(self, plan: Plan) -> None:
        super().__init__(shown.line(plan.title, 120), danger=True)
        self.plan = plan

    def body(self) -> list[Widget]:
        lines = [Content(shown.line(text, 400)) for text in self.plan.lines]
        widgets: list[Widget] = [Static(Content("\n").join(lines) if lines else Content("Nothing is listed."))]
        if self.plan.loses:
            lost = Content.assemble(("▲ lost for good: ", "bold $error"), shown.line(self.plan.loses, 400))
            widgets += [Static("", classes="gap"), Static(lost)]
        return widgets

    def keys(self) -> list[tuple[str, str]]:
        return [("y", "do it"), ("esc", "leave everything as it is")]

    def action_agree(self) -> None:
        self.dismiss(True)

    def action_leave(self) -> None:
        self.dismiss(False)
