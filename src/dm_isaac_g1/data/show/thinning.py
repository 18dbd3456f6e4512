"""Many frames as few points, without losing a spike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def thinned(
    times: NDArray[np.float64], values: NDArray[np.floating], points: int
) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """(frames,) and (frames, width) as at most `points` of each: of every stretch the least and the most, as they come.

    Two points a stretch share its times for all values: what happens within one is seen, and not in which frame.
    """
    frames = len(values)
    stretches = max(1, points // 2)
    if frames <= points:
        return times, values
    edges = np.linspace(0, frames, stretches + 1).astype(np.int64)
    least, most = np.minimum.reduceat(values, edges[:-1]), np.maximum.reduceat(values, edges[:-1])
    rising = values[edges[:-1]] <= values[edges[1:] - 1]
    out = np.empty((2 * stretches, values.shape[1]), values.dtype)
    out[0::2], out[1::2] = np.where(rising, least, most), np.where(rising, most, least)
    at = np.empty(2 * stretches)
    at[0::2], at[1::2] = times[edges[:-1]], times[(edges[:-1] + edges[1:]) // 2]
    return at, out
