"""The releases on the selected host, which a rollback can go to, and what was put into service there before."""

from __future__ import annotations

import textwrap

from textual.content import Content

from dm_isaac_g1.console import columns, marks, shown
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.console.marks import FAINT, MUTED, Mark
from dm_isaac_g1.console.panes.deployments import DeploymentView, gone
from dm_isaac_g1.console.panes.pane import retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.deployments import HistoryEntry, Release
from dm_isaac_g1.core.units import UNKNOWN, duration, many, size

RELEASES = (
    Column("", 10, keep=100),
    Column("release", 0, keep=99),
    Column("step", 7, "right", keep=70),
    Column("kind", 11, keep=30),
    Column("size", 9, "right", keep=80),
    Column("copied", 9, "right", keep=60),
    Column("sha256", 12, keep=40),
)
HISTORY = (
    Column("outcome", 13, keep=100),
    Column("when", 6, "right", keep=95),
    Column("release", 0, keep=99),
    Column("replaced", 18, keep=42),
    Column("outage", 7, "right", keep=85),
    Column("took", 8, "right", keep=60),
    Column("sent", 8, "right", keep=45),
    Column("who", 8, keep=70),
)


def release_cells(release: Release, state: Mark | None, *, target: bool, bad: bool, now: float) -> list[Content]:
    """A release's cells, in the order of RELEASES. `state`: of the one that serves. `target`: what `r` goes back to.
    `bad`: it was tried, and never served.
    """
    mark, serves = Content(""), state is not None
    if state is not None:
        mark = Content.styled(f"{state.glyph} current", state.style)
    elif target:
        mark = Content.assemble(("r", "bold $primary"), (" → here", MUTED))
    elif bad:
        mark = marks.OUTCOMES["failed"].content()
    return [
        mark,
        Content.styled(shown.name(release.name, 48), "bold" if serves else ""),
        Content(UNKNOWN if release.step is None else str(release.step)),
        Content.styled(shown.line(release.kind, 16), MUTED),
        Content(size(release.bytes)),
        Content.styled(shown.age(now - release.created) if release.created else UNKNOWN, MUTED),
        Content.styled(shown.line(release.digest[:12], 12), FAINT),
    ]


def history_cells(entry: HistoryEntry, names: dict[str, str], now: float, room: int = 40) -> list[Content]:
    """A deploy's cells, in the order of HISTORY. `names`: of releases by id, as far as they are still there. `room`:
    cells of the release's name.
    """
    mark = marks.OUTCOMES[entry.outcome]
    word = "rolled back" if (entry.what, entry.outcome) == ("rollback", "done") else mark.word
    told = Content.styled(_short(entry.release, names, room), "bold" if entry.outcome == "done" else "")
    return [
        Content.styled(f"{mark.glyph} {word}", mark.style),
        Content.styled(shown.day(entry.at, now), MUTED),
        told,
        Content.styled(_short(entry.previous, names, 18) if entry.previous else UNKNOWN, MUTED),
        _outage(entry.outage_s),
        Content(duration(entry.seconds)),
        Content.styled(UNKNOWN if entry.bytes_sent is None else size(entry.bytes_sent), MUTED),
        Content.styled(shown.line(entry.by.split("@")[0], 24) or UNKNOWN, MUTED),
    ]


def _short(id: str, names: dict[str, str], room: int) -> str:
    return shown.name(names.get(id) or id.rsplit("-", 1)[0] or id, room)


def _outage(seconds: float | None) -> Content:
    if seconds is None:
        return Content.styled(UNKNOWN, MUTED)
    if seconds <= 0:
        return Content.styled("none", "$success")
    return Content.styled(duration(seconds), "$warning" if seconds >= 1 else "")


class Releases(Rows):
    """What a rollback can go to; its cursor chooses."""

    def __init__(self, view: DeploymentView) -> None:
        super().__init__(id="releases", selectable=True, head=True)
        self.view = view
        retitle(self, title("Releases"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"deployments", "hosts"})

    def wish(self) -> int:
        seen = self.view.deployment
        return 1 + len(seen.releases) if seen is not None and seen.releases else 1

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        seen, host = self.view.deployment, self.view.host
        if seen is None or host is None or not seen.releases:
            retitle(self, title("Releases"))
            self.show([Content.styled("What was deployed here stays for a rollback.", FAINT)])
            return
        held = sum(each.bytes for each in seen.releases)
        retitle(self, title("Releases", f"{len(seen.releases)} on {shown.name(seen.host, 16)}, {size(held)}"))
        layout = columns.fit(RELEASES, width, least=16)
        target = self.view.target
        current = seen.current.id if seen.current is not None else None
        rows = [columns.titles(RELEASES, layout)]
        for each in seen.releases:
            goes = target is not None and each.id == target.id and not gone(host)
            state = marks.SERVES[seen.state] if each.id == current else None
            ends = {entry.outcome for entry in seen.history if entry.release == each.id}
            bad = bool(ends & {"failed", "rolled-back"}) and "done" not in ends
            row = release_cells(each, state, target=goes, bad=bad, now=self.view.clock())
            line = columns.row(RELEASES, layout, row)
            rows.append(Content.styled(line.plain, FAINT) if gone(host) else line)
        self.show(rows, [None, *(each.id for each in seen.releases)])
        self.select(self.view.release)


class History(Rows):
    """What was put into service here, the newest first."""

    def __init__(self, view: DeploymentView) -> None:
        super().__init__(id="history", head=True)
        self.view = view
        retitle(self, title("History"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return bool(topics & {"deployments", "hosts"})

    def sync(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        seen, host = self.view.deployment, self.view.host
        if seen is None or host is None or not seen.history:
            retitle(self, title("History"))
            self.show([Content.styled("Every deploy and rollback, with how it ended.", FAINT)])
            return
        bad = sum(each.outcome in ("failed", "rolled-back") for each in seen.history)
        told = many(len(seen.history), "deploy") + (f", {bad} did not hold" if bad else "")
        retitle(self, title("History", told))
        names = {each.id: each.name for each in seen.releases}
        layout = columns.fit(HISTORY, width, least=26)
        room = dict(layout).get(2, 26)
        rows = [columns.titles(HISTORY, layout)]
        for entry in seen.history:
            rows.append(columns.row(HISTORY, layout, history_cells(entry, names, self.view.clock(), room)))
            if entry.reason:
                lead = layout[0][1] + columns.GAP
                text = shown.line(entry.reason, 600)
                for line in textwrap.wrap(text, max(16, width - lead), max_lines=3, placeholder="…"):
                    rows.append(Content.assemble(" " * lead, (line, MUTED)))
        self.show([Content.styled(row.plain, FAINT) for row in rows] if gone(host) else rows)
