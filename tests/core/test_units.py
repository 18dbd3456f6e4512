from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core import units
from dm_isaac_g1.core.errors import UsageError


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1, "1 B"), (999, "999 B"), (1000, "1.0 kB"), (999_950, "1.0 MB"), (21_400_000_000, "21.4 GB")],
)
def test_sizes_are_decimal_as_disks_are_sold(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize("show", [units.size, units.rate, units.speed, units.duration])
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_known_is_never_shown_as_zero(show: object, value: float | None) -> None:
    assert callable(show)
    assert show(value) == units.UNKNOWN


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.25, "0.2 s"),
        (59.4, "59 s"),
        (59.6, "1 m"),
        (61, "1 m 1 s"),
        (3599.7, "1 h"),
        (11_532, "3 h 12 m"),
        (90_000, "1 d 1 h"),
        (-11_532, "-3 h 12 m"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


def test_slow_training_is_shown_in_seconds_a_step() -> None:
    assert units.speed(1.19) == "1.19 it/s"
    assert units.speed(0.3125) == "3.20 s/it"
    assert units.speed(0) == units.UNKNOWN


def test_one_of_a_thing_is_no_plural() -> None:
    assert [units.many(count, "job") for count in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
    assert units.many(2, "process", "processes") == "2 processes"


def test_rates_are_sizes_a_second() -> None:
    assert units.rate(118_000_000) == "118.0 MB/s"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("2G", 2 * 1024**3),
        ("2 GiB", 2 * 1024**3),
        ("2GB", 2_000_000_000),
        ("1.5k", 1536),
        ("500 mb", 500_000_000),
        ("1T", 1024**4),
    ],
)
def test_sizes_are_read_as_coreutils_and_tmpfs_read_them(text: str, count: int) -> None:
    assert units.parse_size(text) == count


@pytest.mark.parametrize("text", ["", "G", "-1G", "2X", "1,5G", "2 G B", "1e9", "٣G" + "x"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size; write it like 500M"):
        units.parse_size(text)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_plain_number_of_bytes_is_read_back_exactly(count: int) -> None:
    assert units.parse_size(str(count)) == count


@given(st.floats(min_value=0, max_value=1e9))
def test_a_duration_never_shows_sixty_of_a_unit(seconds: float) -> None:
    words = units.duration(seconds).split()
    limits = {"s": 60, "m": 60, "h": 24}
    assert all(float(n) < limits[unit] for n, unit in zip(words[::2], words[1::2], strict=True) if unit in limits)
