"""The selected run's log, live: it follows the end until the user scrolls up, and again when they are back there.

A view over the store's `LogBuffer`: what is not visible costs nothing, and a flood is one repaint.
"""

from __future__ import annotations

from textual.content import Content

from dm_isaac_g1.console import shown
from dm_isaac_g1.console.marks import FAINT, MUTED
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.rows import Rows
from dm_isaac_g1.fleet.store import RunView

#: Cells that a step sideways goes, and the most that a line is followed.
STEP, FARTHEST = 40, 2000
#: What a line is about, by what stands in it: the first that is found colours it (the words stay what they are).
_TINTS = (
    (("Traceback", "Error", "error:", "CRITICAL", "FATAL"), "$error"),
    (("WARNING", "Warning", "warn"), "$warning"),
    (("'loss'", '"loss"', "loss:"), ""),
    (("Saving", "saved", "checkpoint-"), "$success"),
    (("it/s]", "s/it]"), "$muted"),
)


def tint(text: str) -> str:
    """The style of a log line."""
    return next((style for words, style in _TINTS if any(word in text for word in words)), "")


class LogTail(Rows):
    """The tail of a log."""

    def __init__(self, view: View) -> None:
        super().__init__(id="log")
        self.view = view
        self.following = True
        #: The column of a line that stands at the left edge.
        self.column = 0
        self._shown: tuple[str | None, int, str, str] = (None, -1, "", "")
        retitle(self, title("Log"))

    def concerns(self, topics: frozenset[str]) -> bool:
        return f"log:{self.view.run}" in topics

    def sync(self) -> None:
        run = self.view.selected
        if run is None:
            retitle(self, title("Log"))
            self._shown = (None, -1, "", "")
            self.following = True
            self.show([Content.styled("The selected run's output, live.", FAINT)])
            return
        buffer = run.log
        last = buffer.lines[-1] if buffer.lines else ""
        stamp = (run.id, buffer.total, last, self.view.filter)
        if stamp == self._shown:
            return
        fresh = self._shown[0] != run.id
        gone = (
            0 if fresh else max(0, buffer.total - max(0, self._shown[1])) - max(0, len(buffer.lines) - len(self._rows))
        )
        self._shown = stamp
        self.following = self.following or fresh
        # The deque is small (5,000 lines) and copying it takes microseconds; a line is rendered when it is seen.
        self._strips.clear()
        self._lines = list(buffer.lines)
        if self.view.filter:
            self._lines = [line for line in self._lines if self.view.filter in line.lower()]
        self.column = 0 if fresh else self.column
        self._rows, self._keys = _Lazy(self._lines, self.column), []  # type: ignore[assignment]
        if not self._lines:
            self._rows = [Content.styled(_nothing(run, self.view.filter), MUTED)]
        self._fit()
        if self.following:
            self.scroll_end(animate=False, immediate=True, force=True)
        elif gone > 0:
            # Lines fell off the top: what the reader looks at stays where it is.
            self.scroll_to(y=max(0, self.scroll_offset.y - gone), animate=False, immediate=True, force=True)
        self._say()
        self.refresh()
        if fresh:
            self.call_after_refresh(self._place_thumb)

    def sideways(self, by: int) -> None:
        """Show the lines from another column on."""
        column = min(FARTHEST, max(0, self.column + by * STEP))
        if column == self.column or not isinstance(self._rows, _Lazy):
            return
        self.column = column
        self._rows = _Lazy(self._lines, column)
        self._strips.clear()
        self._say()
        self.refresh()

    def _say(self) -> None:
        run = self.view.selected
        if run is None:
            return
        state = "" if self.following else f"  paused {self._below()} lines above the end, End follows"
        dropped = f"  {run.log.dropped} lines were left out" if run.log.dropped else ""
        column = f"  from column {self.column + 1}, ← goes back" if self.column else ""
        parts = [(shown.name(run.id, 48), MUTED), *((text, "$warning") for text in (column, state, dropped))]
        detail = Content.assemble(*parts)
        retitle(self, title("Log", detail))

    def _below(self) -> int:
        return max(0, len(self._rows) - int(self.scroll_offset.y) - self.scrollable_content_region.height)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        following = self.max_scroll_y - new_value < 1
        if following != self.following or not following:
            self.following = following
            self._say()

    def on_resize(self) -> None:
        super().on_resize()
        if self.following:
            self.scroll_end(animate=False, immediate=True, force=True)
            self.call_after_refresh(self._place_thumb)

    def _place_thumb(self) -> None:
        """A scrollbar that appeared after the view was scrolled doesn't know where it stands."""
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = self.scroll_y


def _nothing(run: RunView, filtered: str) -> str:
    """Why there is no line."""
    if filtered and run.log.lines:
        return "No line matches the filter."
    return "No line of its log is read." if run.job.state.ended else "Nothing written yet."


class _Lazy:
    """Lines as rows of content, each made when it is asked for."""

    def __init__(self, lines: list[str], column: int = 0) -> None:
        self._lines, self._column = lines, column

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Content:
        text = shown.line(self._lines[index], FARTHEST + 512)
        return Content.styled(text[self._column :], tint(text))
