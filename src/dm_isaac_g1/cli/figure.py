"""The figure that moves while an action works: a bar on the last line of a terminal, a line now and then in a pipe."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Protocol

import click

from dm_isaac_g1.cli import views
from dm_isaac_g1.core.events import Progress
from dm_isaac_g1.remote.clean import clean

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

#: Seconds between two lines of one figure in a pipe or a log.
EVERY = 10.0


class Figure(Protocol):
    def show(self, event: Progress) -> None:
        """Show where it is."""

    def hide(self) -> None:
        """Make room for other text; the next `show` is below it."""


def figure() -> Figure:
    """What stderr can show."""
    return Bar() if sys.stderr.isatty() else Lines()


def moves(event: Progress) -> bool:
    """Whether the event is one of many that show the same figure further on. A training's steps are its log."""
    return event.done is not None and event.unit != "steps"


class Bar:
    """A bar. It is gone once there is something else to say: what is worth keeping is said in the end."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._what: tuple[float | None, str] | None = None

    def show(self, event: Progress) -> None:
        bars = self._bars = self._bars or _bars()
        what = (event.total, event.unit)
        if self._task is None or what != self._what:
            if self._task is not None:
                bars.remove_task(self._task)
            self._what = what
            self._task = bars.add_task("", total=event.total, figures="")
        bars.start()
        bars.update(
            self._task,
            description=clean(event.text),
            completed=event.done or 0.0,
            figures=views.figures(event),
            refresh=True,
        )

    def hide(self) -> None:
        if self._bars is not None:
            self._bars.stop()


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    words = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Bars(
        # No markup: the text may come from a host or a dataset.
        TextColumn("{task.description}", markup=False, table_column=words),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
        # Room for the terminal's own "^C", which would push the bar up a line and leave it there.
        console=Console(stderr=True, highlight=False, width=max(20, shutil.get_terminal_size().columns - 3)),
        auto_refresh=False,
        transient=True,
        expand=True,
    )


class Lines:
    """A line when a figure begins, every EVERY seconds, and when it is complete."""

    def __init__(self) -> None:
        self._what: tuple[float | None, str] | None = None
        self._said = 0.0
        self._complete = False

    def show(self, event: Progress) -> None:
        what, now = (event.total, event.unit), time.monotonic()
        new = what != self._what
        complete = event.total is not None and event.done is not None and event.done >= event.total
        if not new and not (complete and not self._complete) and now - self._said < EVERY:
            return
        self._what, self._said, self._complete = what, now, complete
        click.echo(clean(views.progress(event)), err=True)

    def hide(self) -> None:
        pass
