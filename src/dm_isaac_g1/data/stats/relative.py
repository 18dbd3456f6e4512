"""meta/relative_stats.json: of actions relative to the state at the moment of the prediction, for every step ahead.

Form and definition: generate_rel_stats of NVIDIA's Isaac-GR00T N1.6, gr00t/data/stats.py. Of every window of `horizon`
frames inside an episode, value[h] = action[i + h] - state[i], computed in the columns' own precision and stored as
float32; over all windows of all episodes max, min, q01, q99, mean and std, each [horizon][joints].

NVIDIA builds every window (126 million numbers for 300,000 frames, 14 joints and 30 steps). Here one joint and step is
looked at at a time: its numbers are two columns, shifted against each other and subtracted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.problems import DataError
from dm_isaac_g1.data.stats.column import groot_statistics
from dm_isaac_g1.data.stats.groups import RelativeGroup, Slice
from dm_isaac_g1.data.stats.spool import Spool
from dm_isaac_g1.data.work import Work

Array = NDArray[Any]
#: Group -> statistic -> [horizon][joints].
Found = dict[str, dict[str, list[list[float]]]]

#: NVIDIA's order.
NAMES = ("max", "min", "q01", "q99", "mean", "std")


class RelativeStatistics:
    """A context manager that is given one episode after another. Memory does not grow with them.

    `folder`: where large columns may lie meanwhile.
    """

    def __init__(self, groups: Sequence[RelativeGroup], *, horizon: int, folder: Path) -> None:
        self._groups, self._horizon, self._folder = groups, horizon, folder
        #: Which rows of the spool hold which values.
        self._places: dict[Slice, int] = {}
        width = 0
        for part in (part for group in groups for part in (group.action, group.state)):
            if part not in self._places:
                self._places[part] = width
                width += part.width
        self._spool: Spool | None = None
        self._lengths: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spool is not None:
            self._spool.close()

    def add(self, columns: Mapping[str, Array]) -> bool:
        """One episode, column -> (frames, width). All are kept in the first one's precision, float32 or float64.

        False: these are float64 and were rounded. Raises DataProblem "disk-full".
        """
        if not self._places:
            return True
        rows = np.concatenate([columns[part.column][:, part.start : part.end].T for part in self._places])
        if self._spool is None:
            kind = np.float32 if rows.dtype == np.float32 else np.float64
            self._spool = Spool(len(rows), kind, self._folder)
        self._spool.append(rows)
        self._lengths.append(rows.shape[1])
        return np.can_cast(rows.dtype, self._spool.dtype) or rows.dtype.kind in "iu"

    def result(self, work: Work) -> Found:
        """Of all that was added; {} without groups. Raises DataError where no episode is as long as the horizon."""
        if not self._groups:
            return {}
        longest = max(self._lengths, default=0)
        if self._spool is None or longest < self._horizon:
            what = f"no episode is as long as the horizon of {self._horizon} frames, the longest has {longest}"
            raise DataError("episodes-too-short", what, fix=f"--horizon {longest}" if longest else None)
        starts = _starts(self._lengths, self._horizon)
        return {group.name: self._group(self._spool, group, starts, work) for group in self._groups}

    def _group(
        self, spool: Spool, group: RelativeGroup, starts: NDArray[np.bool_], work: Work
    ) -> dict[str, list[list[float]]]:
        windows, joints = len(starts), group.action.width
        found = np.empty((len(NAMES), self._horizon, joints))
        relative = np.empty(windows, np.float32)
        for joint in range(joints):
            work.progress(f"relative statistics of {group.name}", joint, joints, "joints")
            action = spool.column(self._places[group.action] + joint)
            state = spool.column(self._places[group.state] + joint)[:windows]
            for step in range(self._horizon):
                work.check()
                # For float32 this is float64's difference, rounded: it has more than twice the digits.
                np.subtract(action[step : step + windows], state, out=relative, casting="same_kind")
                statistics = groot_statistics(relative[starts])
                found[:, step, joint] = [statistics[name] for name in NAMES]
        return {name: values.tolist() for name, values in zip(NAMES, found, strict=True)}


def _starts(lengths: Iterable[int], horizon: int) -> NDArray[np.bool_]:
    """(frames - horizon + 1,): whether a window that begins there ends in the same episode."""
    ends = np.cumsum(list(lengths))
    starts = np.ones(ends[-1] - horizon + 1, np.bool_)
    for end in ends.tolist():
        starts[max(end - horizon + 1, 0) : end] = False
    return starts
