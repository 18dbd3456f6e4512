"""The pure parts of the console: bars, columns, places, smoothing, themes."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.content import Content
from textual.geometry import Region, Size

from dm_isaac_g1.console import arrangement, bars, columns, keys, marks, series, shown, smoothing, themes
from dm_isaac_g1.console.arrangement import Wishes
from dm_isaac_g1.console.columns import Column
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.forecasts import Verdict
from dm_isaac_g1.core.runs import JobState
from dm_isaac_g1.fleet.curves import Curve

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


@given(st.one_of(st.none(), st.floats(0, 1)), st.integers(0, 200))
def test_a_bar_is_as_wide_as_asked(share: float | None, width: int) -> None:
    full, rest = bars.bar(share, width)
    assert len(full + rest) == width


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(2, 100))
def test_a_bar_is_full_only_when_all_is_used_and_empty_only_when_nothing_is(share: float, width: int) -> None:
    full, _ = bars.bar(share, width)
    assert full and full != bars.FULL * width


@given(st.lists(st.floats(0, 1e12), min_size=4, max_size=4), st.integers(1, 80))
def test_a_stacked_bar_never_loses_a_cell(parts: list[float], width: int) -> None:
    assert sum(map(len, bars.stacked(parts, width))) == width


@given(st.lists(finite, max_size=700), st.integers(1, 60), st.booleans())
def test_a_history_is_as_wide_as_asked(values: list[float], width: int, braille: bool) -> None:
    assert len(bars.history(values, width, braille=braille)) == width


def test_a_little_load_shows_a_dot_and_none_shows_nothing() -> None:
    assert bars.history([0.0, 0.0], 1) == "\u2800"
    assert bars.history([1.0, 0.0], 1) == "⡀"
    assert bars.history([100.0, 100.0], 1) == "⣿"


@given(st.integers(1, 300))
def test_columns_never_overflow(width: int) -> None:
    table = (Column("a", 10, keep=3), Column("b", 8, "right", keep=1), Column("c", 0, keep=2))
    layout = columns.fit(table, width)
    row = columns.row(table, layout, [Content("x" * 50)] * 3)
    assert row.cell_length <= max(width, 10)


def test_the_least_important_column_goes_first() -> None:
    table = (Column("a", 10, keep=3), Column("b", 10, keep=1), Column("c", 10, keep=2))
    assert [index for index, _ in columns.fit(table, 34)] == [0, 1, 2]
    assert [index for index, _ in columns.fit(table, 24)] == [0, 2]
    assert [index for index, _ in columns.fit(table, 12)] == [0]


@given(
    st.integers(10, 300),
    st.integers(6, 120),
    st.builds(
        Wishes,
        st.tuples(st.integers(1, 80), st.integers(1, 40)),
        st.integers(1, 40),
        st.integers(0, 50),
        st.integers(0, 40),
    ),
    st.sampled_from(arrangement.STAGE),
    st.one_of(st.none(), st.sampled_from(arrangement.PANES)),
)
def test_panes_never_overlap_nor_leave_the_screen(
    width: int, height: int, wishes: Wishes, stage: str, maximised: str | None
) -> None:
    regions = arrangement.arrange(Size(width, height), wishes, stage=stage, maximised=maximised)
    placed = [region for region in regions.values() if region.area]
    assert all(Region(0, 0, width, height).contains_region(region) for region in placed)
    assert not [1 for i, one in enumerate(placed) for other in placed[i + 1 :] if one.overlaps(other)]


def test_every_pane_has_a_place_at_160x48_and_the_stage_shares_80x24() -> None:
    wishes = Wishes(hosts=(18, 10), hosts_brief=4, runs=4, alerts=1)
    wide = arrangement.arrange(Size(160, 48), wishes, stage="loss", maximised=None)
    assert set(arrangement.PANES) <= set(wide)
    small = arrangement.arrange(Size(80, 24), wishes, stage="log", maximised=None)
    assert {"alerts", "hosts", "runs", "log"} <= set(small) and "loss" not in small
    assert small["log"].height >= 7


def test_smoothing_is_tensorboards() -> None:
    """Figures from TensorBoard's formula by hand: weight 0.5 over 1, 2, 4."""
    assert smoothing.smooth([1.0, 2.0, 4.0], 0.5) == pytest.approx([1.0, 1.25 / 0.75, 2.625 / 0.875])
    assert smoothing.smooth([3.0, 1.0], 0.0) == [3.0, 1.0]


@given(st.lists(finite, min_size=1, max_size=60), st.sampled_from(smoothing.WEIGHTS))
def test_a_smoothed_curve_stays_between_its_extremes(values: list[float], weight: float) -> None:
    slack = 1e-6 * (1 + max(map(abs, values)))
    for value in smoothing.smooth(values, weight):
        assert min(values) - slack <= value <= max(values) + slack


