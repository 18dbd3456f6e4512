"""A flood of points makes the same curves as the points one by one, and says the same on the wire."""

from __future__ import annotations

import math
from array import array

import pytest
from fakehost import job
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.core import events as ev
from dm_isaac_g1.core.columns import Columns
from dm_isaac_g1.fleet import curves
from dm_isaac_g1.fleet.curves import Curve
from dm_isaac_g1.fleet.snapshot import all_points
from dm_isaac_g1.fleet.store import Store

RUN = "20261120T120000-run-0a0a0a"
Points = list[tuple[int, float, float]]


def columns(points: Points) -> Columns:
    made = Columns()
    for step, value, wall in points:
        made.add(step, value, wall)
    return made


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1), st.just(math.nan)), max_size=20),
    st.lists(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1), st.floats(1, 100)), max_size=20), max_size=8),
)
def test_floods_merge_into_a_curve_as_single_points_do(logged: Points, floods: list[Points]) -> None:
    few, curves._FEW = curves._FEW, 1
    try:
        single, bulk = Curve(), Curve()
        for step, value, _unknown in logged:
            single.add(step, value, None)
            bulk.add(step, value, None)
        for flood in floods:
            for step, value, wall in flood:
                single.add(step, value, wall)
            made = columns(flood)
            bulk.extend_columns(made.steps, made.values, made.walls)
        assert (single.steps, single.values) == (bulk.steps, bulk.values)
        assert [w for w in single.walls if w == w] == [w for w in bulk.walls if w == w]
    finally:
        curves._FEW = few


def test_a_flood_in_the_middle_of_a_curve_touches_only_that_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_FEW", 0)
    curve = Curve()
    curve.extend_columns(array("q", range(0, 1000, 10)), array("d", [1.0] * 100), array("d", [1.0] * 100))
    curve.extend_columns(array("q", range(500, 520)), array("d", [2.0] * 20), array("d", [2.0] * 20))
    assert len(curve) == 118
    assert list(curve.steps) == sorted(set(curve.steps))
    assert [curve.values[curve.steps.index(step)] for step in (490, 500, 519, 520)] == [1.0, 2.0, 2.0, 1.0]


def test_columns_are_lines_of_points_on_the_wire_and_none_is_lost() -> None:
    count = ev.POINTS_A_LINE + 5
    flood = columns([(step, step / 2, math.nan if step == 3 else float(step)) for step in range(count)])
    event = ev.MetricColumns(host="ws", run=RUN, columns={"loss": flood, "grad_norm": columns([(1, math.nan, 1.0)])})
    lines = [ev.decode(ev.encode(each)) for each in ev.wire(event)]
    assert [type(each) for each in lines] == [ev.Metrics, ev.Metrics]
    points = [point for each in lines for point in each.points]  # type: ignore[union-attr]
    assert [point.step for point in points if point.name == "loss"] == list(range(count))
    assert [point.wall for point in points[2:5]] == [2.0, None, 4.0]
    assert math.isnan(points[-1].value)
    assert [each.at for each in lines] == [event.at] * 2


def test_a_run_without_points_still_says_where_it_is() -> None:
    (line,) = ev.wire(ev.MetricColumns(host="ws", run=RUN, columns={}))
    assert isinstance(line, ev.Metrics)
    assert line.points == ()


def test_what_is_told_of_a_run_does_not_change_when_it_goes_on() -> None:
    store = Store()
    store.apply(ev.Job(job=job()))
    store.apply(ev.MetricColumns(host="ws", run=RUN, columns={"loss": columns([(1, 0.5, 1.0)])}))
    told = all_points(store.runs[RUN])
    store.apply(ev.MetricColumns(host="ws", run=RUN, columns={"loss": columns([(2, 0.25, 2.0)])}))
    assert list(told.columns["loss"].steps) == [1]
    assert list(store.runs[RUN].curves.by_name["loss"].values) == [0.5, 0.25]


@pytest.mark.parametrize("few", [1, 256])
@pytest.mark.parametrize("late", [-1.0, 0.7, 3.0])
def test_the_exact_time_of_an_event_file_wins_over_the_logs_whichever_comes_first(
    monkeypatch: pytest.MonkeyPatch, few: int, late: float
) -> None:
    monkeypatch.setattr(curves, "_FEW", few)
    for order in ("log first", "events first"):
        curve = Curve()
        for source in ("log", "events") if order == "log first" else ("events", "log"):
            if source == "log":
                curve.add(10, 0.5, 100.0 + late, rough=True)
            else:
                curve.extend_columns(array("q", [10]), array("d", [0.512]), array("d", [100.0]))
        assert (curve.values[0], curve.walls[0], curve.rough[0]) == (0.512, 100.0, 0), order


def test_a_step_that_a_resumed_run_logs_again_is_taken_from_its_log_before_its_event_file_is_read() -> None:
    curve = Curve()
    curve.add(10, 0.5, 100.0)
    curve.add(10, 0.4, 160.0, rough=True)
    assert (curve.values[0], curve.walls[0], curve.rough[0]) == (0.4, 160.0, 1)
