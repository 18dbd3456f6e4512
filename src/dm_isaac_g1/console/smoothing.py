"""Smoothing a curve as TensorBoard does: an exponential moving average, corrected for its start.

Source: tensorboard/components/vz_line_chart2/line-chart.ts, `resmoothDataset`. Values that are not finite are
passed over, so that one NaN doesn't blank the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

#: The weights that `[` and `]` step through; 0 is no smoothing.
WEIGHTS = (0.0, 0.5, 0.8, 0.9, 0.97, 0.99)


def smooth(values: Iterable[float], weight: float) -> list[float]:
    """The smoothed values, one for each value given; not finite where the value is not."""
    if not 0 < weight < 1:
        return list(values)
    last = 0.0
    debias = 1.0
    smoothed = []
    for value in values:
        if not math.isfinite(value):
            smoothed.append(value)
            continue
        last = last * weight + (1 - weight) * value
        debias *= weight
        smoothed.append(last / (1 - debias))
    return smoothed
