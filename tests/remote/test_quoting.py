"""An argv list reaches the far side as it was, whatever stands in it."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.remote.quoting import check_name, command_line

NASTY = [
    "'; touch pwned; '",
    "$(id)",
    "`id`",
    "a\nb",
    "-rf",
    "../../etc",
    "%h",
    "",
    " ",
    "*",
    "~",
    "\\",
    '"',
    "ä\u202e",
]


def argv_of(line: str, shell: str = "sh") -> list[str]:
    done = subprocess.run([shell, "-c", line], stdout=subprocess.PIPE, timeout=20, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_hands_over_exactly_what_was_quoted(shell: str) -> None:
    line = command_line(["printf", "%s\\0", *NASTY])
    assert argv_of(line, shell) == NASTY


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_any_words_survive(words: list[str]) -> None:
    assert argv_of(command_line(["printf", "%s\\0", *words])) == words


def test_settings_and_folder_are_quoted_too(tmp_path: object) -> None:
    folder = f"{tmp_path}/it's; here $(id)"
    subprocess.run(["mkdir", folder], check=True)
    line = command_line(["sh", "-c", 'printf "%s\\0" "$PWD" "$A_1"'], env={"A_1": "x'; id #"}, cwd=folder)
    assert argv_of(line) == [folder, "x'; id #"]


@pytest.mark.parametrize(
    ("argv", "env", "cwd"),
    [
        ([], None, None),
        (["a\0b"], None, None),
        (["a"], {"A=B;": "x"}, None),
        (["a"], {"A": "\0"}, None),
        (["a"], None, "\0"),
    ],
)
def test_what_no_argv_can_hold_is_refused(argv: list[str], env: dict[str, str] | None, cwd: str | None) -> None:
    with pytest.raises(UsageError):
        command_line(argv, env=env, cwd=cwd)


@pytest.mark.parametrize("name", ["run-1", "a", "A.b_c-9", "x" * 128])
def test_plain_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-rf", "a b", "a/b", "..", ".", "a\nb", "$(id)", "x" * 129, "ä", "a\x1b[2J", "../../etc", "%h;"]
)
def test_names_that_a_shell_or_path_would_read_otherwise_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)
