"""Events on their way out: JSON lines for scripts; for people tables and sentences on stdout, progress on stderr."""

from __future__ import annotations

import sys
import time
from typing import Protocol

import click

from dm_isaac_g1.cli import views
from dm_isaac_g1.core import events as ev


class Writer(Protocol):
    def write(self, event: ev.Event) -> None:
        """Show one event. Raises BrokenPipeError when nobody reads any more."""


def writer(action: str, *, json: bool) -> Writer:
    """The writer for an action's events."""
    return JsonWriter() if json else TextWriter(action)


class JsonWriter:
    """One JSON line an event, flushed at once: a reader in a pipe is never behind."""

    def write(self, event: ev.Event) -> None:
        sys.stdout.buffer.write(ev.encode(event) + b"\n")
        sys.stdout.buffer.flush()


class TextWriter:
    """For people. What makes up a table is gathered and printed when the action ends, or before other text."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._rows: list[ev.Event] = []
        #: The last line of a log was unfinished, and may be replaced.
        self._open = ""

    def write(self, event: ev.Event) -> None:
        match event:
            case ev.Log():
                self._log(event)
            case ev.Progress():
                self._say(views.progress(event), err=True)
            case ev.Alert(cleared=False):
                self._say(views.alert(event), err=True)
            case ev.Failure():
                self._flush()
                error = " ".join(part for part in (f"{event.where}: {event.what}" if event.where else event.what,))
                self._say(f"dm-g1: {error}" + (f"; {event.fix}" if event.fix else ""), err=True)
            case ev.Result():
                self._flush()
                if event.text and self._action not in QUIET:
                    self._say(event.text)
            case _:
                self._rows.append(event)
                if self._action in LIVE:
                    self._flush()

    def _flush(self) -> None:
        for line in views.lines(self._rows, time.time()):
            self._say(line)
        self._rows = []

    def _log(self, event: ev.Log) -> None:
        """Lines of a log. A line that may be replaced yet (a progress bar) is held back until its end."""
        lines = list(event.lines)
        if event.dropped:
            self._say(f"… {event.dropped} lines left out", err=True)
        if event.source == "stderr":
            for line in lines:
                click.echo(line, err=True)
            return
        for line in lines:
            click.echo(line)

    def _say(self, text: str, *, err: bool = False) -> None:
        click.echo(text, err=err)


#: Actions whose result says nothing that was not shown; and those whose events are shown as they come.
QUIET = frozenset({"remote.exec", "train.logs"})
LIVE = frozenset({"train.stop", "train.start"})
