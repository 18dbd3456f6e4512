"""A list of text rows, drawn a line at a time: only rows that changed are painted again.

The Line API is what keeps a pane cheap (a full redraw of a 40-row pane costs less than a millisecond); it is the
base of every pane but the plot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual


class Late:
    """A row that is made when it is first on the screen: of a list of hundreds most never are."""

    __slots__ = ("_content", "_make")

    def __init__(self, make: Callable[[], Content]) -> None:
        self._make = make
        self._content: Content | None = None

    @property
    def content(self) -> Content:
        if self._content is None:
            self._content = self._make()
        return self._content


def _same(old: Content | Late, new: Content | Late) -> bool:
    """Whether two rows look the same; of late ones only one and the same does."""
    return old is new or (isinstance(old, Content) and isinstance(new, Content) and old.is_same(new))


class Rows(ScrollView, can_focus=True):
    """Rows of content; with `selectable`, a cursor among those that have a key."""

    DEFAULT_CSS = """
    Rows { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Rows > .rows--cursor { background: $cursor-bg; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--cursor"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(-1)", "First", show=False),
        Binding("end", "edge(1)", "Last", show=False),
    ]

    class Selected(Message):
        """The cursor moved to the row with this key."""

        def __init__(self, rows: Rows, key: str) -> None:
            self.rows, self.key = rows, key
            super().__init__()

        @property
        def control(self) -> Rows:
            return self.rows

    def __init__(self, *, id: str | None = None, selectable: bool = False, head: bool = False) -> None:
        super().__init__(id=id)
        self.selectable = selectable
        #: The first row stays in view: titles of columns.
        self.head = head
        self.selected: str | None = None
        self._rows: list[Content | Late] = []
        self._keys: list[str | None] = []
        self._strips: dict[int, Strip] = {}

    def show(self, rows: Sequence[Content | Late], keys: Sequence[str | None] | None = None) -> None:
        """Replace the rows; paints only those that differ. `keys` name the rows that the cursor may stand on."""
        before, self._rows = self._rows, list(rows)
        self._keys = list(keys) if keys is not None else [None] * len(self._rows)
        if len(before) != len(self._rows):
            self._strips.clear()
            self._fit()
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if not _same(old, new):
                self._strips.pop(y, None)
                self.refresh(Region(0, y - self._offset(y), self._width, 1))

    def _fit(self) -> None:
        """Tell Textual how many rows there are. `virtual_size` lays the whole screen out again when it changes, which
        costs ten times what a new line of a log does: that is done only when the scrollbar comes or goes."""
        size = Size(self._width, len(self._rows))
        needs_bar = size.height > self.scrollable_content_region.height
        if needs_bar != self.show_vertical_scrollbar or not self.is_attached:
            self.virtual_size = size
            return
        self.set_reactive(Rows.virtual_size, size)
        if needs_bar:
            self.vertical_scrollbar.window_virtual_size = size.height
        self.scroll_y = min(self.scroll_y, float(self.max_scroll_y))

    def select(self, key: str | None) -> None:
        """Put the cursor on a row without telling anybody."""
        if key == self.selected:
            return
        self.selected = key
        self._strips.clear()
        self.refresh()

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    def _offset(self, y: int) -> int:
        return 0 if self.head and y == 0 else int(self.scroll_offset.y)

    def render_line(self, y: int) -> Strip:
        index = y if self.head and y == 0 else y + int(self.scroll_offset.y)
        width = self.scrollable_content_region.width
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        strip = self._strips.get(index)
        if strip is None or strip.cell_length != width:
            strip = self._strips[index] = self._render_row(index, width)
        return strip

    def _render_row(self, index: int, width: int) -> Strip:
        style = self.visual_style
        if self.selectable and self.selected is not None and self._keys[index] == self.selected:
            style += self.get_visual_style("rows--cursor")
        row = self._rows[index]
        content = (row.content if isinstance(row, Late) else row).truncate(width, ellipsis=True)
        strips = Visual.to_strips(self, content, width, 1, style, pad=True)
        return strips[0] if strips else Strip.blank(width, style.rich_style)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()

    def on_resize(self) -> None:
        self._strips.clear()
        self.virtual_size = Size(self._width, len(self._rows))

    # -- the cursor

    def action_move(self, by: int) -> None:
        keys = [key for key in self._keys if key is not None]
        if not self.selectable or not keys:
            self.scroll_relative(y=by, animate=False)
            return
        at = keys.index(self.selected) if self.selected in keys else 0
        self._go(keys[min(len(keys) - 1, max(0, at + by))])

    def action_page(self, by: int) -> None:
        rows = max(1, self.scrollable_content_region.height - 1)
        self.action_move(by * rows)

    def action_edge(self, to: int) -> None:
        if self.selectable:
            self.action_move(to * len(self._rows))
        elif to < 0:
            self.scroll_home(animate=False)
        else:
            self.scroll_end(animate=False)

    def on_click(self, event: events.Click) -> None:
        y = event.get_content_offset_capture(self).y
        index = y if self.head and y == 0 else y + int(self.scroll_offset.y)
        if self.selectable and 0 <= index < len(self._keys) and (key := self._keys[index]) is not None:
            self._go(key)

    def _go(self, key: str) -> None:
        changed = key != self.selected
        self.select(key)
        y = self._keys.index(key)
        top, height = int(self.scroll_offset.y), self.scrollable_content_region.height
        first = top + (1 if self.head else 0)
        if y < first:
            self.scroll_to(y=y - (1 if self.head else 0), animate=False)
        elif y >= top + height:
            self.scroll_to(y=y - height + 1, animate=False)
        if changed:
            self.post_message(self.Selected(self, key))
