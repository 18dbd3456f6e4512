"""The catalogue of what a user can do: each action declared once, with typed and documented parameters.

The command line, the console's forms and palette, the JSON schema and the reference page are made from these
declarations. An action is an async generator function: it yields events and ends with a `Result`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import inspect as mi

from dm_isaac_g1.core.errors import DmG1Error, UsageError
from dm_isaac_g1.core.events import Event, Failure, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.profile import Role

#: What a parameter's value names, so that it can be completed and picked from a list.
Names = Literal["host", "recipe", "profile", "job", "dataset"]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every action's parameters. Fields are `Annotated[type, Meta(description=...)]`.

    `Meta(extra=...)` may hold `positional: True` (an argument on the command line, not an option) and
    `names: Names` (what the value names).
    """


P = TypeVar("P", bound=Params)
Run = Callable[["Context", P], AsyncIterator[Event]]


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter as a form or a command line needs it. `kind` is the JSON type of one value."""

    name: str
    description: str
    kind: Literal["string", "integer", "number", "flag"]
    required: bool
    default: Any
    many: bool = False
    optional: bool = False
    choices: tuple[str, ...] = ()
    positional: bool = False
    names: Names | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """A declared action. `danger`: it asks for a confirmation that says exactly what will happen."""

    name: str
    title: str
    params: type[Params]
    run: Callable[[Context, Any], AsyncIterator[Event]]
    key: str | None = None
    needs_host: Role | None = None
    danger: bool = False
    #: It works without a profile (one that lists or mends profiles must).
    needs_profile: bool = True

    @property
    def group(self) -> str:
        return self.name.split(".", 1)[0]

    @property
    def verb(self) -> str:
        return self.name.split(".", 1)[-1]

    @property
    def help(self) -> str:
        """The docstring: what it does, first line first."""
        return (self.run.__doc__ or self.title).strip()

    def fields(self) -> tuple[Field, ...]:
        return fields(self.params)

    def parse(self, values: dict[str, Any]) -> Params:
        """Typed parameters from plain values (strings are converted). Raises UsageError."""
        try:
            return msgspec.convert(values, self.params, strict=False)
        except msgspec.ValidationError as wrong:
            raise UsageError(_plain(str(wrong)), where=self.name) from None


_actions: dict[str, Action] = {}


def action(
    name: str,
    *,
    title: str,
    params: type[P],
    key: str | None = None,
    needs_host: Role | None = None,
    danger: bool = False,
    needs_profile: bool = True,
) -> Callable[[Run[P]], Run[P]]:
    """Declare an async generator function as the action `name` ("group.verb")."""

    def declare(run: Run[P]) -> Run[P]:
        if name in _actions:
            raise ValueError(f"action {name} is declared twice")
        _actions[name] = Action(name, title, params, run, key, needs_host, danger, needs_profile)
        return run

    return declare


def catalogue() -> dict[str, Action]:
    """All actions by name, in the order of declaration."""
    from dm_isaac_g1.actions import train, watch, checkpoints, disk, hosts, profile, remote  # noqa: F401, I001  they declare, in this order

    return dict(_actions)


def get(name: str) -> Action:
    """The action of that name. Raises UsageError."""
    found = catalogue().get(name)
    if found is None:
        raise UsageError(f"no action {name!r}", fix=f"there are: {', '.join(_actions)}")
    return found


async def perform(which: Action | str, ctx: Context, params: Params) -> AsyncIterator[Event]:
    """Run an action; its last event is a Result, or the Failure that stands for its DmG1Error."""
    found = get(which) if isinstance(which, str) else which
    ended = False
    try:
        async for event in found.run(ctx, params):
            ended = isinstance(event, Result)
            yield event
    except DmG1Error as error:
        yield failure(error)
        return
    if not ended:
        yield Result(text=f"{found.title}: done")


def failure(error: DmG1Error) -> Failure:
    """The event that stands for an error."""
    return Failure(what=error.what, where=error.where, fix=error.fix, code=int(error.exit_code))


def fields(params: type[Params]) -> tuple[Field, ...]:
    """A parameter struct's fields, as forms and command lines need them."""
    info = mi.type_info(params)
    assert isinstance(info, mi.StructType)
    return tuple(_field(each) for each in info.fields)


def _field(field: mi.Field) -> Field:
    of, extra, description = field.type, {}, ""
    if isinstance(of, mi.Metadata):
        extra, description = of.extra or {}, (of.extra_json_schema or {}).get("description", "")
        of = of.type
    optional = False
    if isinstance(of, mi.UnionType):
        rest = [each for each in of.types if not isinstance(each, mi.NoneType)]
        optional = len(rest) < len(of.types)
        (of,) = rest
        of = of.type if isinstance(of, mi.Metadata) else of
    many = isinstance(of, mi.VarTupleType)
    if isinstance(of, mi.VarTupleType):
        of = of.item_type
    return Field(
        name=field.name,
        description=description,
        kind=_kind(of),
        required=field.required,
        default=None if field.default is msgspec.NODEFAULT else field.default,
        many=many,
        optional=optional,
        choices=tuple(str(value) for value in of.values) if isinstance(of, mi.LiteralType) else (),
        positional=bool(extra.get("positional")),
        names=extra.get("names"),
    )


def _kind(of: mi.Type) -> Literal["string", "integer", "number", "flag"]:
    match of:
        case mi.BoolType():
            return "flag"
        case mi.IntType():
            return "integer"
        case mi.FloatType():
            return "number"
        case mi.StrType() | mi.LiteralType():
            return "string"
    raise TypeError(f"a parameter cannot be a {of}")


#: msgspec's words -> a user's.
_PLAINLY = (
    (re.compile(r"^Expected `(?:int|float)` >= (\S+)$"), r"must be at least \1"),
    (re.compile(r"^Expected `(?:int|float)` > (\S+)$"), r"must be above \1"),
    (re.compile(r"^Expected `int(?: \| null)?`, got `\w+`$"), "must be a whole number"),
    (re.compile(r"^Expected `float(?: \| null)?`, got `\w+`$"), "must be a number"),
)


def _plain(message: str) -> str:
    """msgspec's validation error, with its `$.steps` path as the option a user typed."""
    text, _, path = message.partition(" - at `$.")
    for pattern, plain in _PLAINLY:
        text = pattern.sub(plain, text)
    return f"--{path.rstrip('`').split('[')[0].replace('_', '-')}: {text}" if path else text
