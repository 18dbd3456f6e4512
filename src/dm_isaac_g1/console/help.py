"""The help screen: every key and every action, made from their declarations."""

from __future__ import annotations

from itertools import groupby

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from dm_isaac_g1.console import marks
from dm_isaac_g1.console.forms.dialog import Dialog
from dm_isaac_g1.console.keys import Key, sign


class Help(Dialog[None]):
    """Keys in two columns, then what the signs mean, then the commands that do the same."""

    READS = True

    def __init__(self, table: tuple[Key, ...], actions: list[tuple[str, str]]) -> None:
        super().__init__("Keys")
        self.table = table
        self.actions = actions

    def body(self) -> list[Widget]:
        lines: list[Content] = []
        for group, keys in groupby(self.table, key=lambda key: key.group):
            lines.append(Content.styled(group, "bold"))
            lines += [Content.assemble((f"  {sign(key.key):<14}", "bold $primary"), (key.title, "")) for key in keys]
        lines += [Content(""), Content.styled("Signs", "bold"), self._signs()]
        if self.actions:
            lines += [Content(""), Content.styled("The same from the command line", "bold")]
            lines += [
                Content.assemble((f"  dm-g1 {name.replace('.', ' '):<22}", "$primary"), (title, "$muted"))
                for name, title in self.actions
            ]
        return [Static(Content("\n").join(lines))]

    @staticmethod
    def _signs() -> Content:
        tables = (("runs", marks.RUNS), ("hosts", marks.HOSTS), ("saves", marks.VERDICTS))
        rows = [
            Content.styled(f"  {name:<8}", "$muted") + Content("   ").join(mark.content() for mark in table.values())
            for name, table in tables
        ]
        return Content("\n").join(rows)
