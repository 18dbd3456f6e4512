"""An episode from near: its joints against time, a part of the body at a time, and what its cameras saw.

All of it is read where the dataset lies, by `data.show` there; only the answer comes here. Imported when it is first
asked for: the plot brings numpy.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.style import Style
from textual.timer import Timer
from textual.widgets import Static
from textual_plot import HiResMode

from dm_isaac_g1.actions.registry import Action, Params
from dm_isaac_g1.console import shown
from dm_isaac_g1.console.episode_data import Camera, Episode, Part, episode_of, parts
from dm_isaac_g1.console.marks import FAINT, MUTED
from dm_isaac_g1.console.picture import Picture
from dm_isaac_g1.console.plot import Plot, Ticks
from dm_isaac_g1.core.datasets import DatasetSummary
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.events import Event, Failure, Progress, Result

Perform = Callable[[Action, Params], AsyncIterator[Event]]

#: Theme variables that lines take, in this order.
COLOURS = ("gpu", "memory", "warning", "disk", "error", "cpu", "foreground", "raw")
#: Columns from which cameras stand beside the plot.
WIDE = 110
#: Seconds after the last key before a host is asked, and that one step in time is.
PAUSE, STEP = 0.25, 0.5
#: Episodes that are kept.
KEPT = 16

#: Key, action, what it does, the sign in the footer.
KEYS = (
    ("left,p", "episode(-1)", "Previous episode", ""),
    ("right,n", "episode(1)", "Next episode", "← → episode"),
    ("up,k", "part(-1)", "Previous part of the body", ""),
    ("down,j,tab", "part(1)", "Next part of the body", "↑ ↓ part"),
    ("a", "side", "State or action", "a action"),
    ("v", "camera", "Next camera", "v camera"),
    ("comma", "time(-1)", "Earlier frame", ""),
    ("full_stop", "time(1)", "Later frame", ", . time"),
    ("c", "stage", "Joints or camera, where there is no room for both", "c joints/camera"),
    ("b", "dots", "Braille or block graphs", ""),
    ("P", "picture", "Save a picture of the screen", ""),
    ("escape,q,enter", "leave", "Back to the datasets", "esc back"),
)


class Traces(Plot):
    """A few lines over time."""

    def draw_part(self, part: Part, *, at: float | None, braille: bool) -> None:
        """Draw the lines of `part`, and where in time the pictures are."""
        mode = HiResMode.BRAILLE if braille else HiResMode.HALFBLOCK
        colors = self.app.theme_variables
        self.clear()
        self.set_y_formatter(Ticks(max(2, (self.size.height - 1) // 2)))
        self.set_x_formatter(Ticks())
        last = 0.0
        for trace, colour in zip(part.traces, COLOURS, strict=False):
            times = [t for t, v in zip(trace.times, trace.values, strict=True) if v is not None]
            values = [v for v in trace.values if v is not None]
            if times:
                self.plot(times, values, line_style=colors[colour], hires_mode=mode)
                last = max(last, times[-1])
        if at is not None and math.isfinite(at):
            self.add_v_line(at, line_style=colors["muted"])
        self.set_xlimits(0, last or 1.0)
        self.set_ylimits(None, None)


class EpisodeScreen(Screen[None]):
    """Joints and cameras of one episode of a dataset."""

    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    EpisodeScreen { background: $background; color: $foreground; layout: vertical; }
    EpisodeScreen #episode-head, EpisodeScreen #episode-keys { height: 1; background: $panel; }
    EpisodeScreen #episode-keys { color: $muted; link-style: none; link-color: $foreground; }
    EpisodeScreen #episode-body { height: 1fr; }
    EpisodeScreen .frame {
        border: round $line; border-title-color: $foreground; border-title-background: $background; padding: 0 1;
        background: $background;
    }
    EpisodeScreen #episode-joints { width: 3fr; }
    EpisodeScreen #episode-camera { width: 2fr; }
    EpisodeScreen #episode-legend { height: auto; max-height: 6; }
    EpisodeScreen Traces { height: 1fr; background: $background; }
    EpisodeScreen Traces Canvas { background: $background; }
    EpisodeScreen.-narrow .frame { border: none; border-top: solid $line; }
    EpisodeScreen.-narrow #episode-joints, EpisodeScreen.-narrow #episode-camera { width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding(key, call, what, show=False) for key, call, what, _ in KEYS]

    def __init__(self, action: Action, perform: Perform, dataset: DatasetSummary, *, braille: bool = True) -> None:
        super().__init__()
        self.action, self.perform, self.dataset = action, perform, dataset
        self.braille = braille
        self.number = 0
        self.at: float | None = None
        self.part = 0
        self.side = "state"
        self.camera = 0
        self.shows_camera = False
        self.episode: Episode | None = None
        self._parts: list[Part] = []
        self._kept: dict[tuple[int, float | None], Episode] = {}
        self._timer: Timer | None = None
        self._note = ""
        self._trouble = False
        self.head = Static(id="episode-head")
        self.traces = Traces()
        self.legend = Static(id="episode-legend")
        self.picture = Picture(id="episode-picture")
        self.foot = Static(id="episode-keys")
        self.joints = Vertical(self.traces, self.legend, id="episode-joints", classes="frame")
        self.cameras = Vertical(self.picture, id="episode-camera", classes="frame")

    def compose(self) -> ComposeResult:
        yield self.head
        with Horizontal(id="episode-body"):
            yield self.joints
            yield self.cameras
        yield self.foot

    def on_mount(self) -> None:
        self.foot.update(self._keys())
        self.place()
        self.ask(0.0)

    def on_resize(self) -> None:
        self.place()
        self.foot.update(self._keys())
        self.call_after_refresh(self.draw)

    def place(self) -> None:
        """Cameras beside the joints, or one of the two."""
        narrow = self.size.width < WIDE
        self.set_class(narrow, "-narrow")
        filmed = bool(self.dataset.cameras)
        self.joints.display = not (narrow and self.shows_camera)
        self.cameras.display = filmed and (not narrow or self.shows_camera)

    # -- asking

    def ask(self, pause: float = PAUSE) -> None:
        """Show what is wanted, from here if it was told before, else from the host, soon."""
        known = self._kept.get((self.number, self.at))
        if known is not None:
            self._take(known)
            return
        self._note, self._trouble = f"reading episode {self.number}…", False
        self.say_head()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(max(0.01, pause), self._ask)

    def _ask(self) -> None:
        self.run_worker(self._read(self.number, self.at), group="episode", exclusive=True, exit_on_error=False)

    async def _read(self, number: int, at: float | None) -> None:
        values: dict[str, Any] = {"path": self.dataset.path, "on": self.dataset.host, "episode": number}
        if at is not None:
            values["at"] = at
        try:
            async for event in self.perform(self.action, self.action.parse(values)):
                match event:
                    case Progress(text=text):
                        self._note = text
                        self.say_head()
                    case Failure():
                        raise DmG1Error(event.what, where=event.where, fix=event.fix)
                    case Result(data=data):
                        found = await asyncio.to_thread(episode_of, data)
                        self._kept = dict(list(self._kept.items())[-KEPT:])
                        self._kept[number, at] = found
                        if (number, at) == (self.number, self.at):
                            self._take(found)
        except DmG1Error as error:
            self._note, self._trouble = error.line(), True
            self.say_head()
            self.draw()

    def _take(self, episode: Episode) -> None:
        self.episode, self._note, self._trouble = episode, "", False
        self._parts = parts(episode)
        self.camera = min(self.camera, max(0, len(episode.cameras) - 1))
        self.say_head()
        self.draw()

    # -- showing

    def say_head(self) -> None:
        name = shown.name(self.dataset.name, 40)
        left = Content.assemble(
            (f" {name} ", "bold $background on $primary"), ("  ", ""), (shown.name(self.dataset.host, 20), MUTED)
        )
        of = f" of {self.dataset.episodes}" if self.dataset.episodes else ""
        left += Content.assemble(("  episode ", MUTED), (f"{self.number}", "bold"), (of, MUTED))
        episode = self.episode
        if self._note:
            style = "bold $error" if self._trouble else "$warning"
            left += Content.styled(f"  {'✗' if self._trouble else '◢'} {shown.line(self._note, 400)}", style)
        elif episode is not None:
            left += Content.styled(f"  {episode.length} frames, {shown.age(episode.seconds)}", MUTED)
            if episode.tasks:
                left += Content.assemble("  ", shown.line(" / ".join(episode.tasks), 300))
        self.head.update(left.truncate(max(1, self.size.width), ellipsis=True))

    def shown_parts(self) -> list[Part]:
        """The parts of the state or of the action; those of the other where this has none."""
        mine = [part for part in self._parts if part.column == self.side]
        return mine or self._parts

    def draw(self) -> None:
        """Draw what is chosen of the episode that is there."""
        if not self.is_mounted:
            return
        self._draw_joints()
        self._draw_camera()

    def _draw_joints(self) -> None:
        listed = self.shown_parts()
        if not listed:
            self.joints.border_title = Content.styled("Joints", "bold")
            self.legend.update(Content.styled(self._note or "no joints", FAINT))
            return
        self.part %= len(listed)
        part = listed[self.part]
        self.joints.border_title = Content.assemble(
            (shown.line(part.name, 40), "bold"),
            (f"  {part.column}  {self.part + 1} of {len(listed)}", MUTED),
        )
        self.legend.update(self._legend(part))
        if self.traces.display and self.traces.size.width:
            camera = self._camera()
            self.traces.draw_part(part, at=camera.at if camera is not None else None, braille=self.braille)

    def _legend(self, part: Part) -> Content:
        """Each line's colour, name and range, in columns."""
        entries = []
        for trace, colour in zip(part.traces, COLOURS, strict=False):
            span = trace.range
            figure = f"{shown.figure(round(span[0], 3))} to {shown.figure(round(span[1], 3))}" if span else "no value"
            entries.append(Content.assemble(("━ ", f"${colour}"), shown.name(trace.name, 24), (f"  {figure}", MUTED)))
        cell = max(each.cell_length for each in entries) + 3
        across = max(1, (self.joints.size.width - 4) // cell) if self.joints.size.width else 2
        rows = [entries[i : i + across] for i in range(0, len(entries), across)]
        return Content("\n").join(
            [Content("").join([each.pad_right(cell - each.cell_length) for each in row]).rstrip() for row in rows]
        )

    def _camera(self) -> Camera | None:
        cameras = self.episode.cameras if self.episode is not None else []
        return cameras[self.camera] if self.camera < len(cameras) else None

    def _draw_camera(self) -> None:
        camera = self._camera()
        if camera is None:
            self.cameras.border_title = Content.styled("Camera", "bold")
            self.picture.clear()
            return
        count = len(self.episode.cameras) if self.episode is not None else 1
        said = f"  at {camera.at:.2f} s  {self.camera + 1} of {count}"
        if camera.problem:
            self.picture.clear()
            self.cameras.border_title = Content.assemble(
                (shown.name(camera.name, 24), "bold"), (f"  ✗ {shown.line(camera.problem, 200)}", "$error")
            )
            return
        self.cameras.border_title = Content.assemble((shown.name(camera.name, 24), "bold"), (said, MUTED))
        self.picture.show(camera.rgb, camera.width, camera.height)

    def _keys(self) -> Content:
        offered = []
        for _, call, _, sign in KEYS:
            needed = {
                "camera": len(self.dataset.cameras) > 1,
                "time": self.dataset.cameras,
                "stage": self.size.width < WIDE,
            }
            if sign and needed.get(call.split("(")[0], True):
                key, _, word = sign.rpartition(" ")
                act = Style.from_meta({"@click": f"screen.{call if '(' in call else f'{call}()'}"})
                offered.append(Content.assemble((key, "bold $primary"), (f" {word}", MUTED)).stylize(act))
        return Content(" ") + Content("   " if self.size.width >= WIDE else "  ").join(offered)

    # -- keys

    def action_episode(self, by: int) -> None:
        last = (self.dataset.episodes or 1) - 1 if self.episode is None else max(self.episode.last, 0)
        number = min(max(0, self.number + by), max(0, last))
        if number != self.number:
            self.number, self.at = number, None
            self.ask()

    def action_part(self, by: int) -> None:
        self.part += by
        self._draw_joints()

    def action_side(self) -> None:
        """The same part of the body on the other side."""
        listed = self.shown_parts()
        name = listed[self.part % len(listed)].name if listed else ""
        self.side = "action" if self.side == "state" else "state"
        names = [part.name for part in self.shown_parts()]
        self.part = names.index(name) if name in names else 0
        self._draw_joints()

    def action_camera(self) -> None:
        count = len(self.episode.cameras) if self.episode is not None else 0
        if count:
            self.camera = (self.camera + 1) % count
            self.draw()

    def action_time(self, by: int) -> None:
        """Another moment of the cameras."""
        episode, camera = self.episode, self._camera()
        if episode is None or camera is None or not episode.seconds:
            return
        now = self.at if self.at is not None else camera.at
        self.at = round(min(max(0.0, now + by * STEP), episode.seconds - 1 / episode.fps), 3)
        self.ask()

    def action_stage(self) -> None:
        self.shows_camera = not self.shows_camera
        self.place()
        self.call_after_refresh(self.draw)

    def action_dots(self) -> None:
        self.braille = not self.braille
        self._draw_joints()

    def action_picture(self) -> None:
        from dm_isaac_g1.console.app import DmG1App

        assert isinstance(self.app, DmG1App)
        self.app.save_picture()

    def action_leave(self) -> None:
        self.dismiss(None)
