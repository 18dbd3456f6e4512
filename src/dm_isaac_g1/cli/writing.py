"""Events on their way out: JSON lines for scripts; for people tables and sentences on stdout, progress on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Protocol

import click

from dm_isaac_g1.cli import data_views, views
from dm_isaac_g1.cli.figure import Figure, figure, moves
from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.remote.clean import clean, clean_tree


class Writer(Protocol):
    def write(self, event: ev.Event) -> None:
        """Show one event. Raises BrokenPipeError when nobody reads any more."""

    def close(self) -> None:
        """Nothing more comes; a terminal is left as it was."""


def writer(action: str, *, json: bool) -> Writer:
    """The writer for an action's events."""
    return JsonWriter() if json else TextWriter(action)


class JsonWriter:
    """One JSON line an event, flushed at once: a reader in a pipe is never behind."""

    def write(self, event: ev.Event) -> None:
        for each in ev.wire(event):
            sys.stdout.buffer.write(ev.encode(each) + b"\n")
        sys.stdout.buffer.flush()

    def close(self) -> None:
        pass


class TextWriter:
    """For people. What makes up a table is gathered and printed when the action ends, or before other text."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._rows: list[ev.Event] = []
        #: The last line of a log was unfinished, and may be replaced.
        self._open: str | None = None
        #: What each standing alert said last: its detail counts down, and is no news.
        self._alerts: dict[str, str] = {}
        self._figure: Figure | None = None

    def close(self) -> None:
        if self._figure is not None:
            self._figure.hide()

    def write(self, event: ev.Event) -> None:
        match event:
            case ev.Log():
                self._log(event)
            case ev.Progress() if moves(event):
                self._figure = self._figure or figure()
                self._figure.show(event)
            case ev.Progress():
                self._say(views.progress(event), err=True)
            case ev.Alert(cleared=True):
                self._alerts.pop(event.key, None)
            case ev.Alert():
                if self._alerts.get(event.key) != event.title:
                    self._alerts[event.key] = event.title
                    self._say(views.alert(event), err=True)
            case ev.Failure():
                self._flush()
                error = DmG1Error(event.what, where=event.where, fix=event.fix)
                self._say(f"dm-g1: {error.line()}", err=True)
            case ev.Result():
                self._flush()
                self.close()
                for line in data_views.shown(self._action, clean_tree(event.data)):  # type: ignore[arg-type]
                    click.echo(line)
                if event.text and self._action not in QUIET:
                    self._say(f"dm-g1: {event.text}" if event.code else event.text, err=event.code != 0)
            case ev.Job() if self._action in TOLD:
                pass
            case _:
                self._rows.append(event)

    def _flush(self) -> None:
        self._end_line()
        for line in views.lines(self._rows, time.time()):
            self._say(line)
        self._rows = []

    def _log(self, event: ev.Log) -> None:
        """Lines of a log. A line without an end yet (a progress bar) waits for it; a terminal shows it meanwhile."""
        self.close()
        if event.dropped:
            self._say(f"… {event.dropped} lines left out", err=True)
        if event.source == "stderr":
            for line in event.lines:
                click.echo(line, err=True)
            return
        terminal = sys.stdout.isatty()
        if terminal and self._open is not None:
            click.echo("\r\x1b[K", nl=False)
        if self._open is not None and not event.replaced:
            click.echo(self._open)
        lines, self._open = list(event.lines), None
        if event.unfinished and lines:
            self._open = lines.pop()
        for line in lines:
            click.echo(line)
        if terminal and self._open:
            click.echo(self._open[: shutil.get_terminal_size().columns - 1], nl=False)

    def _end_line(self) -> None:
        if self._open is not None:
            click.echo("" if sys.stdout.isatty() else self._open)
            self._open = None

    def _say(self, text: str, *, err: bool = False) -> None:
        """Say a line or more. What comes from hosts was cleaned when it came; what comes from files is here."""
        self.close()
        click.echo("\n".join(map(clean, text.split("\n"))), err=err)


#: Actions whose result says nothing that was not shown, and those whose sentences say all of their job.
QUIET = frozenset({"remote.exec", "train.logs"})
TOLD = frozenset({"train.stop", "train.start", "infer.serve", "infer.export", "infer.benchmark"})
