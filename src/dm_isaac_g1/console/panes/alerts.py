"""What the user should know, worst first: what, where, since when, and what to do about it."""

from __future__ import annotations

from textual.content import Content

from dm_isaac_g1.console import marks, shown
from dm_isaac_g1.console.marks import MUTED
from dm_isaac_g1.console.panes.pane import View, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.events import Alert

_ORDER = ("critical", "warning", "info")


def ordered(view: View) -> list[Alert]:
    """Alerts, worst first and then newest first."""
    return sorted(view.store.alerts.values(), key=lambda alert: (_ORDER.index(alert.severity), -alert.since))


def row(alert: Alert, now: float, width: int) -> Content:
    """An alert on one line; where that is short, the fix goes first: the title says what, the fix is one key away."""
    mark = marks.SEVERITIES[alert.severity]
    since = f"  {shown.age(now - alert.since)}" if alert.since else ""
    where = shown.name(alert.host, 20) + (f"/{shown.name(alert.run, 28)}" if alert.run and width >= 110 else "")
    head = Content.assemble(
        (f"{mark.glyph} {mark.word:<8} ", f"bold {mark.style}"), (where, "bold"), "  ", shown.line(alert.title, 200)
    )
    tail = Content.styled(since, MUTED)
    if alert.fix:
        fix = Content.assemble(("  → ", mark.style), shown.line(alert.fix, 200))
        if head.cell_length + fix.cell_length + tail.cell_length <= width:
            head += fix
        elif width >= 110:
            head += fix.truncate(max(1, width - head.cell_length - tail.cell_length), ellipsis=True)
    head = head.truncate(max(1, width - tail.cell_length), ellipsis=True)
    return Content("").join([head, Content(" " * max(0, width - head.cell_length - tail.cell_length)), tail])


class Alerts(Rows):
    """The list of alerts; it is not there at all when there are none."""

    def __init__(self, view: View) -> None:
        super().__init__(id="alerts")
        self.view = view
        self.border_title = title("Alerts")

    def concerns(self, topics: frozenset[str]) -> bool:
        return "alerts" in topics

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        alerts = ordered(self.view)
        now = self.view.clock()
        self.border_title = title("Alerts", str(len(alerts)))
        self.show([row(alert, now, width) for alert in alerts])
