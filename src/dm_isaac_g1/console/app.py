"""The console's application: themes, the fleet behind the screen, and actions in front of it.

Before the first frame nothing is imported but Textual, the core and the store; the fleet (asyncssh, numpy) is
imported in a thread after it.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.theme import Theme

from dm_isaac_g1.console import keys, themes
from dm_isaac_g1.console.memory import Memory, usual
from dm_isaac_g1.console.overview import Overview
from dm_isaac_g1.console.runner import Perform, Runner
from dm_isaac_g1.core.events import HostStatus
from dm_isaac_g1.fleet.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dm_isaac_g1.actions.registry import Action
    from dm_isaac_g1.console.room import Room
    from dm_isaac_g1.console.tasks import Task
    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.errors import DmG1Error
    from dm_isaac_g1.core.profile import Profile

#: Makes the fleet of a profile: an async context manager with `store` and `hosts`.
FleetFactory = Callable[["Profile", "Config | None"], AbstractAsyncContextManager[Any]]


class DmG1App(App[int]):
    """Mission control."""

    TITLE = "dm-g1"
    CSS_PATH = Path(__file__).with_name("console.tcss")
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = []
    #: Each room is a mode, so that a dialog stays in the room it was opened in.
    DEFAULT_MODE = keys.OVERVIEW

    def __init__(
        self,
        profile: Profile,
        config: Config | None = None,
        *,
        theme: str | None = None,
        fleet_factory: FleetFactory | None = None,
        perform: Perform | None = None,
        now: Callable[[], float] = time.time,
        clock: bool = True,
        memory: Memory | None = None,
    ) -> None:
        self.memory = memory or Memory(None)
        self._themes, self._theme_problems = themes.load()
        self._themed = False
        super().__init__()
        for each in self._themes.values():
            self.register_theme(each)
        self.profile = profile
        self.config = config
        self.now = now
        self.fleet: Any = None
        self._fleet_factory = fleet_factory
        self._table, self._key_problems = keys.rebound(profile.defaults.keys)
        #: Names of keys whose action is there.
        self.doable = frozenset(key.name for key in self._table)
        # What was asked for now, then what was chosen last; one chosen from a file that is gone is not missed.
        chosen = self.memory.choices.theme
        wanted = theme or (chosen if chosen in self._themes else None) or profile.defaults.theme
        self.runner = Runner(self, perform)
        self.fleet_ready = asyncio.Event()
        self._missing_theme = wanted if wanted not in self._themes else None
        self.theme = wanted if wanted in self._themes else next(iter(self._themes), "textual-dark")
        self._themed = True
        self._clock = clock
        self.overview = Overview(
            profile, _before(profile, now()), now=now, table=self._table, clock=clock, memory=self.memory
        )
        #: The rooms that were entered, by name; each but the first is made when it first is.
        self.rooms: dict[str, Room] = {self.overview.room: self.overview}

    @property
    def available_themes(self) -> dict[str, Theme]:
        """Ours only: Textual's own have no colours for what we measure."""
        return dict(self._themes) if self._themed and self._themes else super().available_themes

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.VARIABLES

    def get_default_screen(self) -> Screen[Any]:
        return self.overview

    def on_mount(self) -> None:
        self.call_after_refresh(self._after_first_frame)

    def _after_first_frame(self) -> None:
        for problem in (*self._key_problems, *(error.line() for error in self._theme_problems)):
            self.say(problem, severity="warning")
        if self._missing_theme is not None:
            self.say(f"no theme {self._missing_theme!r}; there are {', '.join(self._themes)}", severity="warning")
        self.run_worker(self._run_fleet(), group="fleet", exit_on_error=False)

    async def _run_fleet(self) -> None:
        """Open the fleet and keep it until the console closes."""
        from dm_isaac_g1.core.errors import DmG1Error

        factory = self._fleet_factory
        if factory is None:
            # asyncssh and its kin take a third of a second to import: in a thread, so that keys answer meanwhile.
            module = await asyncio.to_thread(importlib.import_module, "dm_isaac_g1.fleet.fleet")
            await asyncio.to_thread(importlib.import_module, "dm_isaac_g1.remote.host")
            factory = module.Fleet
        try:
            async with factory(self.profile, self.config) as fleet:
                self.fleet = fleet
                self.fleet_ready.set()
                for room in self.rooms.values():
                    room.watch_store(fleet.store)
                self._tell_fleet()
                await asyncio.Event().wait()
        except DmG1Error as error:
            self.fail(error)
        finally:
            self.fleet = None
            self.fleet_ready.clear()

    # -- rooms

    @property
    def room(self) -> Room:
        """The room that is on the screen, perhaps below a dialog."""
        return next((room for room in self.rooms.values() if room in self.screen_stack), self.overview)

    def enter(self, name: str) -> None:
        """Show a room."""
        self.run_worker(self._enter(name), group="room", exclusive=True)

    async def _enter(self, name: str) -> None:
        if self.room.room == name:
            return
        if name not in self.rooms:
            # Imported when it is first entered, in a thread: the first frame needs none of it.
            module = await asyncio.to_thread(importlib.import_module, f"dm_isaac_g1.console.{name}")
            made: Room = module.make(
                self.profile,
                self.overview.view.store,
                now=self.now,
                table=self._table,
                clock=self._clock,
                memory=self.memory,
            )
            if len(self.rooms) == 1:
                self.add_mode(self.overview.room, lambda: self.overview)  # the way back
            self.rooms[name] = made
            # It is styled as it is mounted; without this Textual parses every stylesheet anew, twice.
            made._css_update_count = self._css_update_count
            self.add_mode(name, lambda: made)
        await self.switch_mode(name)
        if self.fleet is not None and not self.rooms[name].watches(self.fleet.store):
            self.rooms[name].watch_store(self.fleet.store)
        self.room.action_sync_all()
        self.room.show_work()
        self._tell_fleet()

    def _tell_fleet(self) -> None:
        """The fleet looks often at what is on the screen, seldom at the rest."""
        if self.fleet is not None:
            self.fleet.open_datasets(self.room.room == keys.DATASETS)
            self.fleet.open_deployments(self.room.room == keys.DEPLOYMENTS)

    def look_near(self, host: str | None, path: str | None) -> None:
        """The dataset that the user looks at from near."""
        if self.fleet is not None:
            self.fleet.near_dataset(host, path)

    def look_again(self) -> None:
        """Look now at what the room shows."""
        if self.fleet is None:
            return
        if self.room.room == keys.DEPLOYMENTS:
            self.fleet.look_at_deployments()
        else:
            self.fleet.look_at_datasets()

    def action_ended(self, task: Task) -> None:
        """What an action left behind is looked at soon."""
        if task.action.startswith("data.") and self.fleet is not None:
            self.fleet.look_at_datasets(task.host)
        if task.action.startswith("deploy.") and self.fleet is not None:
            self.fleet.look_at_deployments(task.host)

    def look_at(self, run: str | None) -> None:
        """The run that the user looks at: the fleet follows it, whatever its state."""
        if self.fleet is not None:
            self.fleet.focus(run)

    def look_over(self, runs: tuple[str, ...]) -> None:
        """The runs whose rows are on the screen: the fleet reads their last figures, once."""
        if self.fleet is not None:
            self.fleet.in_view(runs)

    # -- words

    def say(self, text: str, *, severity: Any = "information", timeout: float = 6.0) -> None:
        """A message at the corner; never markup, whatever stands in it."""
        from dm_isaac_g1.console import shown

        self.notify(shown.line(text, 600), severity=severity, timeout=timeout, markup=False)

    def fail(self, error: DmG1Error) -> None:
        """An error, on one line."""
        self.say(error.line(), severity="error", timeout=15.0)

    def next_theme(self) -> None:
        names = list(self._themes)
        self.choose_theme(names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0])

    def choose_theme(self, name: str) -> None:
        """Wear a theme, today and from now on."""
        self.theme = name
        self.memory.keep(theme=name)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every key of this room, every action, every theme."""
        room = self.room
        for key in keys.of_room(self._table, room.room):
            if key.name not in ("palette", "back", "next", "previous"):
                call = key.call if "(" in key.call else f"{key.call}()"
                yield SystemCommand(key.title, f"key {keys.sign(key.key)}", self._caller(call, room))
        known = {key.name for key in keys.of_room(self._table, room.room)}
        for action in self.catalogue().values():
            if action.name not in known and action.group not in ("profile", "remote"):
                command = f"dm-g1 {action.group} {action.verb}"
                yield SystemCommand(action.title, command, lambda name=action.name: self.open_form(name))
        for name in self._themes:
            yield SystemCommand(f"Theme {name}", "How the console looks", lambda name=name: self.choose_theme(name))

    def _caller(self, call: str, room: Room) -> Callable[[], Any]:
        return lambda: self.run_worker(self.run_action(call, room))

    def save_picture(self, path: Path | None = None) -> Path | None:
        """Save the screen as an SVG, in the working folder unless `path` says where, without what may be a secret."""
        from dm_isaac_g1.core.redact import redact

        path = path or Path(time.strftime("dm-g1-%Y%m%dT%H%M%S.svg", time.localtime(self.now())))
        try:
            path.write_text(redact(self.export_screenshot(title="dm-g1")), encoding="utf-8")
        except OSError as error:
            self.say(f"{path}: {error.strerror}", severity="error")
            return None
        self.say(f"Saved {path.absolute()}")
        return path

    # -- doors

    def catalogue(self) -> dict[str, Action]:
        """Every action there is."""
        from dm_isaac_g1.actions.registry import catalogue

        return catalogue()

    def action_command_palette(self) -> None:
        from dm_isaac_g1.console.palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def open_help(self) -> None:
        from dm_isaac_g1.console.help import Help

        self.push_screen(Help(self._table, [(action.name, action.title) for action in self.catalogue().values()]))

    def open_form(self, name: str) -> None:
        """The way into an action: its own dialog, a form, or at once where there is nothing to say."""
        self.run_worker(self._open_form(name), group="form", exclusive=True, exit_on_error=False)

    async def _open_form(self, name: str) -> None:
        from dm_isaac_g1.core.errors import DmG1Error

        try:
            module = await asyncio.to_thread(importlib.import_module, "dm_isaac_g1.console.forms.doors")
            await module.open_door(self, name)
        except DmG1Error as error:
            self.fail(error)


def _before(profile: Profile, now: float) -> Store:
    """The picture before anything is known: every host of the profile, connecting."""
    store = Store()
    for name in profile.hosts:
        store.apply(HostStatus(host=name, state="connecting", since=now))
    return store


def run(
    profile: Profile,
    config: Config | None = None,
    *,
    theme: str | None = None,
    fleet_factory: FleetFactory | None = None,
) -> int:
    """Show the console until the user quits; the process's exit code."""
    app = DmG1App(profile, config, theme=theme, fleet_factory=fleet_factory, memory=Memory(usual()))
    app.run()
    return app.return_code or 0
