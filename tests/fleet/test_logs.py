"""A log keeps its last lines, and no more of them than memory is meant for."""

from __future__ import annotations

from sys import getsizeof

from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core.events import Log
from dm_isaac_g1.fleet.logs import KEPT, KEPT_BYTES, LogBuffer


def log(*lines: str, replaced: bool = False) -> Log:
    return Log(host="ws", source="run", lines=lines, replaced=replaced)


def test_five_thousand_huge_lines_do_not_fill_the_memory() -> None:
    buffer = LogBuffer()
    for number in range(KEPT):
        buffer.extend(log(f"{number} {'x' * 65536}"))
    assert sum(map(getsizeof, buffer.lines)) <= KEPT_BYTES
    assert buffer.lines[-1].startswith(f"{KEPT - 1} ")
    assert buffer.total == KEPT


def test_one_line_is_kept_however_long_it_is() -> None:
    buffer = LogBuffer(kept_bytes=1000)
    buffer.extend(log("short", "x" * 5000))
    assert list(buffer.lines) == ["x" * 5000]


@given(st.lists(st.tuples(st.lists(st.text("aé機", max_size=20), max_size=6), st.booleans()), max_size=20))
def test_what_is_kept_is_the_end_of_all_lines(parts: list[tuple[list[str], bool]]) -> None:
    buffer, whole = LogBuffer(kept=7, kept_bytes=900), LogBuffer(kept=10**6, kept_bytes=10**9)
    for lines, replaced in parts:
        for each in (buffer, whole):
            each.extend(log(*lines, replaced=replaced))
        assert sum(map(getsizeof, buffer.lines)) <= 900 or len(buffer.lines) == 1
        assert list(buffer.lines) == list(whole.lines)[len(whole.lines) - len(buffer.lines) :]
        assert buffer._bytes == sum(map(getsizeof, buffer.lines))
        assert len(buffer.lines) <= 7
