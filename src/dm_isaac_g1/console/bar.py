"""The two lines that frame the screen: where you are, and what you can do now."""

from __future__ import annotations

from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from dm_isaac_g1.console import marks, shown
from dm_isaac_g1.console.keys import Key, sign
from dm_isaac_g1.console.marks import MUTED
from dm_isaac_g1.console.panes.pane import View
from dm_isaac_g1.core.runs import JobState

#: Keys that leave the footer first where it is short; help knows them all.
_GIVE_WAY = (
    "filter",
    "palette",
    "open",
    "zoom",
    "next",
    "sort",
    "data.split",
    "mark",
    "data.stats",
    "data.download",
    "data.repair",
    "checkpoints.clean",
    "deploy.verify",
)


class Header(Static):
    """dm-g1, the profile, how many hosts are up, runs, alerts, the hour."""

    def __init__(self, view: View, profile: str, room: str, table: tuple[Key, ...], *, clock: bool = True) -> None:
        super().__init__(id="header")
        self.view = view
        self.profile = profile
        #: This room's name, and the keys that lead into each.
        self.room = room
        self.doors = [key for key in table if key.name.startswith("room.")]
        self.with_clock = clock
        self._said: Content | None = None

    def sync(self) -> None:
        """Say it again if it differs."""
        content = self.content_now()
        if self._said is None or not content.is_same(self._said):
            self._said = content
            self.update(content)

    def content_now(self) -> Content:
        store = self.view.store
        left = Content.assemble(
            (" dm-g1 ", "bold $background on $primary"), "  ", (shown.name(self.profile, 24), "bold")
        )
        if any(host.sample is not None and host.sample.simulated for host in store.hosts.values()):
            left = Content.assemble(left, "  ", (" SIMULATED ", "bold $background on $warning"))
        parts = [self._hosts(), self._runs(), self._alerts()]
        if self.with_clock:
            parts.append(Content.styled(shown.clock(self.view.clock()), MUTED))
        gap = "   " if self.size.width >= 100 else "  "
        right = Content(gap).join([part for part in parts if part.plain]) + Content(" ")
        if self.view.filter:
            tail = Content.assemble(("  filter ", MUTED), (shown.line(self.view.filter, 32), "bold $primary"))
        else:
            tail = Content("")
        # The rooms are told where there is room for them: the keys are in the help, too.
        for between in (self._rooms(), Content("")):
            room = self.size.width - left.cell_length - between.cell_length - tail.cell_length - right.cell_length
            if room >= 2:
                break
        return Content("").join([left, between, tail, Content(" " * max(1, room)), right])

    def _rooms(self) -> Content:
        """1 Overview  4 Datasets; the one that is shown stands out."""
        parts = [Content("  ")]
        for key in self.doors:
            here = key.name == f"room.{self.room}"
            word = key.title.split(":")[0]
            act = Style.from_meta({"@click": f"screen.{key.call}"})
            text = Content.assemble(
                (f" {sign(key.key).split()[0]}", "bold $primary"), (f" {word} ", "bold" if here else MUTED)
            )
            parts.append((text.stylize("on $cursor-bg") if here else text).stylize(act))
        return Content("").join(parts)

    def _hosts(self) -> Content:
        hosts = self.view.store.hosts.values()
        up = sum(host.status.state == "up" for host in hosts)
        mark = marks.HOSTS["up" if up == len(hosts) and up else "away"]
        return Content.assemble((mark.glyph, mark.style), f" {up}/{len(hosts)} hosts up")

    def _runs(self) -> Content:
        going = sum(not run.job.state.ended for run in self.view.store.runs.values())
        mark = marks.RUNS[JobState.RUNNING]
        return Content.assemble((mark.glyph, mark.style), f" {going} going") if going else Content("")

    def _alerts(self) -> Content:
        alerts = self.view.store.alerts.values()
        if not alerts:
            return Content.assemble(("✓", "$success"), (" no alerts", MUTED))
        worst = "critical" if any(alert.severity == "critical" for alert in alerts) else "warning"
        mark = marks.SEVERITIES[worst]
        many = "s" if len(alerts) > 1 else ""
        return Content.styled(f"{mark.glyph} {len(alerts)} alert{many}", f"bold {mark.style}")


class Footer(Static):
    """Keys that do something now, and at the right what an action says of itself."""

    def __init__(self, table: tuple[Key, ...]) -> None:
        super().__init__(id="footer")
        self.table = table
        self._enabled: frozenset[str] = frozenset()
        self._progress = Content("")

    def offer(self, enabled: frozenset[str]) -> None:
        """Show the keys of these names."""
        if enabled != self._enabled:
            self._enabled = enabled
            self._draw()

    def say(self, text: Content) -> None:
        """What a running action says, at the right; empty content ends it."""
        if not text.is_same(self._progress):
            self._progress = text
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        offered = [key for key in self.table if key.footer and key.name in self._enabled]
        for name in ("", *_GIVE_WAY):
            offered = [key for key in offered if key.name != name]
            keys = self._keys(offered)
            if keys.cell_length <= self.size.width - 1:
                break
        room = self.size.width - keys.cell_length - 2
        said = self._progress.truncate(max(0, room), ellipsis=True)
        self.update(Content("").join([keys, Content(" " * max(1, room - said.cell_length + 1)), said]))

    def _keys(self, offered: list[Key]) -> Content:
        parts: list[Content] = []
        for key in offered:
            act = Style.from_meta({"@click": f"screen.{key.call}" if "(" in key.call else f"screen.{key.call}()"})
            text = Content.assemble((sign(key.key).split()[0], "bold $primary"), (f" {key.footer}", MUTED))
            parts.append(text.stylize(act))
        return Content(" ") + Content("   " if self.size.width >= 100 else "  ").join(parts)
