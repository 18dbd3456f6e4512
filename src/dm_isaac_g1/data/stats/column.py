"""The statistics of one column over all frames: mean and std in float64, extremes and quantiles exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.data.stats.quantiles import quantiles, two_tails

Array = NDArray[Any]

#: Of a column that are summed at once: its float64 copy stays in the processor's cache.
_CHUNK = 1 << 16

GROOT_QUANTILES = (0.01, 0.99)


def groot_statistics(column: Array) -> dict[str, float]:
    """The six of one contiguous float32 column, in NVIDIA's order."""
    mean, std = mean_and_std(column)
    low, high = float(column.min()), float(column.max())
    q01, q99 = two_tails(column, *GROOT_QUANTILES) if low < high else (low, low)
    return {"mean": mean, "std": std, "min": low, "max": high, "q01": q01, "q99": q99}


def lerobot_statistics(column: Array, asked: Sequence[float]) -> dict[str, float]:
    """What LeRobot v3.0 has of one column beside its count: the four and the quantiles `asked`."""
    mean, std = mean_and_std(column)
    found = {"min": float(column.min()), "max": float(column.max()), "mean": mean, "std": std}
    values = quantiles(column.astype(np.float64), asked)
    return found | {f"q{round(q * 100):02d}": float(value) for q, value in zip(asked, values, strict=True)}


def mean_and_std(column: Array) -> tuple[float, float]:
    """In float64, a chunk at a time, joined as Chan, Golub and LeVeque do (1979): no difference of large sums."""
    count, mean, squares = 0, 0.0, 0.0
    for at in range(0, len(column), _CHUNK):
        part = column[at : at + _CHUNK].astype(np.float64)
        more = len(part)
        its_mean = float(part.sum()) / more
        part -= its_mean
        apart = its_mean - mean
        mean += apart * more / (count + more)
        squares += float(np.einsum("i,i->", part, part)) + apart * apart * count * more / (count + more)
        count += more
    return mean, float(np.sqrt(squares / count))
