"""Lines of a log: what a terminal would show, whatever the bytes."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.core.events import Log
from dm_isaac_g1.finetuning.lines import MAX_LINE, LineSplitter
from dm_isaac_g1.fleet.logs import LogBuffer

LOGS = Path(__file__).parent.parent / "captures" / "logs"


def shown(chunks: list[bytes]) -> list[str]:
    """What a log buffer holds after the chunks."""
    splitter, buffer = LineSplitter(), LogBuffer(kept=100_000)
    for chunk in chunks:
        lines = splitter.feed(chunk)
        if lines:
            buffer.extend(Log(host="h", source="s", lines=lines.lines, replaced=lines.replaced))
    return list(buffer.lines)


def test_a_bar_takes_the_place_of_the_one_before() -> None:
    chunks = [b"start\n", b"\r  1%| 1/100", b"\r  2%| 2/100", b"\r  3%| 3/100"]
    assert shown(chunks) == ["start", "  3%| 3/100"]


def test_a_log_of_carriage_returns_alone_is_one_live_line() -> None:
    splitter = LineSplitter()
    seen = [splitter.feed(b"\r%d/1000" % n) for n in range(1000)]
    assert [lines.lines for lines in seen] == [(f"{n}/1000",) for n in range(1000)]
    assert [lines.replaced for lines in seen] == [False] + [True] * 999


def test_crlf_is_one_line_end() -> None:
    assert shown([b"a\r\nb\r", b"\nc\r\n"]) == ["a", "b", "c"]


def test_a_line_written_over_a_wiped_bar_stands_alone() -> None:
    assert shown([b"\r 10%|  | 1/10\r              \r{'loss': 1.0}\n"]) == ["{'loss': 1.0}"]


def test_a_line_of_three_megabytes_is_cut_and_said_so() -> None:
    for size in (1_000, 65_536, 3_000_000):
        data = b"x" * 3_000_000 + b"\nnext\n"
        lines = shown([data[i : i + size] for i in range(0, len(data), size)])
        assert lines[1] == "next"
        assert len(lines[0]) < MAX_LINE + 100
        assert lines[0].endswith(f"[…{3_000_000 - MAX_LINE:,} bytes more]")


def test_memory_is_bounded_while_a_line_never_ends() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        splitter.feed(b"y" * 1_000_000)
    assert len(splitter._open) <= MAX_LINE


def test_broken_utf8_costs_a_character_not_the_log() -> None:
    assert shown([b"ok \xff\xfe bad\n", b"next\n"]) == ["ok \ufffd\ufffd bad", "next"]


def test_a_character_split_between_chunks_is_whole() -> None:
    assert shown([b"caf\xc3", b"\xa9\n"]) == ["café"]


def test_no_escape_sequence_survives_even_split_between_chunks() -> None:
    data = b"\x1b]52;c;cGFzcw==\x07hello \x1b[2Jworld \xc2\x9b31m\n"
    for cut in range(len(data)):
        lines = shown([data[:cut], data[cut:]])
        assert lines == ["hello world "]
    splitter = LineSplitter()
    for byte in data:
        for line in splitter.feed(bytes([byte])).lines:
            assert "\x1b" not in line and "\x9b" not in line and "\x07" not in line


@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"  ", "é".encode(), b"\r\n", b"x" * 50]), max_size=40),
    st.data(),
)
def test_where_the_chunks_are_cut_makes_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert shown(chunks) == shown([whole])


def test_spaces_before_a_line_that_is_written_over_a_bar_stay_where_they_are_cut() -> None:
    assert shown([b"bar\r ", b" a\n"]) == shown([b"bar\r  a\n"]) == ["  a"]


def test_genuine_logs_show_the_same_in_any_pieces() -> None:
    for log in LOGS.glob("*.log"):
        data = log.read_bytes()
        assert shown([data[i : i + 13] for i in range(0, len(data), 13)]) == shown([data]), log.name


def test_a_hundred_thousand_lines_cost_a_fraction_of_a_second() -> None:
    data = b"".join(b"\r 10%%|##| %d/100000 [00:10<00:10, 26.9it/s]\r{'loss': 0.5}\n" % n for n in range(100_000))
    started = time.process_time()
    lines = LineSplitter().feed(data)
    assert len(lines.lines) == 100_000
    assert time.process_time() - started < 1.0


def test_a_line_that_grows_without_end_is_told_once() -> None:
    splitter = LineSplitter()
    told = [splitter.feed(b"z" * 10_000).lines for _ in range(100)]
    assert sum(map(bool, told)) <= 8  # until it is cut
    assert splitter.feed(b"\n").lines[0].endswith(f"[…{1_000_000 - MAX_LINE:,} bytes more]")
