"""Flags of a trainer's script as a table: name, kind, default. What does not fit is refused before the launch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.core.expected import did_you_mean

#: `tag`: the NAME of an enum's member. `numbers`: a mapping of names to numbers, written as `name 0.3 name 0.4`.
Kind = Literal["str", "int", "float", "bool", "tag", "numbers"]


class Flag(msgspec.Struct, frozen=True):
    """`--<name with dashes>`. `default` None with `optional`: the script takes it as not given."""

    name: str
    kind: Kind
    default: Any = None
    optional: bool = False

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")


def tyro_argv(flags: Iterable[Flag], values: Mapping[str, Any], *, script: str) -> list[str]:
    """The words that tyro parses into `values`: bools as --x and --no-x (`--x True` is an error there).

    Raises UsageError for a name that the script does not have and for a value of another kind.
    """
    known = {flag.name: flag for flag in flags}
    words: list[str] = []
    for name, value in values.items():
        flag = known.get(name.replace("-", "_"))
        if flag is None:
            raise UsageError(f"{script} has no option {name!r}", fix=did_you_mean(name, known))
        words += _words(flag, value, script)
    return words


def _words(flag: Flag, value: Any, script: str) -> list[str]:
    if value is None:
        if flag.optional:
            return []
        raise _wrong(flag, value, script)
    if flag.kind == "bool":
        if not isinstance(value, bool):
            raise _wrong(flag, value, script)
        return [flag.option if value else "--no-" + flag.option.removeprefix("--")]
    if flag.kind == "numbers":
        if not isinstance(value, Mapping) or not value or not all(map(_is_number, value.values())):
            raise _wrong(flag, value, script)
        return [flag.option, *(str(word) for pair in value.items() for word in pair)]
    if flag.kind == "int":
        if isinstance(value, bool) or not (isinstance(value, int) or (_is_number(value) and float(value).is_integer())):
            raise _wrong(flag, value, script)
        return [flag.option, str(int(value))]  # 1e4 is an error for tyro, 10000 is not
    if flag.kind == "float":
        if not _is_number(value):
            raise _wrong(flag, value, script)
        return [flag.option, str(value)]
    if not isinstance(value, str) or not value or value.startswith("-"):
        raise _wrong(flag, value, script)
    if flag.kind == "tag" and not (value.isupper() and value.replace("_", "a").isalnum()):
        raise UsageError(f"{script}: {flag.option} takes the tag's NAME, not {value!r}", fix=f"write {value.upper()!r}")
    return [flag.option, value]


_EXPECTED: dict[Kind, str] = {
    "str": "a word",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tag": "a tag's NAME",
    "numbers": "names with numbers",
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(flag: Flag, value: Any, script: str) -> UsageError:
    return UsageError(f"{script}: {flag.option} is {value!r}, expected {_EXPECTED[flag.kind]}")
