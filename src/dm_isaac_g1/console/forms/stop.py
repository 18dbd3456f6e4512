"""The stop dialog: how gently it begins, and exactly what each rung of the ladder does."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from dm_isaac_g1.console import shown
from dm_isaac_g1.console.forms.dialog import Dialog
from dm_isaac_g1.core.runs import JobInfo

#: The ladder's rungs, gentlest first: mode, what it is called, its key.
RUNGS = (
    ("checkpoint", "at the next checkpoint", "1"),
    ("interrupt", "interrupt now", "2"),
    ("terminate", "terminate now", "3"),
    ("kill", "kill now", "4"),
)


class StopDialog(Dialog[str]):
    """Dismisses with a mode, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False, priority=True),
        Binding("down,j", "move(1)", show=False, priority=True),
        *(Binding(key, f"pick('{mode}')", show=False) for mode, _, key in RUNGS),
        Binding("enter", "agree", show=False),
    ]

    def __init__(self, job: JobInfo) -> None:
        super().__init__(f"Stop {shown.name(job.spec.name, 60)} on {shown.name(job.host, 24)}", danger=True)
        self.job = job
        self.at = 0
        self.choices = Static(self._choices(), id="choices")
        self.effect = Static(self._effect(), id="effect")

    def body(self) -> list[Widget]:
        id = Static(Content.styled(shown.name(self.job.id, 80), "$muted"))
        return [id, Static("", classes="gap"), self.choices, Static("", classes="gap"), self.effect]

    def keys(self) -> list[tuple[str, str]]:
        return [("↑ ↓", "choose"), ("enter", "stop it so"), ("esc", "let it run")]

    def action_move(self, by: int) -> None:
        self.at = min(len(RUNGS) - 1, max(0, self.at + by))
        self.choices.update(self._choices())
        self.effect.update(self._effect())

    def action_pick(self, mode: str) -> None:
        self.at = [each for each, _, _ in RUNGS].index(mode)
        self.action_move(0)

    def action_agree(self) -> None:
        self.dismiss(RUNGS[self.at][0])

    def _choices(self) -> Content:
        lines = []
        for index, (_, title, key) in enumerate(RUNGS):
            chosen = index == self.at
            sign = Content.styled("► " if chosen else "  ", "$primary")
            lines.append(sign + Content.styled(f"{key} ", "$muted") + Content.styled(title, "bold" if chosen else ""))
        return Content("\n").join(lines)

    def _effect(self) -> Content:
        from dm_isaac_g1.actions.train import stop_lines

        steps = stop_lines(self.job, RUNGS[self.at][0])
        lines = [Content.styled("What happens, a rung after the other until it has ended:", "$muted")]
        lines += [
            Content.assemble((f"  {index}. ", "$muted"), shown.line(text)) for index, text in enumerate(steps, start=1)
        ]
        lines.append(Content.styled("  Then no process of it holds the GPU.", "$muted"))
        return Content("\n").join(lines)