def test_one_nan_does_not_blank_the_rest() -> None:
    smoothed = smoothing.smooth([1.0, math.nan, 1.0], 0.9)
    assert smoothed[0] == smoothed[2] == pytest.approx(1.0) and math.isnan(smoothed[1])


def curve(values: list[float]) -> Curve:
    made = Curve()
    made.steps, made.values = array("q", range(len(values))), array("d", values)
    made.walls = array("d", [0.0] * len(values))
    return made


def test_down_sampling_keeps_a_spike() -> None:
    values = [0.1] * 20_000
    values[12_345] = 9.0
    raw, _ = series.lines(curve(values), 400, weight=0.0, log=False)
    assert len(raw.steps) <= 400 and max(raw.values) == 9.0


def test_a_log_scale_leaves_out_what_has_no_logarithm() -> None:
    raw, smoothed = series.lines(curve([0.0, -1.0, 10.0, math.nan, 100.0]), 400, weight=0.5, log=True)
    assert list(raw.values) == [1.0, 2.0] and list(raw.steps) == [2, 4]
    assert smoothed is not None and all(map(math.isfinite, smoothed.values))


def test_a_curve_without_any_value_to_draw_is_no_error() -> None:
    raw, _ = series.lines(curve([math.nan, math.inf]), 400, weight=0.9, log=False)
    assert len(raw.steps) == 0
    assert series.bad_steps(curve([1.0, math.nan, math.inf])) == [1, 2]


def test_a_curve_that_falls_over_decades_is_drawn_on_a_log_scale() -> None:
    from dm_isaac_g1.console.panes.loss import spans_decades

    assert spans_decades(curve([0.5, 0.1, 0.002]))
    assert not spans_decades(curve([0.5, 0.1, 0.05, math.nan]))
    assert not spans_decades(curve([0.5, 0.0])) and not spans_decades(curve([math.nan]))


def test_states_differ_by_glyph_and_word_not_by_colour_alone() -> None:
    for table in (marks.RUNS, marks.HOSTS, marks.VERDICTS, marks.SEVERITIES):
        assert len({mark.word for mark in table.values()}) == len(table)
        assert len({mark.glyph for mark in table.values()}) == len(table)
    assert set(marks.RUNS) == set(JobState) and set(marks.VERDICTS) == set(Verdict) == set(marks.WORST)


def _luminance(color: str) -> float:
    """WCAG 2.2 relative luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", ["dm-dark", "dm-light"])
def test_words_can_be_read_in_every_theme(name: str) -> None:
    loaded, problems = themes.load()
    theme = loaded[name]
    assert not problems
    colors = {**theme.variables, **{key: getattr(theme, key) for key in ("success", "warning", "error", "primary")}}
    for key in ("success", "warning", "error", "primary", "muted"):
        assert contrast(colors[key], theme.background or "") >= 4.5, key
        assert contrast(colors[key], theme.surface or "") >= 4.5, key


def test_both_themes_say_every_variable() -> None:
    loaded, _ = themes.load()
    assert {"dm-dark", "dm-light"} <= set(loaded)
    for name in ("dm-dark", "dm-light"):
        assert set(loaded[name].variables) == set(themes.VARIABLES)


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        'name = "x"',
        'name = "x"\n[colors]\nprimary = "no colour"',
        'name = "x"\n[colors]\nprimery = "#ffffff"',
        'name = 3\n[colors]\nprimary = "#ffffff"',
    ],
)
def test_a_wrong_theme_is_told_with_its_file(tmp_path, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        themes.read(path)


def test_every_key_is_declared_once_in_its_room_and_calls_something_there() -> None:
    from dm_isaac_g1.console.datasets import DatasetsRoom
    from dm_isaac_g1.console.overview import Overview

    for room in (Overview, DatasetsRoom):
        mine = keys.of_room(keys.KEYS, room.room)
        taken = [key for each in mine for key in each.key.split(",")]
        assert len(taken) == len(set(taken))
        for each in mine:
            assert hasattr(room, f"action_{each.call.split('(')[0]}"), each.name


def test_two_rooms_may_share_a_key_and_one_may_not() -> None:
    table, problems = keys.rebound({"data.stats": "l"})
    assert not problems
    assert next(each for each in table if each.name == "data.stats").key == "l"
    table, problems = keys.rebound({"data.stats": "q", "data.convert": "v"})
    assert len(problems) == 2
    assert next(each for each in table if each.name == "quit").key == "q"
    assert next(each for each in table if each.name == "data.convert").key == "c"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf"), (0.0, "0"), (0.05303, "0.05303")],
)
def test_figures_say_what_is_not_a_number(value: float | None, text: str) -> None:
    assert shown.figure(value) == text


def test_a_long_name_keeps_both_ends() -> None:
    assert shown.name("a" * 100 + "zz", 10) == "aaaaaa…azz"
    assert len(shown.name("n" * 255, 24)) == 24
