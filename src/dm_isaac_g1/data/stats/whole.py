"""meta/stats.json: the statistics of every column over all frames.

GR00T's form and definition: generate_stats of NVIDIA's Isaac-GR00T N1.6, gr00t/data/stats.py: every feature whose dtype
is a float (so timestamp, too), cast to float32; mean, std with ddof 0, min, max, q01 and q99 by linear interpolation.
NVIDIA sums in float32, which drifts by 0.2 % in 300,000 frames; here mean and std are float64's, and all else is bit
for bit what float64 gives.

LeRobot v3.0's form: all numeric features in their own precision, ten statistics (lerobot 0.4.4, compute_stats.py,
which estimates its quantiles from histograms; here they are exact).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.info import Feature
from dm_isaac_g1.data.problems import DataError
from dm_isaac_g1.data.stats.column import groot_statistics, lerobot_statistics
from dm_isaac_g1.data.stats.episode import QUANTILES, Statistics
from dm_isaac_g1.data.stats.spool import Spool
from dm_isaac_g1.data.work import Work

Array = NDArray[Any]


class WholeStatistics:
    """A context manager that is given one episode after another. Memory does not grow with them.

    `lerobot`: v3.0's form instead of GR00T's. `folder`: where large columns may lie meanwhile.
    """

    def __init__(self, features: Mapping[str, Feature], *, folder: Path, lerobot: bool = False) -> None:
        self._lerobot = lerobot
        self._places: dict[str, slice] = {}
        width = 0
        for name, feature in features.items():
            if feature.is_float or (lerobot and feature.is_numeric):
                self._places[name] = slice(width, width + feature.width)
                width += feature.width
        self._width = width
        self._features = features
        self._spool = Spool(max(width, 1), np.float64 if lerobot else np.float32, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def add(self, columns: Mapping[str, Array]) -> None:
        """One episode, column -> (frames, width) or (frames,). Raises DataError (beyond float32), "disk-full"."""
        frames = len(next(iter(columns.values())))
        rows = np.empty((max(self._width, 1), frames), self._spool.dtype)
        for name, place in self._places.items():
            with np.errstate(over="ignore"):
                rows[place] = columns[name].reshape(frames, -1).T
            if columns[name].dtype.itemsize > rows.itemsize and not np.isfinite(rows[place]).all():
                frame = int(np.argwhere(~np.isfinite(rows[place].T))[0][0])
                raise DataError("not-finite", f"column {name} is beyond float32's range", frame=frame, joint=name)
        self._spool.append(rows)

    def result(self, work: Work) -> Statistics:
        """Of all that was added; JSON values."""
        found: Statistics = {}
        done = 0
        for name, place in self._places.items():
            columns = []
            for value in range(place.start, place.stop):
                work.progress("statistics of columns", done, self._width, "columns")
                columns.append(self._one(self._spool.column(value)))
                done += 1
            found[name] = self._joined(name, columns)
        return found

    def _one(self, column: Array) -> dict[str, float]:
        return lerobot_statistics(column, QUANTILES) if self._lerobot else groot_statistics(column)

    def _joined(self, name: str, columns: list[dict[str, float]]) -> dict[str, Any]:
        """The columns of one feature: statistic -> values, in its shape, extremes of integers as integers."""
        feature = self._features[name]
        shape = feature.shape or (1,)
        joined: dict[str, Any] = {}
        for key in columns[0]:
            kind: Callable[[float], float] = int if key in ("min", "max") and not feature.is_float else float
            joined[key] = _nested([kind(column[key]) for column in columns], shape)
            if self._lerobot and key == "std":
                joined["count"] = [len(self._spool)]
        return joined


def _nested(values: list[float], shape: tuple[int, ...]) -> Any:
    return values if len(shape) == 1 else np.array(values).reshape(shape).tolist()
