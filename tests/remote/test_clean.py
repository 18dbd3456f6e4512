"""Nothing that a terminal obeys, or that hides or reorders text, gets past `clean`."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_isaac_g1.remote.clean import clean, clean_bytes, clean_tree

ESCAPES = [
    ("a\x1b[2Jb", "ab"),
    ("a\x1b[38;5;196mred\x1b[0mb", "aredb"),
    ("\x1b]0;title\x07x", "x"),
    ("\x1b]52;c;ZXZpbA==\x07x", "x"),
    ("\x1b]52;c;ZXZpbA==\x1b\\x", "x"),
    ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x9b2Jx", "x"),
    ("\x9d52;c;ZXZpbA==\x9cx", "x"),
    ("\x1bPq#0;2;0;0;0\x1b\\x", "x"),
    ("\x1b_Gf=24;AAAA\x1b\\x", "x"),
    ("\x1b^private\x1b\\x", "x"),
    ("\x1bXsos\x1b\\x", "x"),
    ("\x1b7\x1b8\x1bc\x1b(Bx", "x"),
    ("x\x1b", "x"),
    ("x\x1b[", "x"),
    ("x\x1b]52;c;never ends", "x"),
    ("a\x00\x07\x08\x0b\x0c\r\n\x7fb", "ab"),
    ("a\tb", "a\tb"),
    ("evil\u202etxt.exe", "eviltxt.exe"),
    ("zero\u200bwidth\u200d\ufeff", "zerowidth"),
    ("line\u2028para\u2029", "linepara"),
    ("soft\xadhyphen", "softhyphen"),
    ("tag\U000e0041\U000e007f", "tag"),
    ("lone\ud800surrogate", "lonesurrogate"),
    ("日本語 żółć ✓ 🙂", "日本語 żółć ✓ 🙂"),
    ("[@click=app.evil()]x[/]", "[@click=app.evil()]x[/]"),
]

FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@pytest.mark.parametrize(("dirty", "expected"), ESCAPES)
def test_each_kind_of_sequence_is_gone_and_the_text_stays(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x9b\x9d\x90[]P\\;0123mJ?\x07\u202e\u200b\t\r\n")))


@given(HOSTILE)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    cleaned = clean(text)
    assert not FORBIDDEN.search(cleaned)
    assert all(unicodedata.category(each) not in ("Cc", "Cs") or each == "\t" for each in cleaned)


@given(HOSTILE)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_untouched(text: str) -> None:
    assert clean(text) == text


@given(st.binary())
def test_any_bytes_become_harmless_text(data: bytes) -> None:
    assert not FORBIDDEN.search(clean_bytes(data))


def test_every_string_of_a_tree_is_cleaned_keys_too() -> None:
    tree = {"a\x1b[2J": ["x\x07", {"k": "\u202ey"}, 1, None, True, 1.5]}
    assert clean_tree(tree) == {"a": ["x", {"k": "y"}, 1, None, True, 1.5]}


def test_cleaning_keeps_up_with_a_flood_of_lines() -> None:
    line = "{'loss': 0.1234, 'grad_norm': 1.5, 'learning_rate': 1e-05, 'epoch': 0.3}"
    began = time.process_time()
    for _ in range(100_000):
        clean(line)
    assert time.process_time() - began < 0.2  # 500,000 lines a second


def test_hostile_lines_cost_linear_time() -> None:
    for hostile in ("\x1b" * 200_000, "\x1b]" * 100_000, "\x1b[" + "0;" * 100_000, "\x9d" * 200_000):
        began = time.process_time()
        clean(hostile)
        assert time.process_time() - began < 1.0
