"""Errors of predicted actions, as NVIDIA's two scripts define them. Pure.

Source: evaluate_single_trajectory in gr00t/eval/open_loop_eval.py (N1.6) and calc_mse_for_single_trajectory in
gr00t/utils/eval.py (N1.5): every `horizon` steps an observation is sent and the first `horizon` actions of the answer
stand for the steps from there on; all groups side by side; mean of squares (and of absolute values) over steps and
values at once. N1.5 prints the squares only. Over trajectories: the mean of their means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dm_isaac_g1.inference.evaluation.results import Definition, JointError, Trajectory

Floats = NDArray[np.floating]


def counted(length: int, steps: int, definition: Definition) -> int:
    """Steps of a trajectory of `length` that count."""
    return min(steps, length) if definition == "n1.6" else steps


def starts(count: int, horizon: int) -> range:
    """At which of `count` steps an observation is sent."""
    return range(0, count, horizon)


def joined(chunks: Sequence[Floats], count: int, horizon: int) -> Floats:
    """Answers of (at least `horizon`, values) each as (count, values): what stands for each step."""
    return np.concatenate([chunk[:horizon] for chunk in chunks])[:count]


def held(rows: Floats, count: int) -> Floats:
    """The first `count` of (frames, values), the last held where there are fewer."""
    return rows[np.minimum(np.arange(count), len(rows) - 1)]


def trajectory(
    episode: int, length: int, recorded: Floats, predicted: Floats, names: Sequence[tuple[str, str]]
) -> Trajectory:
    """Errors of one, (steps, values) each; `names`: group and name of each value. In float64."""
    if recorded.shape != predicted.shape or recorded.ndim != 2 or not recorded.size:
        raise ValueError(f"recorded {recorded.shape}, predicted {predicted.shape}")
    error = predicted.astype(np.float64) - recorded.astype(np.float64)
    squares, sizes = error**2, np.abs(error)
    return Trajectory(
        episode=episode,
        length=length,
        steps=len(recorded),
        mse=float(squares.mean()),
        mae=float(sizes.mean()),
        joints=tuple(
            JointError(group=group, name=name, mse=float(mse), mae=float(mae), worst=float(worst))
            for (group, name), mse, mae, worst in zip(
                names, squares.mean(axis=0), sizes.mean(axis=0), sizes.max(axis=0), strict=True
            )
        ),
    )


def average(values: Sequence[float]) -> float:
    """The plain mean."""
    return float(np.mean(np.array(values, np.float64)))


def joint_averages(trajectories: Sequence[Trajectory]) -> tuple[JointError, ...]:
    """Of each value, over trajectories with the same ones: mean of `mse` and `mae`, the largest `worst`."""
    return tuple(
        JointError(
            group=same[0].group,
            name=same[0].name,
            mse=average([each.mse for each in same]),
            mae=average([each.mae for each in same]),
            worst=max(each.worst for each in same),
        )
        for same in zip(*(each.joints for each in trajectories), strict=True)
    )


def percentiles(milliseconds: Sequence[float]) -> tuple[float, float, float]:
    """p50, p95, p99 with linear interpolation between the nearest ranks (numpy's default)."""
    p50, p95, p99 = np.percentile(np.array(milliseconds, np.float64), (50, 95, 99))
    return float(p50), float(p95), float(p99)
