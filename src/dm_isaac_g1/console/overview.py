"""The Overview: the whole fleet on one screen. It lays the panes out, tells them what changed, and hands keys on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input

from dm_isaac_g1.console import arrangement, keys
from dm_isaac_g1.console.arrangement import PANES, STAGE, ArrangedLayout, Wishes
from dm_isaac_g1.console.bar import Footer, Header
from dm_isaac_g1.console.memory import Memory
from dm_isaac_g1.console.panes import alerts, checkpoints, hosts, log, loss, runs
from dm_isaac_g1.console.panes.pane import View
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.core.events import Result
from dm_isaac_g1.fleet.store import Store, Subscription

if TYPE_CHECKING:
    from dm_isaac_g1.console.app import DmG1App
    from dm_isaac_g1.core.profile import Profile

#: Seconds between two looks at what changed: four times a second at most.
PERIOD = 0.25
#: Seconds between two updates of what only the clock changes: ages, ETAs, the hour.
TICK = 10.0


class Overview(Screen[None]):
    """Room 1."""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f5", "sync_all", show=False)]

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
        super().__init__()
        self.profile = profile
        self.memory = memory or Memory(None)
        self.view = View(store, now, braille=self.memory.choices.braille)
        self.stage = STAGE[0]
        self._staged = False
        self._arranged = ArrangedLayout()
        self._by_user = False
        self._subscription: Subscription | None = None
        roles = {name: " ".join(host.roles) for name, host in profile.hosts.items()}
        self.header = Header(self.view, profile.name, clock=clock)
        self.hosts = hosts.Hosts(self.view, roles)
        self.runs = runs.Runs(self.view)
        self.loss = loss.Loss(self.view, self.memory.choices.log_scale, self.memory.choices.smoothing)
        self.log_tail = log.LogTail(self.view)
        self.checkpoints = checkpoints.Checkpoints(self.view)
        self.alerts = alerts.Alerts(self.view)
        self.footer = Footer(table)
        self.panes = (self.hosts, self.runs, self.loss, self.log_tail, self.checkpoints, self.alerts)
        for binding in keys.bindings(table):
            self._bindings.key_to_bindings.setdefault(binding.key, [])
        for binding in Binding.make_bindings(keys.bindings(table)):
            self._bindings.key_to_bindings[binding.key] = [binding]

    @property
    def dm(self) -> DmG1App:
        from dm_isaac_g1.console.app import DmG1App

        assert isinstance(self.app, DmG1App)
        return self.app

    @property
    def maximised(self) -> str | None:
        """The pane that has the whole screen."""
        return self.view.zoomed

    @maximised.setter
    def maximised(self, id: str | None) -> None:
        self.view.zoomed = id

    @property
    def layout(self) -> ArrangedLayout:
        """Panes stand where `arrangement` says, not in a flow."""
        return self._arranged

    def compose(self) -> ComposeResult:
        yield self.header
        yield self.alerts
        yield self.hosts
        yield self.runs
        yield self.loss
        yield self.checkpoints
        yield self.log_tail
        yield self.footer

    def on_mount(self) -> None:
        self.choose_run()
        self.relayout()
        self.set_interval(TICK, self.action_sync_all)
        self.runs.focus()
        self.call_after_refresh(self.action_sync_all)

    def watch_store(self, store: Store) -> None:
        """Show this store from now on."""
        if self._subscription is not None:
            self._subscription.close()
        self.view.store = store
        self.choose_run()
        self.action_sync_all()
        self.run_worker(self._follow(store), group="store", exclusive=True)

    async def _follow(self, store: Store) -> None:
        with store.subscribe() as subscription:
            self._subscription = subscription
            while True:
                self.sync(await subscription.changed())
                await asyncio.sleep(PERIOD)

    # -- showing

    def sync(self, topics: frozenset[str]) -> None:
        """Show what these topics changed."""
        before = self.view.run
        if "runs" in topics:
            self.choose_run()
        if before != self.view.run or self._relayout_due(topics):
            self.action_sync_all()
            return
        for pane in self.panes:
            if pane.concerns(topics):
                pane.sync()
        self.header.sync()
        self.offer()

    def _relayout_due(self, topics: frozenset[str]) -> bool:
        """Lines that panes wish for may have changed: a host came, an alert went."""
        if not any(topic in ("hosts", "runs", "alerts") or topic.startswith("host:") for topic in topics):
            return False
        return self.relayout()

    def action_sync_all(self) -> None:
        self.relayout()
        for pane in self.panes:
            pane.sync()
        self.header.sync()
        self.offer()

    def relayout(self) -> bool:
        """Give each pane its place; True if one moved."""
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
        regions = arrangement.arrange(size, wishes, stage=self.stage, maximised=self.maximised)
        self.set_class(not self.view.wide, "-brief")
        critical = any(alert.severity == "critical" for alert in self.view.store.alerts.values())
        self.alerts.set_class(critical, "-critical")
        if regions == self._arranged.regions:
            return False
        self._arranged.regions = regions
        self._clear_arrangement_cache()  # refresh clears its ancestors' only: a screen would keep the old places
        self.refresh(layout=True)
        if self.focused is not None and not self._holds(self.focused.id or ""):
            self.runs.focus()
        self.call_after_refresh(self._sync_panes)
        return True

    def _sync_panes(self) -> None:
        for pane in self.panes:
            pane.sync()

    def _holds(self, id: str) -> bool:
        return (
            id in self._arranged.regions
            or (id == "loss-plot" and "loss" in self._arranged.regions)
            or id == "filter-box"
        )

    def on_resize(self) -> None:
        self.relayout()
        self.header.sync()

    def choose_run(self) -> None:
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

    def offer(self) -> None:
        """The footer says what can be done now."""
        run = self.view.selected
        enabled = {key.name for key in self.footer.table if key.footer}
        if run is None or run.job.state.ended:
            enabled.discard("train.stop")
        if not self.view.store.runs:
            enabled -= {"checkpoints.clean"}
        self.footer.offer(frozenset(enabled & self.dm.doable))

    def action_focus_pane(self, by: int) -> None:
        order = [id for id in PANES if id != "alerts" or self.view.store.alerts]
        if self.maximised is None and (self.view.wide or not self.view.store.runs):
            order = [id for id in order if id in self._arranged.regions]
        now = self._focused_pane()
        to = order[(order.index(now) + by) % len(order)] if now in order else order[0]
        if to in STAGE:
            self.stage, self._staged = to, True
        if self.maximised is not None:
            self.maximised = to
        self.relayout()
        self._focus(to)

    def _focus(self, id: str) -> None:
        if id == "loss":
            plots = self.query("#loss-plot")
            if plots:
                plots.first().focus()
            else:
                self.set_focus(None)
            return
        self.query_one(f"#{id}").focus()

    def _focused_pane(self) -> str:
        focused = self.focused
        if focused is None:
            return "loss"
        return "loss" if focused.id == "loss-plot" else focused.id or "runs"

    def action_open(self) -> None:
        self.maximised = None if self.maximised else self._focused_pane()
        self.relayout()

    def action_back(self) -> None:
        if self.maximised is not None:
            self.maximised = None
        elif self.view.filter:
            self.view.filter = ""
        else:
            self.log_tail.action_edge(1)
        self.action_sync_all()

    def action_plot_log(self) -> None:
        self.loss.toggle_log()
        self.memory.keep(log_scale=self.loss.log_scale)

    def action_plot_smooth(self, by: int) -> None:
        self.loss.smoother(by)
        self.memory.keep(smoothing=self.loss.weight)

    def action_plot_metric(self) -> None:
        self.loss.next_metric()

    def action_dots(self) -> None:
        self.view.braille = not self.view.braille
        self.memory.keep(braille=self.view.braille)
        self.loss.draw()
        self.action_sync_all()

    def action_log_side(self, by: int) -> None:
        self.log_tail.sideways(by)

    def action_follow(self) -> None:
        self.log_tail.action_edge(1)

    def action_picture(self) -> None:
        self.dm.save_picture()

    def action_next_theme(self) -> None:
        self.dm.next_theme()

    def action_filter(self) -> None:
        if not self.query("#filter-box"):
            box = Input(
                self.view.filter, placeholder="text; enter keeps it, esc drops it", id="filter-box", compact=True
            )
            self.mount(box)
            box.focus()

    @on(Input.Changed, "#filter-box")
    def _filter(self, message: Input.Changed) -> None:
        self.view.filter = message.value.strip().lower()
        self.choose_run()
        self.action_sync_all()

    @on(Input.Submitted, "#filter-box")
    def _keep_filter(self, message: Input.Submitted) -> None:
        message.input.remove()
        self.runs.focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and (boxes := self.query("#filter-box")):
            event.stop()
            self.view.filter = ""
            boxes.first().remove()
            self.runs.focus()
            self.choose_run()
            self.action_sync_all()

    def action_command_palette(self) -> None:
        self.app.action_command_palette()

    def action_help(self) -> None:
        self.dm.open_help()

    def action_train(self) -> None:
        self.dm.open_form("train.start")

    def action_stop(self) -> None:
        self.dm.open_form("train.stop")

    def action_clean(self) -> None:
        self.dm.open_form("checkpoints.clean")

    async def action_quit(self) -> None:
        await self.app.action_quit()
