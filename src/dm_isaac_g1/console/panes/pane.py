"""What all panes share: a frame with a title, and how they are told what changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from textual.content import Content
from textual.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Callable

    from dm_isaac_g1.fleet.store import RunView, Store


@dataclass(slots=True)
class View:
    """What the panes look at: the store, the clock, and what the user chose. One per Overview, changed in place."""

    store: Store
    clock: Callable[[], float]
    #: The selected run's id.
    run: str | None = None
    filter: str = ""
    braille: bool = True
    #: The two-column arrangement is on.
    wide: bool = True
    #: The pane that has the whole screen.
    zoomed: str | None = None

    @property
    def selected(self) -> RunView | None:
        return self.store.runs.get(self.run) if self.run is not None else None


class Pane(Protocol):
    """A pane of the Overview."""

    def concerns(self, topics: frozenset[str]) -> bool:
        """Does any of these topics of the store change what is shown?"""

    def sync(self) -> None:
        """Show the store as it is now; paints only what differs."""


def title(name: str, detail: Content | str = "") -> Content:
    """A pane's title: its name, then what it is about in a quieter voice."""
    if isinstance(detail, str):
        detail = Content.styled(detail, "$muted") if detail else Content("")
    parts = [Content.styled(name, "bold")]
    if detail.plain:
        parts += [Content("  "), detail]
    return Content("").join(parts)


#: Textual hands a title back as markup only; this is what was last said.
_titles: WeakKeyDictionary[Widget, Content] = WeakKeyDictionary()


def retitle(widget: Widget, content: Content) -> None:
    """Give a frame another title; the same one again paints nothing."""
    before = _titles.get(widget)
    if before is None or not before.is_same(content):
        _titles[widget] = content
        widget.border_title = content
