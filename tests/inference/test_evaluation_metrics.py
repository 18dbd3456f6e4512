"""The open-loop error is what NVIDIA's scripts print, told from their words alone: a loop over steps and values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dm_isaac_g1.inference.evaluation import metrics

FLOATS = st.floats(-10, 10, width=32)


def in_words(recorded: Any, predicted: Any) -> tuple[float, float]:
    """Mean of squares and of absolute values over every step and value."""
    differences = [
        float(p) - float(r) for a, b in zip(recorded, predicted, strict=True) for r, p in zip(a, b, strict=True)
    ]
    return math.fsum(d * d for d in differences) / len(differences), math.fsum(map(abs, differences)) / len(differences)


@settings(deadline=None)  # a machine may be busy
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 8)), elements=FLOATS).flatmap(
        lambda a: st.tuples(st.just(a), arrays.arrays(np.float32, a.shape, elements=FLOATS))
    )
)
def test_the_error_of_a_trajectory_is_the_mean_over_steps_and_values(pair: tuple[Any, Any]) -> None:
    recorded, predicted = pair
    names = [("g", str(place)) for place in range(recorded.shape[1])]
    found = metrics.trajectory(3, len(recorded), recorded, predicted, names)
    mse, mae = in_words(recorded, predicted)
    assert found.mse == pytest.approx(mse, rel=1e-9, abs=1e-12)
    assert found.mae == pytest.approx(mae, rel=1e-9, abs=1e-12)
    # every joint has the same number of steps: the mean of the joints' is the trajectory's
    assert np.mean([joint.mse for joint in found.joints]) == pytest.approx(found.mse, rel=1e-9, abs=1e-12)
    assert max(joint.worst for joint in found.joints) == pytest.approx(
        float(np.abs(recorded - predicted).max()), rel=1e-5, abs=1e-6
    )


def test_float32_as_nvidias_script_computes_differs_in_the_last_digits_only() -> None:
    rng = np.random.default_rng(1)
    recorded, predicted = (rng.normal(size=(200, 23)).astype(np.float32) for _ in range(2))
    found = metrics.trajectory(0, 200, recorded, predicted, [("g", str(n)) for n in range(23)])
    assert found.mse == pytest.approx(float(np.mean((recorded - predicted) ** 2)), rel=1e-5)
    assert found.mae == pytest.approx(float(np.mean(np.abs(recorded - predicted))), rel=1e-5)


@settings(deadline=None)  # a machine may be busy
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 64))
def test_every_step_is_predicted_once_from_the_observation_of_its_chunk(length: int, steps: int, horizon: int) -> None:
    count = metrics.counted(length, steps, "n1.6")
    assert count == min(length, steps)
    sent = list(metrics.starts(count, horizon))
    # a policy that says for each row which observation it saw, and how far ahead it looks
    chunks = [np.array([[step, ahead] for ahead in range(horizon + 3)], np.float64) for step in sent]
    rows = metrics.joined(chunks, count, horizon)
    assert len(rows) == count
    assert [int(a + b) for a, b in rows] == list(range(count))
    assert all(ahead < horizon for _, ahead in rows)


def test_n15_counts_steps_past_the_end_with_the_last_row_held() -> None:
    assert metrics.counted(10, 150, "n1.5") == 150
    rows = metrics.held(np.arange(6.0).reshape(3, 2), 5)
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]


def test_trajectories_count_alike_however_long_they_are() -> None:
    short = metrics.trajectory(0, 1, np.zeros((1, 1)), np.ones((1, 1)), [("g", "a")])
    long = metrics.trajectory(1, 99, np.zeros((99, 1)), np.full((99, 1), 3.0), [("g", "a")])
    assert metrics.average([short.mse, long.mse]) == 5.0
    (joint,) = metrics.joint_averages([short, long])
    assert (joint.mse, joint.mae, joint.worst) == (5.0, 2.0, 3.0)


def test_shapes_that_differ_are_no_error_to_compute() -> None:
    with pytest.raises(ValueError, match=r"recorded \(2, 1\), predicted \(2, 2\)"):
        metrics.trajectory(0, 2, np.zeros((2, 1)), np.zeros((2, 2)), [("g", "a")])


def test_percentiles_are_those_of_the_calls() -> None:
    assert metrics.percentiles([float(n) for n in range(1, 101)]) == pytest.approx((50.5, 95.05, 99.01))
    assert metrics.percentiles([7.0]) == (7.0, 7.0, 7.0)
