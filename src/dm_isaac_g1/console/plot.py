"""textual-plot, dressed for the console: thin axes, steps below, values at the left, NaN marked where it happened.

Imported late, in a thread: it brings numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Grid
from textual_hires_canvas import Canvas
from textual_plot import HiResMode, PlotWidget
from textual_plot.axis_formatter import NumericAxisFormatter
from textual_plot.plot_widget import Legend

from dm_isaac_g1.console import series
from dm_isaac_g1.fleet.curves import Curve


class Axes(Canvas):
    """A canvas whose frame is an axis on the left and one below: the curve is what is looked at."""

    def draw_rectangle_box(self, x0: int, y0: int, x1: int, y1: int, thickness: int = 1, style: str = "white") -> None:
        for y in range(y0, y1):
            self.set_pixel(x0, y, "│", style)
        for x in range(x0 + 1, x1 + 1):
            self.set_pixel(x, y1, "─", style)
        self.set_pixel(x0, y1, "└", style)


class Plot(PlotWidget):  # type: ignore[misc]  # textual_plot is not typed for us
    """One metric of one run."""

    DEFAULT_CSS = """
    Plot > .plot--axis { color: $line; }
    Plot:focus > .plot--axis { color: $line; }
    Plot > .plot--tick { color: $muted; text-style: none; }
    """
    #: A tick by the arm that textual-plot asks for (top, right, bottom, left): only those on our two axes.
    _TICKS: ClassVar = {(0, 0, 2, 0): "┬", (0, 0, 0, 2): "┤"}

    def __init__(self) -> None:
        super().__init__(id="loss-plot")
        self.set_reactive(PlotWidget.margin_top, 0)
        self.set_reactive(PlotWidget.margin_bottom, 1)
        self.set_reactive(PlotWidget.margin_left, 8)

    def compose(self) -> ComposeResult:
        with Grid():
            yield Canvas(1, 1, id="margin-top")
            yield Canvas(1, 1, id="margin-left")
            yield Axes(1, 1, id="plot")
            yield Canvas(1, 1, id="margin-bottom")
        yield Legend(id="legend")

    def combine_quad_with_pixel(self, quad: tuple[int, int, int, int], canvas: Canvas, x: int, y: int) -> str:
        here, _ = canvas.get_pixel(x, y)
        return self._TICKS.get(quad, here) if here in "│─" else here

    def draw(self, curve: Curve, *, weight: float, log: bool, braille: bool, last_step: int | None) -> None:
        """Draw `curve`; `last_step` is where the run is planned to end: the x axis reaches there."""
        mode = HiResMode.BRAILLE if braille else HiResMode.HALFBLOCK
        colors = self.app.theme_variables
        columns = max(40, self.size.width - self.margin_left)
        raw, smoothed = series.lines(curve, columns * 4, weight=weight, log=log)
        self.clear()
        most = max(2, (self.size.height - 1) // 2)
        self.set_y_formatter(LogTicks(most) if log else Ticks(most))
        self.set_x_formatter(Ticks())
        self.plot(raw.steps, raw.values, line_style=colors["raw" if smoothed else "smooth"], hires_mode=mode)
        if smoothed is not None:
            self.plot(smoothed.steps, smoothed.values, line_style=colors["smooth"], hires_mode=mode)
        bad = series.bad_steps(curve)
        if bad:
            self.add_v_line(bad[0], line_style=colors["error"])
        end = max(last_step or 0, curve.steps[-1])
        self.set_xlimits(min(0, curve.steps[0]), end)
        if not log and len(raw.values) and raw.values.min() > 0 and raw.values.min() < raw.values.max() * 0.5:
            self.set_ylimits(0, None)
        else:
            self.set_ylimits(None, None)


class Ticks(NumericAxisFormatter):  # type: ignore[misc]
    """Numbers without trailing noise: 0.05, 2k, 1e-05. `most`: so many at most, so that no two share a row."""

    def __init__(self, most: int = 8) -> None:
        super().__init__()
        self.most = most

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return thinned(super().get_ticks(min_, max_, max_ticks), min(self.most, max_ticks))

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        # Ticks are added up: what should be zero is -2e-16.
        noise = 1e-9 * max((abs(tick) for tick in ticks), default=0.0)
        return [_short(0.0 if abs(tick) < noise else tick) for tick in ticks]


class LogTicks(NumericAxisFormatter):  # type: ignore[misc]
    """Ticks of values that are base-10 logarithms, labelled with what they stand for."""

    def __init__(self, most: int = 8) -> None:
        super().__init__()
        self.most = most

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Powers of ten; with 2 and 5 between them, or 1 to 9, where the range is short."""
        for digits in ((1,), (1, 2, 5), tuple(range(1, 10))):
            decades = range(math.floor(min_) - 1, math.ceil(max_) + 1)
            ticks = [decade + math.log10(digit) for decade in decades for digit in digits]
            inside = [tick for tick in ticks if min_ <= tick <= max_]
            if len(inside) >= 3:
                break
        return thinned(inside, min(self.most, max_ticks))

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [_short(10**tick) for tick in ticks]


def thinned(ticks: list[float], most: int) -> list[float]:
    """Every so-and-so-manyth tick, so that there are `most` at most."""
    return ticks[:: -(-len(ticks) // max(1, most)) or 1]


def _short(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 10_000 and value % 100 == 0:
        return f"{value / 1000:g}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
