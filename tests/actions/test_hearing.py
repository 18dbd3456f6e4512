"""What a host's dm-g1 says is taken for events of that host, and for nothing more."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.actions import hearing
from dm_isaac_g1.actions.hearing import Hearing
from dm_isaac_g1.core import events as ev


def heard(data: bytes, host: str = "box") -> list[ev.Event]:
    ears = Hearing(host)
    return [*ears.feed(data), *ears.end()]


def line(**said: object) -> bytes:
    return json.dumps({"at": 1.0, **said}).encode() + b"\n"


def test_events_say_which_host_they_are_from() -> None:
    said = heard(
        line(event="progress", text="Splitting", done=1, total=2, unit="episodes")
        + line(event="failure", what="no such folder", where="a/b", code=1)
        + line(event="failure", what="no", code=3)
        + line(event="datasets", host="somebody else", datasets=[{"host": "x", "name": "a", "path": "/a"}])
        + line(event="result", text="done", data={"host": "somebody else", "path": "a"})
    )
    progress, failure, bare, datasets, result = said
    assert isinstance(progress, ev.Progress)
    assert (progress.text, progress.done, progress.unit) == ("box: Splitting", 1, "episodes")
    assert isinstance(failure, ev.Failure)
    assert (failure.where, failure.code) == ("box: a/b", 1)
    assert isinstance(bare, ev.Failure)
    assert bare.where == "box"
    assert isinstance(datasets, ev.Datasets)
    assert (datasets.host, datasets.datasets[0].host) == ("box", "box")
    assert isinstance(result, ev.Result)
    assert (result.text, result.data) == ("box: done", {"host": "box", "path": "a"})


@pytest.mark.parametrize(
    "event",
    [
        {"event": "alert", "key": "k", "kind": "disk", "severity": "critical", "host": "other", "title": "t"},
        {"event": "host", "host": "other", "state": "refused", "since": 0},
        {"event": "job", "job": {}},
        {"event": "news", "text": "of a later version"},
        {"event": "progress"},
        {"text": "no event"},
        ["a", "list"],
    ],
)
def test_a_host_speaks_only_of_its_own_command(event: object) -> None:
    assert heard(json.dumps(event).encode() + b"\n") == []


def test_what_is_no_line_of_ours_is_dropped_and_the_rest_goes_on() -> None:
    ears = Hearing("box")
    noise = b"Warning: \x1b[31mold libc\n\xff\xfe{\n" + b"[" * 100_000 + b"\n"
    said = list(ears.feed(noise + line(event="progress", text="still here")))
    assert [event.text for event in said if isinstance(event, ev.Progress)] == ["box: still here"]
    assert ears.dropped == 3
    list(ears.feed(b"Warning: \x1b[31mold libc\n"))
    assert ears.noise == "Warning: old libc"


def test_a_command_that_helps_there_is_told_as_it_is_typed_here() -> None:
    found = [{"code": "a", "fix": "dm-g1 data repair --path x"}, {"code": "b", "fix": "ask your doctor"}, {"code": "c"}]
    (failure, result) = heard(
        line(event="failure", what="no", fix="`dm-g1 data stats --path x` makes it; or remove it")
        + line(event="result", text="", data={"findings": found})
    )
    assert isinstance(failure, ev.Failure)
    assert failure.fix == "`dm-g1 data stats --path x --on box` makes it; or remove it"
    assert isinstance(result, ev.Result)
    fixes = [each.get("fix") for each in result.data["findings"]]
    assert fixes == ["dm-g1 data repair --path x --on box", "ask your doctor", None]


def test_a_line_without_end_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "LONGEST", 1000)
    ears = Hearing("box")
    for _ in range(100):
        assert list(ears.feed(b"x" * 500)) == []
    assert len(ears._rest) <= 1000
    assert [type(event) for event in ears.feed(b"x\n" + line(event="progress", text="on"))] == [ev.Progress]


def test_text_is_harmless_and_short() -> None:
    (progress, result) = heard(
        line(event="progress", text="a\x1b]52;c;eA==\x07b" + "c" * 100_000)
        + line(event="result", text="", data={"\x1b[2Jkey": ["\x1b[2Jvalue"]}, code=10**6)
    )
    assert isinstance(progress, ev.Progress)
    assert progress.text.startswith("box: abccc")
    assert len(progress.text) < 2100
    assert isinstance(result, ev.Result)
    assert (result.data["key"], result.code) == (["value"], 0)


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_whatever_break_it(pieces: list[bytes]) -> None:
    ears = Hearing("box")
    for piece in pieces:
        list(ears.feed(piece))
    list(ears.end())


@given(st.integers(1, 200))
def test_it_does_not_matter_how_the_bytes_are_cut(size: int) -> None:
    data = b"".join(line(event="progress", text=f"ä{n}") for n in range(5))
    ears = Hearing("box")
    texts = [event.text for at in range(0, len(data), size) for event in ears.feed(data[at : at + size])]  # type: ignore[attr-defined]
    assert texts == [f"box: ä{n}" for n in range(5)]
