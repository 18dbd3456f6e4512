from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dm_isaac_g1.core import yamlfile
from dm_isaac_g1.core.errors import ConfigError


class Inner(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    container: str
    conda_env: str | None = None


class Outer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    title: str = ""
    port: int = 1
    rate: float = 0.1
    on: bool = True
    roles: tuple[Literal["train", "serve"], ...] = ()
    runtime: Literal["bare"] | Inner = "bare"
    hosts: dict[str, Inner] = {}
    anything: dict[str, Any] = {}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.yaml"


def load(file: Path, text: str | bytes) -> Outer:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return yamlfile.load(file, Outer)


def refused(file: Path, text: str | bytes) -> str:
    """The one line that the user sees, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load(file, text)
    line = caught.value.line()
    assert "\n" not in line
    return line.replace(f"{file.parent}/", "")


def test_a_file_is_read_as_a_typed_value(file: Path) -> None:
    outer = load(
        file,
        "title: 'yes'\nport: 0x10\nrate: 1e-4\non: false\nroles: [train]\nruntime: {container: c}\n"
        "hosts:\n  a: {container: '1'}\nanything: {deep: [1, {x: ~}]}\n",
    )
    assert outer == Outer(
        title="yes",
        port=16,
        rate=1e-4,
        on=False,
        roles=("train",),
        runtime=Inner(container="c"),
        hosts={"a": Inner(container="1")},
        anything={"deep": [1, {"x": None}]},
    )


@pytest.mark.parametrize("text", ["no", "on", "off", "yes", "12:30", "1_000", "2026-11-20", "="])
def test_a_word_stays_a_text_where_yaml_1_1_would_make_something_else_of_it(file: Path, text: str) -> None:
    assert load(file, f"title: {text}\n").title == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port: abc\n", "file.yaml:1: port: expected a whole number, found 'abc'"),
        ("port: 1.5\n", "file.yaml:1: port: expected a whole number, found 1.5"),
        ("port: true\n", "file.yaml:1: port: expected a whole number, found true"),
        ("port:\n", "file.yaml:1: port: expected a whole number, found nothing"),
        ("rate: fast\n", "file.yaml:1: rate: expected a number, found 'fast'"),
        ("on: yes\n", "file.yaml:1: on: expected true or false, found 'yes'"),
        ("title: 3\n", "file.yaml:1: title: expected text, found 3; put it in quotes"),
        ("title: [a]\n", "file.yaml:1: title: expected text, found a list"),
        ("\nprot: 3\n", "file.yaml:2: prot: no such field here; did you mean 'port'?"),
        (
            "roles:\n  - train\n  - srve\n",
            "file.yaml:3: roles.1: expected one of serve, train, found 'srve'; did you mean 'serve'?",
        ),
        ("roles: train\n", "file.yaml:1: roles: expected a list (one of serve, train each), found 'train'"),
        ("hosts: [a]\n", "file.yaml:1: hosts: expected a mapping, found a list"),
        ("hosts:\n  ws:\n    conda_env: x\n", "file.yaml:2: hosts.ws.container: missing; expected text"),
        (
            "hosts:\n  ws:\n    container: c\n    conda: x\n",
            "file.yaml:4: hosts.ws.conda: no such field here; did you mean 'conda_env'?",
        ),
        (
            "runtime: bear\n",
            "file.yaml:1: runtime: expected bare or a mapping with container, conda_env, found 'bear'; "
            "did you mean 'bare'?",
        ),
        ("runtime:\n  container: 5\n", "file.yaml:2: runtime.container: expected text, found 5; put it in quotes"),
    ],
)
def test_a_mistake_is_told_with_line_field_expected_and_found(file: Path, text: str, said: str) -> None:
    assert refused(file, text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "file.yaml: empty; expected a mapping of fields"),
        ("# only a comment\n", "file.yaml: empty; expected a mapping of fields"),
        ("- a\n- b\n", "file.yaml:1: the top level must be a mapping of fields; begin with `title: ...`"),
        ("\njust words\n", "file.yaml:2: the top level must be a mapping of fields; begin with `title: ...`"),
        ("title: a\nport: 1\ntitle: b\n", "file.yaml:3: title: given twice, first on line 1"),
        (
            "hosts:\n  a: {container: x}\n  a: {container: y}\n",
            "file.yaml:3: hosts.a: given twice, first on line 2",
        ),
        ("hosts:\n\ta: 1\n", "file.yaml:2: a tab in the indentation; YAML wants spaces"),
        ("title: a\n---\ntitle: b\n", "file.yaml:2: a second YAML document; one file holds one"),
        ("[a, b]: c\n", "file.yaml:1: a field's name must be plain text"),
        ("title: &t a\n", "file.yaml:1: YAML anchors and aliases are not read here; write the value out"),
        ("title: *t\n", "file.yaml:1: YAML anchors and aliases are not read here; write the value out"),
        (
            "title: !!python/object/apply:os.system [ls]\n",
            "file.yaml:1: YAML tags (tag:yaml.org,2002:python/object/apply:os.system) are not read here; "
            "write a plain value",
        ),
        (b"title: a\nport: \xff\n", "file.yaml:2: not UTF-8 text"),
        ("title: a\nport: \x07\n", "file.yaml:2: a character that YAML does not allow: U+0007"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(file: Path, text: str | bytes, said: str) -> None:
    assert refused(file, text) == said


@pytest.mark.parametrize("text", ["title: [a, b\n", "title: 'a\n", "a: b: c\n", "title: a\n  port: 1\n", "title: %a\n"])
def test_broken_syntax_names_its_line(file: Path, text: str) -> None:
    assert refused(file, text).startswith(("file.yaml:1: not valid YAML: ", "file.yaml:2: not valid YAML: "))


def test_all_mistakes_are_listed_in_the_order_of_their_lines(file: Path) -> None:
    file.write_text("port: x\nprot: 1\nroles: [train, x]\nhosts:\n  a: {}\n")
    problems = yamlfile.read(file).problems(Outer)
    assert [(problem.line, problem.field) for problem in problems] == [
        (1, "port"),
        (2, "prot"),
        (3, "roles.1"),
        (5, "hosts.a.container"),
    ]
    assert refused(file, file.read_text()).endswith("; 3 more mistakes in this file")


def test_a_billion_laughs_costs_nothing(file: Path) -> None:
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    began = time.perf_counter()
    assert "anchors and aliases" in refused(file, "\n".join(lines))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_deep_nesting_is_refused_not_recursed_into(file: Path, opening: str) -> None:
    assert refused(file, "title: " + opening * 5000) == "file.yaml:1: nested deeper than 20 levels"


def test_a_huge_file_is_not_read(file: Path) -> None:
    assert (
        refused(file, b"title: a\n" + b"#" * 300_000) == "file.yaml: larger than 256 KiB; that is no profile or recipe"
    )


def test_a_number_of_ten_thousand_digits_is_a_mistake_not_a_traceback(file: Path) -> None:
    assert "expected text, found 99999" in refused(file, f"title: {'9' * 10_000}\n")


def test_a_missing_file_and_a_folder_are_told(file: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        yamlfile.load(file, Outer)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        yamlfile.load(file.parent, Outer)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from(" \t\n:-[]{}&*!|>'\"#%@`,?ab1.~e\x85\ufeff"), max_size=60))
def test_any_text_is_a_value_or_a_config_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(text.encode())
    try:
        yamlfile.load(file, Outer)
    except ConfigError as error:
        assert "any.yaml" in error.line()


def test_a_pipe_or_a_device_is_refused_and_never_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(ConfigError, match=r"file\.yaml: a named pipe, not a regular file"):
        yamlfile.load(file, Outer)
    with pytest.raises(ConfigError, match="/dev/zero: a device, not a regular file"):
        yamlfile.load("/dev/zero", Outer)
