"""What the user should know, worst first: what, where, since when, and what to do about it."""

from __future__ import annotations

import textwrap

from textual.content import Content

from dm_isaac_g1.console import marks, shown
from dm_isaac_g1.console.marks import MUTED
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.events import Alert

#: Columns from which an alert may take a second line.
ROOMY = 110
#: Columns that a severity takes.
_INDENT = 11
_ORDER = ("critical", "warning", "info")


def ordered(view: View) -> list[Alert]:
    """Alerts, worst first and then newest first."""
    return sorted(view.store.alerts.values(), key=lambda alert: (_ORDER.index(alert.severity), -alert.since))


def lines(alert: Alert, view: View, width: int) -> list[Content]:
    """An alert: what, where and since when on one line; what to do on it too where there is room, else below it.

    A terminal of 80 columns has no line to spare: there the fix is left to the pane's full screen.
    """
    mark = marks.SEVERITIES[alert.severity]
    since = Content.styled(f"  {shown.age(view.clock() - alert.since)}" if alert.since else "", MUTED)
    run = view.store.runs.get(alert.run) if alert.run else None
    where = shown.name(alert.host, 20) + (f" {shown.name(run.job.spec.name, 24)}" if run and width >= ROOMY else "")
    head = Content.assemble(
        (f"{mark.glyph} {mark.word:<8} ", f"bold {mark.style}"), (where, "bold"), "  ", shown.line(alert.title, 300)
    )
    fix = Content.assemble(("→ ", mark.style), shown.line(alert.fix, 300)) if alert.fix else Content("")
    if alert.detail and not alert.fix:
        # What stands there of the reason is better than nothing; all of it is on the pane's full screen.
        head = Content.assemble(head, (f": {shown.line(alert.detail, 300)}", MUTED))
    room = width - since.cell_length
    below: list[Content] = []
    if fix.plain and head.cell_length + 2 + fix.cell_length <= room:
        head = head + Content("  ") + fix
    elif fix.plain and width >= ROOMY:
        below = [Content(" " * _INDENT) + fix]
    head = head.truncate(max(1, room), ellipsis=True)
    return [Content("").join([head, Content(" " * max(0, room - head.cell_length)), since]), *below]


def in_full(alert: Alert, view: View, width: int) -> list[Content]:
    """All that is known of an alert, on as many lines as that takes."""
    mark = marks.SEVERITIES[alert.severity]
    since = f"since {shown.clock(alert.since)}, {shown.age(view.clock() - alert.since)}" if alert.since else ""
    run = view.store.runs.get(alert.run) if alert.run else None
    where = "  ".join(
        each for each in (shown.name(alert.host, 24), shown.name(run.id, 64) if run else "", since) if each
    )
    lines = [Content.assemble((f"{mark.glyph} {mark.word:<8} ", f"bold {mark.style}"), (where, MUTED))]
    for text, style, lead in ((alert.title, "bold", ""), (alert.detail, "", ""), (alert.fix, "", "→ ")):
        wrapped = textwrap.wrap(shown.line(text, 2000), max(8, width - _INDENT - len(lead)))
        for index, line in enumerate(wrapped):
            sign = Content.styled(lead if index == 0 else " " * len(lead), mark.style)
            lines.append(Content(" " * _INDENT) + sign + Content.styled(line, style))
    return [*lines, Content("")]


class Alerts(Rows):
    """The list of alerts; it is not there at all when there are none."""

    def __init__(self, view: View) -> None:
        super().__init__(id="alerts")
        self.view = view
        retitle(self, title("Alerts"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return "alerts" in topics

    def rows_at(self, width: int) -> list[Content]:
        """As they stand beside other panes."""
        return [line for alert in ordered(self.view) for line in lines(alert, self.view, width)]

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        full = self.view.zoomed == self.id
        more = "  enter tells all of it" if self.screen.focused is self and not full else ""
        retitle(self, title("Alerts", f"{len(self.view.store.alerts)}{more}"))
        every = [line for alert in ordered(self.view) for line in in_full(alert, self.view, width)] if full else None
        self.show(self.rows_at(width) if every is None else every)

    def on_focus(self) -> None:
        self.sync()

    def on_blur(self) -> None:
        self.sync()
