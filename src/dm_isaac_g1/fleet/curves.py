"""A run's curves: columns by metric name, later points win (a resumed run logs steps again)."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

from dm_isaac_g1.core.runs import MetricPoint

#: Fewer points than this are added one by one: importing numpy would cost more.
_FEW = 256
#: Seconds that a rough time (the log's: whole ones, from the bar or from when the line was read) may be late by. Within
#: them the exact time of the same step, from an event file, wins.
ROUGH = 5.0


class Curve:
    """One metric: `steps` strictly increasing, `values` beside it, `walls` (seconds since the epoch, nan: unknown).

    `rough`: 1 where the time is only about right.
    """

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        self.walls = array("d")
        self.rough = array("b")

    def add(self, step: int, value: float, wall: float | None, *, rough: bool = False) -> None:
        """Add a point. A step that is there already takes the new value, unless the old one was logged later.

        So files of a resumed run may come in any order; a point without a time wins over what came before it.
        """
        at = float("nan") if wall is None else wall
        if not self.steps or step > self.steps[-1]:
            self.steps.append(step)
            self.values.append(value)
            self.walls.append(at)
            self.rough.append(rough)
            return
        index = bisect_left(self.steps, step)
        if self.steps[index] != step:
            self.steps.insert(index, step)
            self.values.insert(index, value)
            self.walls.insert(index, at)
            self.rough.insert(index, rough)
        elif not at - ROUGH * rough < self.walls[index] - ROUGH * self.rough[index]:
            self.values[index] = value
            # A value without a time, from the log, keeps the time that is known.
            if wall is not None:
                self.walls[index] = at
                self.rough[index] = rough

    def extend_columns(self, steps: array[int], values: array[float], walls: array[float]) -> None:
        """Add many points at once, their times exact, with the same rule; the columns need not be in order."""
        if len(steps) < _FEW:
            for step, value, wall in zip(steps, values, walls, strict=True):
                self.add(step, value, None if wall != wall else wall)
            return
        import numpy as np

        new = (np.frombuffer(steps, np.int64), np.frombuffer(values), np.frombuffer(walls))
        rising = bool((np.diff(new[0]) > 0).all())
        if rising and (not self.steps or steps[0] > self.steps[-1]):
            self.steps.extend(steps)
            self.values.extend(values)
            self.walls.extend(walls)
            self.rough.frombytes(bytes(len(steps)))
            return
        # Only the part of the curve that they fall into is looked at.
        low = bisect_left(self.steps, int(new[0].min()))
        high = bisect_right(self.steps, int(new[0].max()))
        old: tuple[array[Any], ...] = (self.steps[low:high], self.values[low:high], self.walls[low:high])
        all_steps, all_values, all_walls = (
            np.concatenate([np.frombuffer(o, n.dtype), n]) for o, n in zip(old, new, strict=True)
        )
        all_rough = np.append(np.frombuffer(self.rough[low:high], np.int8), np.zeros(len(steps), np.int8))
        # Among equal steps the latest wall time wins, among equal ones the last to come; a point without a time wins
        # over those before it, and loses to those after it.
        came = np.arange(len(all_steps))
        known = np.where(
            np.isnan(all_walls), np.where(came < high - low, -np.inf, np.inf), all_walls - ROUGH * all_rough
        )
        order = np.lexsort((came, known, all_steps))
        ordered = all_steps[order]
        keep = order[np.append(ordered[1:] != ordered[:-1], True)]
        self.steps[low:high] = array("q", all_steps[keep].tobytes())
        self.values[low:high] = array("d", all_values[keep].tobytes())
        self.walls[low:high] = array("d", all_walls[keep].tobytes())
        self.rough[low:high] = array("b", all_rough[keep].tobytes())

    def __len__(self) -> int:
        return len(self.steps)


class Curves:
    """All curves of a run, by name ("loss", "grad_norm", "learning_rate"...)."""

    def __init__(self) -> None:
        self.by_name: dict[str, Curve] = {}

    def extend(self, points: Iterable[MetricPoint], *, rough: bool = False) -> None:
        """Add points; `rough`: their times are only about right (`ROUGH`)."""
        for point in points:
            self.by_name.setdefault(point.name, Curve()).add(point.step, point.value, point.wall, rough=rough)

    def extend_columns(self, name: str, steps: array[int], values: array[float], walls: array[float]) -> None:
        """Add many points of one metric at once, as `finetuning.tfevents` gives them on a cold start."""
        self.by_name.setdefault(name, Curve()).extend_columns(steps, values, walls)

    def last(self, name: str) -> float | None:
        curve = self.by_name.get(name)
        return curve.values[-1] if curve else None
