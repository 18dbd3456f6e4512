"""What all dialogs share: a box in the middle, a title, keys at its foot, escape to leave."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, TypeVar

from rich.console import RenderableType
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

T = TypeVar("T")


class Dimmed(BackgroundScreen):
    """The room behind a dialog. It has thousands of segments in a few styles: each style is dimmed once."""

    @classmethod
    def process_segments(cls, segments: Iterable[Segment], color: Color) -> Iterable[Segment]:
        dimmed: dict[Style | None, Style | None] = {}
        for segment in segments:
            if segment.control:
                yield segment
                continue
            style = segment.style
            if style not in dimmed:
                dimmed[style] = next(iter(super().process_segments([segment], color))).style
            yield Segment(segment.text, dimmed[style])


class Dialog(ModalScreen[T]):
    """A modal box. Subclasses give `title_text`, `body()` and `keys`."""

    # Parsed when the first dialog opens, not before the first frame.
    DEFAULT_CSS = (Path(__file__).with_name("dialog.tcss")).read_text(encoding="utf-8")
    SCOPED_CSS = False
    #: There is nothing to fill in: the arrows scroll.
    READS: ClassVar[bool] = False

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", show=False, priority=True),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, title_text: str, *, danger: bool = False) -> None:
        super().__init__(classes="-danger" if danger else None)
        self.title_text = title_text

    def body(self) -> list[Widget]:
        """The widgets in the box."""
        raise NotImplementedError

    def keys(self) -> list[tuple[str, str]]:
        """(key, what it does) for the foot."""
        return [("esc", "back")]

    def compose(self) -> ComposeResult:
        box = Vertical(id="box")
        box.border_title = Content.styled(self.title_text, "bold")
        with box:
            with VerticalScroll(id="body", can_focus=self.READS):
                yield from self.body()
            yield Static(self.foot(), id="keys")

    def on_resize(self) -> None:
        self.set_class(self.app.size.height < 30, "-low")

    def render(self) -> RenderableType:
        behind = super().render()
        return Dimmed(behind.screen, behind.color) if isinstance(behind, BackgroundScreen) else behind

    def foot(self) -> Content:
        parts = [Content.assemble((key, "bold $primary"), f" {what}") for key, what in self.keys()]
        return Content("   ").join(parts)

    def action_leave(self) -> None:
        self.dismiss(None)
