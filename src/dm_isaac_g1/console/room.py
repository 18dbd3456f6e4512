"""What every room of the console is: a header, panes that stand where the room says, a footer, keys, and a filter.

A room that is not on the screen takes in nothing; it shows everything anew when it comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from dm_isaac_g1.console import keys
from dm_isaac_g1.console.arrangement import ArrangedLayout
from dm_isaac_g1.console.bar import Footer, Header
from dm_isaac_g1.console.memory import Memory
from dm_isaac_g1.console.panes.pane import View
from dm_isaac_g1.fleet.store import Store, Subscription

if TYPE_CHECKING:
    from dm_isaac_g1.console.app import DmG1App
    from dm_isaac_g1.core.events import Result

#: Seconds between two looks at what changed: four times a second at most.
PERIOD = 0.25
#: Seconds between two updates of what only the clock changes: ages, ETAs, the hour.
TICK = 10.0


class Room(Screen[None]):
    """Base of the rooms. Subclasses set `panes` and give `regions`, `order`, `home` and `enabled`."""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f5", "sync_all", show=False)]
    #: As in keys.py.
    room: ClassVar[str]

    def __init__(
        self,
        profile_name: str,
        store: Store,
        *,
        now: Callable[[], float],
        table: tuple[keys.Key, ...],
        clock: bool = True,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(classes="room")
        self.memory = memory or Memory(None)
        self.view = self.make_view(store, now)
        self.view.braille = self.memory.choices.braille
        self._arranged = ArrangedLayout()
        self._subscription: Subscription | None = None
        self._stale = False
        mine = keys.of_room(table, self.room)
        self.header = Header(self.view, profile_name, self.room, table, clock=clock)
        self.footer = Footer(mine)
        self.panes: tuple[Any, ...] = ()
        for binding in Binding.make_bindings(keys.bindings(mine)):
            self._bindings.key_to_bindings[binding.key] = [binding]

    # -- what a room says of itself

    def make_view(self, store: Store, now: Callable[[], float]) -> View:
        """What the panes look at."""
        return View(store, now)

    def regions(self) -> dict[str, Region]:
        """Where each pane stands now; one without a place is not shown."""
        raise NotImplementedError

    def order(self) -> list[str]:
        """The panes that tab walks, by id."""
        raise NotImplementedError

    def home(self) -> Widget:
        """The pane that has the focus when nothing else has."""
        raise NotImplementedError

    def enabled(self) -> set[str]:
        """Names of the keys that do something now."""
        return {key.name for key in self.footer.table if key.footer}

    def choose(self) -> None:
        """Keep what is selected selected, as far as it is still there."""

    def bring(self, id: str) -> None:
        """A pane that shares its place is wanted on the screen."""

    def note_result(self, result: Result) -> None:
        """An action ended."""

    @property
    def tells_work(self) -> bool:
        """Whether a pane says how what was started here ended."""
        return False

    # -- its life

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
        """Panes stand where `regions` says, not in a flow."""
        return self._arranged

    def compose(self) -> ComposeResult:
        yield self.header
        yield from self.panes
        yield self.footer

    def on_mount(self) -> None:
        self.choose()
        self.relayout()
        self.set_interval(TICK, self.action_sync_all)
        self.home().focus()
        self.call_after_refresh(self.action_sync_all)

    def on_screen_resume(self) -> None:
        if self._stale:
            self._stale = False
            self.choose()
            self.action_sync_all()

    def watch_store(self, store: Store) -> None:
        """Show this store from now on."""
        if self._subscription is not None:
            self._subscription.close()
        self.view.store = store
        self.choose()
        self.action_sync_all()
        self.run_worker(self._follow(store), group="store", exclusive=True)

    def watches(self, store: Store) -> bool:
        """Whether this store's changes are shown."""
        return self._subscription is not None and self.view.store is store

    async def _follow(self, store: Store) -> None:
        with store.subscribe() as subscription:
            self._subscription = subscription
            while True:
                self.sync(await subscription.changed())
                await asyncio.sleep(PERIOD)

    # -- showing

    def sync(self, topics: frozenset[str]) -> None:
        """Show what these topics changed."""
        if self.dm.room is not self:
            self._stale = True
            return
        self.show_topics(topics)

    def show_topics(self, topics: frozenset[str]) -> None:
        for pane in self.panes:
            if pane.concerns(topics):
                pane.sync()
        self.header.sync()
        self.offer()

    def action_sync_all(self) -> None:
        if self.dm.room is not self:
            self._stale = True
            return
        self.relayout()
        for pane in self.panes:
            pane.sync()
        self.header.sync()
        self.offer()

    def relayout(self) -> bool:
        """Give each pane its place; True if one moved."""
        regions = self.regions()
        if regions == self._arranged.regions:
            return False
        self._arranged.regions = regions
        self._clear_arrangement_cache()  # refresh clears its ancestors' only: a screen would keep the old places
        self.refresh(layout=True)
        if self.focused is not None and not self.holds(self.focused.id or ""):
            self.home().focus()
        self.call_after_refresh(self._sync_panes)
        return True

    def _sync_panes(self) -> None:
        for pane in self.panes:
            pane.sync()

    def holds(self, id: str) -> bool:
        """Whether a widget that may have the focus is on the screen."""
        return id in self._arranged.regions or id == "filter-box"

    def on_resize(self) -> None:
        self.relayout()
        self.header.sync()

    def offer(self) -> None:
        """The footer says what can be done now."""
        self.footer.offer(frozenset(self.enabled() & self.dm.doable))

    def show_work(self) -> None:
        """Something that is being done got on, began or ended."""
        self.footer.say(self.dm.runner.line())

    # -- keys

    def action_room(self, name: str) -> None:
        self.dm.enter(name)

    def action_focus_pane(self, by: int) -> None:
        order = self.order()
        now = self.focused_pane()
        to = order[(order.index(now) + by) % len(order)] if now in order else order[0]
        self.bring(to)
        if self.maximised is not None:
            self.maximised = to
        self.relayout()
        self.focus_pane(to)

    def focus_pane(self, id: str) -> None:
        self.query_one(f"#{id}").focus()

    def focused_pane(self) -> str:
        """The id of the pane that has the focus."""
        return (self.focused.id if self.focused is not None else None) or self.home().id or ""

    def action_open(self) -> None:
        self.maximised = None if self.maximised else self.focused_pane()
        self.relayout()

    def action_back(self) -> None:
        if self.maximised is not None:
            self.maximised = None
        elif self.view.filter:
            self.view.filter = ""
        else:
            self.go_back()
        self.choose()
        self.action_sync_all()

    def go_back(self) -> None:
        """Escape, where there is neither a zoomed pane nor a filter."""

    def action_picture(self) -> None:
        self.dm.save_picture()

    def action_dots(self) -> None:
        self.view.braille = not self.view.braille
        self.memory.keep(braille=self.view.braille)
        self.action_sync_all()

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
        self.choose()
        self.action_sync_all()

    @on(Input.Submitted, "#filter-box")
    def _keep_filter(self, message: Input.Submitted) -> None:
        message.input.remove()
        self.home().focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and (boxes := self.query("#filter-box")):
            event.stop()
            self.view.filter = ""
            boxes.first().remove()
            self.home().focus()
            self.choose()
            self.action_sync_all()

    def action_command_palette(self) -> None:
        self.app.action_command_palette()

    def action_help(self) -> None:
        self.dm.open_help()

    def action_train(self) -> None:
        self.dm.open_form("train.start")

    def action_act(self, name: str) -> None:
        """The way into any action."""
        self.dm.open_form(name)

    async def action_quit(self) -> None:
        await self.app.action_quit()
