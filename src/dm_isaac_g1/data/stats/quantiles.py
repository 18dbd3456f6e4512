"""Quantiles exactly as np.quantile has them (linear, Hyndman and Fan's type 7, float64), of columns of millions.

q01 and q99 need four order statistics near the ends of a column, so nothing but its two tails is ever sorted: a sample
says where they begin, and their sizes prove that the sample was right; else the whole column is partitioned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

#: How many values say where the tails begin, and how many standard deviations of their error further in those start.
_SAMPLE = 4096
_SAFETY = 4.0


class Rank:
    """Where quantile `q` of `count` sorted values lies: between `below` and `above`, `weight` of the way."""

    def __init__(self, count: int, q: float) -> None:
        virtual = (count - 1) * q
        self.below = math.floor(virtual)
        self.above = min(self.below + 1, count - 1)
        self.weight = virtual - self.below


def interpolate(low: Any, high: Any, weight: float) -> Any:
    """`low` + (`high` - `low`) * `weight` with numpy's own rounding (np.lib._function_base_impl._lerp)."""
    step = high - low
    return high - step * (1 - weight) if weight >= 0.5 else low + step * weight


def quantiles(rows: Floats, asked: Sequence[float]) -> list[Floats]:
    """Of every row of (rows, count); each result is (rows,)."""
    ranks = [Rank(rows.shape[-1], q) for q in asked]
    rows = np.sort(rows, axis=-1)
    return [interpolate(rows[..., rank.below], rows[..., rank.above], rank.weight) for rank in ranks]


def two_tails(values: Array, low: float, high: float) -> tuple[float, float]:
    """Quantiles `low` and `high` (0.01 and 0.99) of a contiguous (count,) without NaN."""
    count = len(values)
    ranks = Rank(count, low), Rank(count, high)
    if count > 8 * _SAMPLE:
        # An odd stride: robots' columns have periods, and those are seldom odd.
        sample = np.sort(values[:: count // _SAMPLE | 1])
        first = values[values <= _bound(sample, low, 1)]
        last = values[values >= _bound(sample, high, -1)]
        start = count - len(last)
        if len(first) > ranks[0].above and start <= ranks[1].below:
            return _at(first, ranks[0], 0), _at(last, ranks[1], start)
    parted = np.partition(values, sorted({place for rank in ranks for place in (rank.below, rank.above)}))
    return _between(parted, ranks[0], 0), _between(parted, ranks[1], 0)


def _bound(sample: Array, q: float, inwards: int) -> Any:
    """A value that lies further in than quantile `q` of what `sample` was drawn from, almost certainly."""
    error = math.sqrt(q * (1 - q) / len(sample))
    place = (q + inwards * _SAFETY * error) * (len(sample) - 1)
    return sample[min(max(round(place), 0), len(sample) - 1)]


def _at(tail: Array, rank: Rank, start: int) -> float:
    tail.partition(sorted({rank.below - start, rank.above - start}))
    return _between(tail, rank, start)


def _between(parted: Array, rank: Rank, start: int) -> float:
    low, high = (float(parted[place - start]) for place in (rank.below, rank.above))
    return float(interpolate(low, high, rank.weight))
