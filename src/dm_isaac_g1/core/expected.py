"""Plain values held against a type: every mistake, with its field, what was expected and what was found.

msgspec stops at the first mistake and does not name the key of a mapping (`$.hosts[...]`); a person who edits a file
wants all of them, by name. What passes here is still converted by msgspec, which has the last word.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

Field = tuple[str | int, ...]


class Mistake(msgspec.Struct, frozen=True):
    """`field`: names and positions from the top."""

    field: Field
    what: str
    fix: str | None = None


def mistakes(value: Any, type_: Any) -> Iterator[Mistake]:
    """All mistakes of `value` (dicts, lists, scalars) as a `type_`."""
    return _check(value, _info(type_), ())


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that was probably meant, or None. Case does not matter."""
    by_lower = {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ "did you mean 'lab'?", or the names that there are."""
    names = sorted(names)
    found = nearest(name, names)
    if found:
        return f"did you mean {found!r}?"
    return f"there are: {', '.join(names)}" if names else "there are none"


@cache
def _info(type_: Any) -> inspect.Type:
    return inspect.type_info(type_)


def _check(value: Any, info: inspect.Type, field: Field) -> Iterator[Mistake]:
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        yield from _check_struct(value, info, field)
    elif isinstance(info, inspect.DictType) and isinstance(value, dict):
        for name, item in value.items():
            yield from _check(item, info.value_type, (*field, name))
    elif isinstance(info, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
        for place, item in enumerate(value):
            yield from _check(item, info.item_type, (*field, place))
    elif isinstance(info, inspect.UnionType):
        yield from _check_union(value, info, field)
    elif not _accepts(value, info):
        yield Mistake(field, f"expected {_expected(info)}, found {_found(value)}", _hint(value, info))


def _check_struct(value: dict[str, Any], info: inspect.StructType, field: Field) -> Iterator[Mistake]:
    known = {each.encode_name: each for each in info.fields}
    for name in value:
        if name not in known:
            yield Mistake((*field, name), "no such field here", did_you_mean(name, known))
    for name, each in known.items():
        if name in value:
            yield from _check(value[name], each.type, (*field, name))
        elif each.required:
            yield Mistake((*field, name), f"missing; expected {_expected(each.type)}")


def _check_union(value: Any, info: inspect.UnionType, field: Field) -> Iterator[Mistake]:
    if any(not list(_check(value, each, field)) for each in info.types):
        return
    for each in info.types:  # inside the one member that has the value's shape the mistake can be named exactly
        if isinstance(each, inspect.StructType | inspect.DictType) and isinstance(value, dict):
            yield from _check(value, each, field)
            return
        if isinstance(each, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
            yield from _check(value, each, field)
            return
    yield Mistake(field, f"expected {_expected(info)}, found {_found(value)}", _hint(value, info))


def _accepts(value: Any, info: inspect.Type) -> bool:
    match info:
        case inspect.AnyType():
            return True
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool) and _in_range(value, info)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool) and _in_range(value, info)
        case inspect.StrType():
            return isinstance(value, str) and not (info.min_length and len(value) < info.min_length)
        case inspect.LiteralType():
            return not isinstance(value, bool | float) and value in info.values
        case inspect.StructType() | inspect.DictType() | inspect.VarTupleType() | inspect.ListType():
            return False  # its shape would have been looked into
        case _:
            return True  # msgspec has the last word


def _in_range(value: float, info: inspect.IntType | inspect.FloatType) -> bool:
    return (
        (info.ge is None or value >= info.ge)
        and (info.gt is None or value > info.gt)
        and (info.le is None or value <= info.le)
        and (info.lt is None or value < info.lt)
    )


def _expected(info: inspect.Type) -> str:
    match info:
        case inspect.NoneType():
            return "nothing"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range_text(info)
        case inspect.FloatType():
            return "a number" + _range_text(info)
        case inspect.StrType():
            return "some text" if info.min_length else "text"
        case inspect.LiteralType():
            return "one of " + ", ".join(map(str, info.values)) if len(info.values) > 1 else str(info.values[0])
        case inspect.StructType():
            return f"a mapping with {', '.join(each.encode_name for each in info.fields)}"
        case inspect.DictType():
            return "a mapping"
        case inspect.VarTupleType() | inspect.ListType():
            return f"a list ({_expected(info.item_type)} each)"
        case inspect.UnionType():
            return " or ".join(_expected(each) for each in info.types)
        case _:
            return "a value"


def _range_text(info: inspect.IntType | inspect.FloatType) -> str:
    limits = ((">=", info.ge), (">", info.gt), ("<=", info.le), ("<", info.lt))
    text = " and ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)
    return f" {text}" if text else ""


def _found(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= 40 else value[:39] + "…")
        case int() | float():
            return str(value)[:40]
        case dict():
            return "a mapping"
        case _:
            return "a list"


def _hint(value: Any, info: inspect.Type) -> str | None:
    """The literal that was probably meant; quotes where a text looks like a number."""
    members = info.types if isinstance(info, inspect.UnionType) else (info,)
    for each in members:
        if isinstance(each, inspect.LiteralType) and isinstance(value, str):
            found = nearest(value, [str(option) for option in each.values])
            return f"did you mean {found!r}?" if found else None
        if isinstance(each, inspect.StrType) and isinstance(value, bool | int | float):
            return "put it in quotes"
    return None
