"""The Overview: the whole fleet on one screen. It lays the panes out, tells them what changed, and hands keys on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.geometry import Region
from textual.widget import Widget

from dm_isaac_g1.console import arrangement, keys
from dm_isaac_g1.console.arrangement import PANES, STAGE, Wishes
from dm_isaac_g1.console.memory import Memory
from dm_isaac_g1.console.panes import alerts, checkpoints, hosts, log, loss, runs
from dm_isaac_g1.console.room import Room
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.events import Result
from dm_isaac_g1.fleet.store import Store

if TYPE_CHECKING:
    from dm_isaac_g1.core.profile import Profile


class Overview(Room):
    """Room 1."""

    room: ClassVar[str] = keys.OVERVIEW

    def __init__(
        self,
        profile: Profile,
        store: Store,
        *,
        now: Callable[[], float],
        table: tuple[keys.Key, ...],
        clock: bool = True,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(profile.name, store, now=now, table=table, clock=clock, memory=memory)
        self.profile = profile
        self.stage = STAGE[0]
        self._staged = False
        self._by_user = False
        self._serves = any("serve" in host.roles for host in profile.hosts.values())
        roles = {name: " ".join(host.roles) for name, host in profile.hosts.items()}
        self.hosts = hosts.Hosts(self.view, roles)
        self.runs = runs.Runs(self.view)
        self.loss = loss.Loss(self.view, self.memory.choices.log_scale, self.memory.choices.smoothing)
        self.log_tail = log.LogTail(self.view)
        self.checkpoints = checkpoints.Checkpoints(self.view, deploys=self._serves)
        self.alerts = alerts.Alerts(self.view)
        self.panes = (self.alerts, self.hosts, self.runs, self.loss, self.checkpoints, self.log_tail)

    # -- showing

    def show_topics(self, topics: frozenset[str]) -> None:
        """Show what these topics changed."""
        before = self.view.run
        if "runs" in topics:
            self.choose()
        if before != self.view.run or self._relayout_due(topics):
            self.action_sync_all()
            return
        super().show_topics(topics)

    def _relayout_due(self, topics: frozenset[str]) -> bool:
        """Lines that panes wish for may have changed: a host came, an alert went."""
        if not any(topic in ("hosts", "runs", "alerts") or topic.startswith("host:") for topic in topics):
            return False
        return self.relayout()

    def regions(self) -> dict[str, Region]:
        size = self.size
        if not self._staged:
            # Of a run that failed, why and what to do is what one wants to see.
            run = self.view.selected
            self.stage = "checkpoints" if run is not None and run.job.diagnosis is not None else STAGE[0]
        self.view.wide = arrangement.is_wide(size)
        inner = arrangement.left_width(size.width) - 5  # frame, padding, the scrollbar's place
        wishes = Wishes(
            hosts=tuple(max(1, len(self.hosts.lines(inner, detail))) for detail in (3, 2)),
            hosts_brief=max(1, 2 * len(self.view.store.hosts)),
            runs=len(self.view.store.runs) + 1 if self.view.store.runs else 0,
            alerts=len(self.alerts.rows_at(size.width - 5)),
        )
        self.set_class(not self.view.wide, "-brief")
        critical = any(alert.severity == "critical" for alert in self.view.store.alerts.values())
        self.alerts.set_class(critical, "-critical")
        return arrangement.arrange(size, wishes, stage=self.stage, maximised=self.maximised)

    def holds(self, id: str) -> bool:
        return super().holds(id) or (id == "loss-plot" and "loss" in self._arranged.regions)

    def home(self) -> Widget:
        return self.runs

    def order(self) -> list[str]:
        order = [id for id in PANES if id != "alerts" or self.view.store.alerts]
        if self.maximised is None and (self.view.wide or not self.view.store.runs):
            order = [id for id in order if id in self._arranged.regions]
        return order

    def bring(self, id: str) -> None:
        if id in STAGE:
            self.stage, self._staged = id, True

    def choose(self) -> None:
        """Keep the selected run selected; without one, the newest that is going, else the newest."""
        shown = runs.ordered(self.view)
        ids = [run.id for run in shown]
        if self._by_user and self.view.run in ids:
            return
        going = next((run.id for run in shown if not run.job.state.ended), None)
        self.select_run(going or (ids[0] if ids else None), by_user=False)

    def select_run(self, id: str | None, *, by_user: bool = True) -> None:
        self._by_user = by_user and id is not None
        if id != self.view.run:
            self._staged = False
        self.view.run = id
        self.dm.look_at(id)

    def note_result(self, result: Result) -> None:
        """An action ended: a run that it started becomes the selected one."""
        id = result.data.get("id")
        if isinstance(id, str) and id in self.view.store.runs and not result.data.get("dry_run"):
            self.select_run(id)
            self.action_sync_all()

    @on(Rows.Selected, "#runs")
    def _selected(self, message: Rows.Selected) -> None:
        self.select_run(message.key)
        self.action_sync_all()

    @on(runs.Runs.Seen)
    def _seen(self, message: runs.Runs.Seen) -> None:
        self.dm.look_over(message.runs)

    # -- keys

    def enabled(self) -> set[str]:
        run = self.view.selected
        enabled = super().enabled()
        if run is None or run.job.state.ended:
            enabled.discard("train.stop")
        if not self._serves or self.checkpoints.chosen() is None:
            enabled.discard("deploy.start")
        if not self.view.store.runs:
            enabled -= {"checkpoints.clean"}
        return enabled

    def focus_pane(self, id: str) -> None:
        if id != "loss":
            super().focus_pane(id)
        elif plots := self.query("#loss-plot"):
            plots.first().focus()
        else:
            self.set_focus(None)

    def focused_pane(self) -> str:
        focused = self.focused
        if focused is None or focused.id == "loss-plot":
            return "loss"
        return focused.id or "runs"

    def go_back(self) -> None:
        self.log_tail.action_edge(1)

    def action_plot_log(self) -> None:
        self.loss.toggle_log()
        self.memory.keep(log_scale=self.loss.log_scale)

    def action_plot_smooth(self, by: int) -> None:
        self.loss.smoother(by)
        self.memory.keep(smoothing=self.loss.weight)

    def action_plot_metric(self) -> None:
        self.loss.next_metric()

    def action_dots(self) -> None:
        super().action_dots()
        self.loss.draw()

    def action_log_side(self, by: int) -> None:
        self.log_tail.sideways(by)

    def action_follow(self) -> None:
        self.log_tail.action_edge(1)

    def action_stop(self) -> None:
        self.dm.open_form("train.stop")

    def action_clean(self) -> None:
        self.dm.open_form("checkpoints.clean")
