"""A YAML file read as a typed value; every mistake is told with file, line, field, what was expected and found.

The YAML that is read is plain on purpose: one document, no tags, no anchors, no duplicate keys, so that what a file
says is what it looks like, and a hostile one is small. Plain scalars follow YAML 1.2's core schema, not PyYAML's
YAML 1.1: `no` is a text, `1e-4` a number, `12:30` not 750. https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec
import yaml

from dm_isaac_g1.core import expected, plainfile
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.expected import Field

T = TypeVar("T")

#: A file of 256 KiB is no profile, and PyYAML would take seconds for it.
MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
#: Python refuses to read integers of more than 4300 digits; nothing here needs more than these.
_LONGEST_NUMBER = 400

_CORE_SCHEMA: tuple[tuple[re.Pattern[str], Any], ...] = (
    (re.compile(r"(?:null|Null|NULL|~|)"), lambda text: None),
    (re.compile(r"(?:true|True|TRUE)"), lambda text: True),
    (re.compile(r"(?:false|False|FALSE)"), lambda text: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(?:nan|NaN|NAN)"), lambda text: float("nan")),
)


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a file. `field` is dotted: hosts.workstation.port; empty for the file as a whole."""

    line: int
    field: str
    what: str
    fix: str | None = None

    def error(self, path: Path) -> ConfigError:
        where = f"{path}:{self.line}" if self.line else str(path)
        return ConfigError(f"{self.field}: {self.what}" if self.field else self.what, where=where, fix=self.fix)


class Document:
    """A parsed file: plain values, and the line where each stands."""

    def __init__(self, path: Path, value: dict[str, Any], lines: dict[Field, int]) -> None:
        self.path = path
        self.value = value
        self._lines = lines

    def line(self, *field: str | int) -> int:
        """The line of a field, or of the nearest one above it that the file has."""
        while field and field not in self._lines:
            field = field[:-1]
        return self._lines.get(field, 1)

    def problem(self, field: Field, what: str, fix: str | None = None) -> Problem:
        return Problem(self.line(*field), ".".join(map(str, field)), what, fix)

    def problems(self, type_: Any) -> list[Problem]:
        """All mistakes of the file against a type, in the order of its lines."""
        found = [self.problem(m.field, m.what, m.fix) for m in expected.mistakes(self.value, type_)]
        return sorted(found, key=lambda problem: problem.line)

    def convert(self, type_: type[T]) -> T:
        """The typed value. Raises ConfigError for the first mistake, saying how many more there are."""
        raise_first(self.path, self.problems(type_))
        try:
            return msgspec.convert(self.value, type_)
        except msgspec.ValidationError as error:  # a check that `expected` does not know
            raise ConfigError(str(error), where=str(self.path)) from None


def load(path: Path | str, type_: type[T]) -> T:
    """The file as a value of that type. Raises ConfigError."""
    return read(path).convert(type_)


def read(path: Path | str) -> Document:
    """Parse a file whose top level is a mapping. Raises ConfigError."""
    path = Path(path)
    text = _text(path)
    try:
        return _Builder(path).document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, text, error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"a character that YAML does not allow: U+{error.character:04X}", where=f"{path}:{line}"
        ) from None


def raise_first(path: Path, problems: list[Problem]) -> None:
    """Raise the first problem as a ConfigError, saying how many more there are; nothing where there are none."""
    if not problems:
        return
    first = problems[0]
    if len(problems) > 1:
        more = f"{len(problems) - 1} more mistake{'s' if len(problems) > 2 else ''} in this file"
        first = msgspec.structs.replace(first, fix=f"{first.fix}; {more}" if first.fix else more)
    raise first.error(path)


def _text(path: Path) -> str:
    try:
        data = plainfile.read(path, MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES // 1024} KiB; that is no profile or recipe", where=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", where=f"{path}:{line}") from None


def _syntax_error(path: Path, text: str, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    if line <= len(lines) and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]:
        return ConfigError("a tab in the indentation", where=f"{path}:{line}", fix="YAML wants spaces")
    what = " ".join(part for part in (error.context, error.problem) if part)
    return ConfigError(f"not valid YAML: {what}", where=f"{path}:{line}")


class _Builder:
    """Builds plain values from parse events: no recursion over aliases, no constructors, a bounded depth."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[Field, int] = {}

    def document(self, events: Iterator[yaml.Event]) -> Document:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                break
        else:
            raise ConfigError("empty; expected a mapping of fields", where=str(self._path))
        first = next(events)
        if not isinstance(first, yaml.MappingStartEvent):
            self._refuse(first, "the top level must be a mapping of fields", "begin with `title: ...`")
        self._lines[()] = _line(first)
        value = self._mapping(events, ())
        next(events)  # the document's end
        after = next(events)
        if isinstance(after, yaml.DocumentStartEvent):
            self._refuse(after, "a second YAML document", "one file holds one")
        return Document(self._path, value, self._lines)

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], field: Field) -> Any:
        self._lines.setdefault(field, _line(event))
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._refuse(event, "YAML anchors and aliases are not read here", "write the value out")
        if tag := getattr(event, "tag", None):
            self._refuse(event, f"YAML tags ({tag}) are not read here", "write a plain value")
        if len(field) > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, field)
        return self._mapping(events, field)

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.style is None:
            for pattern, build in _CORE_SCHEMA:
                if pattern.fullmatch(event.value):
                    return build(event.value[:_LONGEST_NUMBER])
        return event.value

    def _sequence(self, events: Iterator[yaml.Event], field: Field) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*field, len(items))))
        return items

    def _mapping(self, events: Iterator[yaml.Event], field: Field) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, "a field's name must be plain text")
            name = str(event.value)
            if name in items:
                first = self._lines[(*field, name)]
                self._refuse(event, f"{'.'.join(map(str, (*field, name)))}: given twice, first on line {first}")
            self._lines[(*field, name)] = _line(event)
            items[name] = self._node(next(events), events, (*field, name))
        return items

    def _refuse(self, event: yaml.Event, what: str, fix: str | None = None) -> NoReturn:
        raise ConfigError(what, where=f"{self._path}:{_line(event)}", fix=fix)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
