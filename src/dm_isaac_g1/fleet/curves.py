"""A run's curves: columns by metric name, later points win (a resumed run logs steps again)."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from dm_isaac_g1.core.runs import MetricPoint


class Curve:
    """One metric: `steps` strictly increasing, `values` beside it, `walls` (seconds since the epoch, nan: unknown)."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        self.walls = array("d")

    def add(self, step: int, value: float, wall: float | None) -> None:
        """Add a point; a step that is there already takes the new value."""
        at = float("nan") if wall is None else wall
        if not self.steps or step > self.steps[-1]:
            self.steps.append(step)
            self.values.append(value)
            self.walls.append(at)
            return
        index = bisect_left(self.steps, step)
        if self.steps[index] == step:
            self.values[index], self.walls[index] = value, at
        else:
            self.steps.insert(index, step)
            self.values.insert(index, value)
            self.walls.insert(index, at)

    def __len__(self) -> int:
        return len(self.steps)


class Curves:
    """All curves of a run, by name ("loss", "grad_norm", "learning_rate"...)."""

    def __init__(self) -> None:
        self.by_name: dict[str, Curve] = {}

    def extend(self, points: Iterable[MetricPoint]) -> None:
        for point in points:
            self.by_name.setdefault(point.name, Curve()).add(point.step, point.value, point.wall)

    def last(self, name: str) -> float | None:
        curve = self.by_name.get(name)
        return curve.values[-1] if curve else None
