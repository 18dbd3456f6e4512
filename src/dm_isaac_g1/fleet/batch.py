"""Lines and points of one run gathered for a moment, so that a flood is a few events and not thousands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from dm_isaac_g1.core.columns import Columns
from dm_isaac_g1.core.events import Event, Log, MetricColumns, Metrics
from dm_isaac_g1.core.runs import MetricPoint, TrainProgress
from dm_isaac_g1.fleet.logs import KEPT

#: Seconds that a line or a point waits at most for others; a log line is to be in the store within 50 ms.
WAIT = 0.02


class Batch:
    """Gathers what is read of a run and hands it on as events, in order. Lines beyond what a log keeps are counted."""

    def __init__(self, host: str, run: str, apply: Callable[[Event], None]) -> None:
        self._host, self._run, self._apply = host, run, apply
        self._lines: list[str] = []
        self._replaced = False
        self._unfinished = False
        self._dropped = 0
        self._points: list[MetricPoint] = []
        self._progress: TrainProgress | None = None
        self._told: TrainProgress | None = None
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def lines(self, lines: tuple[str, ...], *, replaced: bool, unfinished: bool = False) -> None:
        """Lines as `LineSplitter` gives them: with `replaced` the first takes the place of the last one given."""
        self._unfinished = unfinished
        if not lines:
            return
        if replaced and self._lines:
            self._lines[-1] = lines[0]
            self._lines.extend(lines[1:])
        else:
            self._replaced = self._replaced or (replaced and not self._dropped)
            self._lines.extend(lines)
        over = len(self._lines) - KEPT
        if over > 0:
            # What goes first may have been the replacement; what it would replace is older than all that is kept.
            del self._lines[:over]
            self._dropped += over - self._replaced
            self._replaced = False
        self._soon()

    def points(
        self, points: Iterable[MetricPoint], progress: TrainProgress | None = None, at: float | None = None
    ) -> None:
        """Points of the curves, and where the training is (or was, at `at`)."""
        self._at = at
        self._points.extend(points)
        if progress is not None:
            self._progress = progress
        if self._points or self._progress != self._told:
            self._soon()

    def columns(self, columns: dict[str, Columns]) -> None:
        """A flood of points: handed on at once, after what is gathered."""
        if columns:
            self.flush()
            self._apply(MetricColumns(host=self._host, run=self._run, columns=columns))

    def flush(self) -> None:
        """Hand on what is gathered, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._points or (self._progress is not None and self._progress != self._told):
            points, self._points = tuple(self._points), []
            self._told = self._progress
            at = time.time() if self._at is None else self._at
            self._apply(Metrics(at=at, host=self._host, run=self._run, points=points, progress=self._progress))
        if self._lines:
            lines, self._lines = tuple(self._lines), []
            replaced, self._replaced = self._replaced, False
            dropped, self._dropped = self._dropped, 0
            self._apply(
                Log(
                    host=self._host,
                    source=self._run,
                    lines=lines,
                    replaced=replaced,
                    dropped=dropped,
                    unfinished=self._unfinished,
                )
            )

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.flush()
