"""Points of one metric as three arrays side by side: what floods of millions are handed on in."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field


@dataclass(slots=True)
class Columns:
    """One metric's points in the order they came: steps (int64), values, walls (float64).

    `walls`: seconds since the epoch, NaN where the time is unknown.
    """

    steps: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    walls: array[float] = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float, wall: float) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.walls.append(wall)

    def __len__(self) -> int:
        return len(self.steps)
