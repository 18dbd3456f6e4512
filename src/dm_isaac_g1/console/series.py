"""From a run's curve to what a plot draws: smoothed, on a log scale where asked, down-sampled without losing a spike.

numpy and tsdownsample are imported when a curve is first drawn, not before the first frame.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from dm_isaac_g1.console.smoothing import smooth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dm_isaac_g1.fleet.curves import Curve

    Floats = NDArray[np.float64]


class Line(NamedTuple):
    """One line of a plot: steps and values, both float64 [N]."""

    steps: Floats
    values: Floats


def lines(curve: Curve, points: int, *, weight: float, log: bool) -> tuple[Line, Line | None]:
    """The raw line and the smoothed one (None without smoothing), each at most about `points` long.

    With `log`, values are their base-10 logarithm; those that have none (0, negative) are left out.
    """
    import numpy as np

    steps = np.array(curve.steps, dtype=np.float64)
    values = np.array(curve.values, dtype=np.float64)
    raw = _reduced(steps, values, points, log)
    if not weight:
        return raw, None
    return raw, _reduced(steps, np.array(smooth(curve.values, weight)), points, log)


def _reduced(steps: Floats, values: Floats, points: int, log: bool) -> Line:
    import numpy as np

    keep = np.isfinite(values) & (values > 0 if log else True)
    steps, values = steps[keep], values[keep]
    if log:
        values = np.log10(values)
    if len(steps) > points:
        from tsdownsample import MinMaxLTTBDownsampler

        # MinMaxLTTB wants an even number of points.
        chosen = MinMaxLTTBDownsampler().downsample(steps, values, n_out=points - points % 2)
        steps, values = steps[chosen], values[chosen]
    return Line(steps, values)


def bad_steps(curve: Curve) -> list[int]:
    """Steps whose value is NaN or infinite: a plot cannot draw them, and must not hide them."""
    return [step for step, value in zip(curve.steps, curve.values, strict=True) if not math.isfinite(value)]
