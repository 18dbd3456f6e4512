"""The plot of the selected run: raw and smoothed, linear or logarithmic, any of its metrics.

textual-plot and numpy are imported in a thread once a run has a curve; until then, and without one, the pane is a
line of text. A redraw costs about 17 ms, so a live curve is drawn at most once a second.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import time
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from dm_isaac_g1.console import shown
from dm_isaac_g1.console.marks import FAINT, MUTED
from dm_isaac_g1.console.panes.pane import View, retitle, title
from dm_isaac_g1.console.smoothing import WEIGHTS, smooth

if TYPE_CHECKING:
    from dm_isaac_g1.console.plot import Plot
    from dm_isaac_g1.fleet.curves import Curve

#: Seconds between two drawings of a live curve.
INTERVAL = 1.0
#: The metric shown first, and the order of the rest.
FIRST = ("loss", "train_loss", "eval_loss", "grad_norm", "learning_rate")


def spans_decades(curve: Curve) -> bool:
    """Are all values positive, and the largest more than a hundred times the smallest?"""
    values = [value for value in curve.values if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) > 100 * min(values)


class Loss(Container):
    """The plot and its choices."""

    def __init__(self, view: View, log_scale: bool | None = None, weight: float = 0.9) -> None:
        super().__init__(id="loss")
        self.view = view
        self.metric = "loss"
        #: None: a curve that falls over more than two decades is drawn on a log scale, where its end can be seen.
        self.log_scale = log_scale
        self.weight = weight
        self._plot: Plot | None = None
        self._loading = False
        self._drawn: tuple[object, ...] | None = None
        self._drawn_at = 0.0
        self._note = ""
        self._later: Timer | None = None
        retitle(self, title("Loss"))

    def compose(self) -> ComposeResult:
        yield Static(Content.styled("The selected run's loss.", FAINT), id="loss-note")

    def concerns(self, topics: frozenset[str]) -> bool:
        return f"curves:{self.view.run}" in topics

    # -- choices

    def metrics(self) -> list[str]:
        run = self.view.selected
        names = [name for name, curve in run.curves.by_name.items() if len(curve)] if run else []
        return sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))

    def next_metric(self) -> None:
        names = self.metrics()
        if names:
            at = names.index(self.metric) if self.metric in names else -1
            self.metric = names[(at + 1) % len(names)]
            self.draw()

    def toggle_log(self) -> None:
        curve = self.curve
        wanted = not (curve is not None and self._log(curve))
        # What would be done anyway is no choice: each curve is judged by itself again.
        self.log_scale = None if curve is not None and wanted == spans_decades(curve) else wanted
        self.draw()

    def _log(self, curve: Curve) -> bool:
        """Is this curve drawn on a log scale?"""
        return spans_decades(curve) if self.log_scale is None else self.log_scale

    def smoother(self, by: int) -> None:
        at = min(range(len(WEIGHTS)), key=lambda i: abs(WEIGHTS[i] - self.weight))
        self.weight = WEIGHTS[min(len(WEIGHTS) - 1, max(0, at + by))]
        self.draw()

    # -- drawing

    @property
    def curve(self) -> Curve | None:
        run = self.view.selected
        if run is None:
            return None
        if self.metric not in run.curves.by_name and (names := self.metrics()):
            self.metric = names[0]
        curve = run.curves.by_name.get(self.metric)
        return curve if curve is not None and len(curve) else None

    def sync(self) -> None:
        """Draw now if the last drawing is old enough, else when it is."""
        wait = self._drawn_at + INTERVAL - time.monotonic()
        fresh = self._drawn is None or self._drawn[0] != self.view.run
        if wait <= 0 or fresh:
            self.draw()
        elif self._later is None:
            self._later = self.set_timer(wait, self.draw)

    def draw(self) -> None:
        if self._later is not None:
            self._later.stop()
            self._later = None
        curve = self.curve
        if curve is not None and len(curve) == 1 and self.view.selected is not None:
            # One value is no curve: of an older run its last, until the rest is read.
            curve = None if self.view.selected.job.state.ended else curve
        self.set_class(curve is None, "-empty")
        if curve is None:
            self._drawn = None
            if self._note == (note := self._words()):
                return
            self._note = note
            retitle(self, title("Loss"))
            self.query_one("#loss-note", Static).update(Content.styled(note, FAINT))
            return
        self._note = ""
        if self._plot is None:
            if not self._loading:
                self._loading = True
                self.run_worker(self._load(), exit_on_error=False)
            return
        log = self._log(curve)
        state = (self.view.run, self.metric, log, self.weight, self.view.braille, self.app.theme)
        stamp = (*state, len(curve), curve.steps[-1], curve.values[-1], self._plot.size)
        self._drawn_at = time.monotonic()
        if stamp == self._drawn:
            return
        self._drawn = stamp
        self._title(curve, log)
        self._plot.draw(
            curve,
            weight=self.weight,
            log=log,
            braille=self.view.braille,
            last_step=self._planned_end(),
        )

    def _words(self) -> str:
        """What stands there without a curve."""
        run = self.view.selected
        if run is None:
            return "The selected run's loss, raw and smoothed."
        if (curve := self.curve) is not None:
            return f"Its last {self.metric} is {shown.figure(curve.values[-1])}, at step {curve.steps[-1]}."
        return "This run logged no value." if run.job.state.ended else "No value logged yet."

    async def _load(self) -> None:
        module = await asyncio.to_thread(importlib.import_module, "dm_isaac_g1.console.plot")
        plot: Plot = module.Plot()
        await self.mount(plot)
        self._plot = plot
        self.call_after_refresh(self.draw)

    def on_resize(self) -> None:
        self._drawn = None
        self.call_after_refresh(self.draw)

    def _planned_end(self) -> int | None:
        run = self.view.selected
        return run.job.spec.save.max_steps if run and run.job.spec.save else None

    def _title(self, curve: Curve, log: bool) -> None:
        last = curve.values[-1]
        smoothed = smooth(curve.values[-400:], self.weight)[-1]
        bad = not math.isfinite(last)
        parts: list[Content] = [
            Content.styled(f"step {curve.steps[-1]}  ", MUTED),
            Content.styled(shown.figure(last), "bold $error" if bad else "bold"),
        ]
        if self.weight:
            parts.append(
                Content.assemble(("  ━ ", "$smooth"), (f"smoothed {shown.figure(smoothed)} ({self.weight:g})", MUTED))
            )
        if log:
            parts.append(Content.styled("  log scale", "$primary"))
        name = "Loss" if self.metric == "loss" else shown.name(self.metric, 32)
        retitle(self, title(name, Content("").join(parts)))
