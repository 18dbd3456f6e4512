"""The catalogue of what a user can do: each action declared once, with typed and documented parameters.

The command line, the console's forms and palette, the JSON schema and the reference page are made from these
declarations. An action is an async generator function: it yields events and ends with a `Result`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, TypeVar

import msgspec
from msgspec import inspect as mi

from dm_isaac_g1.core.errors import DmG1Error, UsageError
from dm_isaac_g1.core.events import Event, Failure, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.profile import Role

#: What a parameter's value names, so that it can be completed and picked from a list.
Names = Literal["host", "recipe", "profile", "job", "dataset", "model"]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every action's parameters. Fields are `Annotated[type, Meta(description=...)]`.

    `Meta(extra=...)` may hold `positional: True` (an argument on the command line, not an option), `names: Names`
    (what the value names), `option: str` (the option, where it is not the field's name) and `commas: False` (of a
    list: a value with commas is one value).
    """


class Placed(Params, frozen=True, kw_only=True):
    """Parameters of an action that runs where its files lie: in this process, on a host, or detached there as a job.

    Without `on` it runs here. How it gets there is `actions.places`.
    """

    on: Annotated[
        str | None,
        msgspec.Meta(
            description="Run it on this host, by that host's own dm-g1; paths are relative to its datasets folder.",
            extra={"names": "host"},
        ),
    ] = None
    detach: Annotated[
        bool, msgspec.Meta(description="With --on: as a job that outlives this program; `dm-g1 train list` shows it.")
    ] = False


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
    #: The option that the user types; empty: as `name`, with dashes.
    said: str = ""
    #: Of many: a comma separates values.
    commas: bool = True

    @property
    def option(self) -> str:
        """--save-steps"""
        return f"--{self.said or self.name.replace('_', '-')}"


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
    #: False: it works without a profile (one that lists or mends profiles must). "if-any": it uses one that is there.
    needs_profile: bool | Literal["if-any"] = True
    #: The user's secrets (`core.config.SECRET`) that go with it to a host.
    secrets: tuple[str, ...] = ()
    #: Interrupted, it keeps what is finished: the same action goes on from there.
    resumes: bool = False

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
            raise UsageError(_plain(str(wrong), self.fields()), where=self.name) from None


_actions: dict[str, Action] = {}


def action(
    name: str,
    *,
    title: str,
    params: type[P],
    key: str | None = None,
    needs_host: Role | None = None,
    danger: bool = False,
    needs_profile: bool | Literal["if-any"] = True,
    secrets: tuple[str, ...] = (),
    resumes: bool = False,
) -> Callable[[Run[P]], Run[P]]:
    """Declare an async generator function as the action `name` ("group.verb")."""

    def declare(run: Run[P]) -> Run[P]:
        if name in _actions:
            raise ValueError(f"action {name} is declared twice")
        if danger and issubclass(params, Placed):
            raise ValueError(f"{name}: nobody could agree to it on a host")
        _actions[name] = Action(name, title, params, run, key, needs_host, danger, needs_profile, secrets, resumes)
        return run

    return declare


def catalogue() -> dict[str, Action]:
    """All actions by name, in the order of declaration."""
    # They declare, in this order.
    from dm_isaac_g1.actions import train, watch, checkpoints, disk, data, data_made, data_seen  # noqa: F401, I001
    from dm_isaac_g1.actions import infer, infer_serve, infer_export  # noqa: F401
    from dm_isaac_g1.actions import deploy, deploy_back, deploy_seen  # noqa: F401
    from dm_isaac_g1.actions import hosts, profile, remote  # noqa: F401

    return dict(_actions)


def get(name: str) -> Action:
    """The action of that name. Raises UsageError."""
    found = catalogue().get(name)
    if found is None:
        raise UsageError(f"no action {name!r}", fix=f"there are: {', '.join(_actions)}")
    return found


def elsewhere(params: Params) -> TypeGuard[Placed]:
    """Whether an action with these parameters is to run on a host."""
    return isinstance(params, Placed) and (params.on is not None or params.detach)


async def perform(which: Action | str, ctx: Context, params: Params) -> AsyncIterator[Event]:
    """Run an action; its last event is a Result, or the Failure that stands for its DmG1Error."""
    found = get(which) if isinstance(which, str) else which
    run = found.run(ctx, params)
    if elsewhere(params):
        from dm_isaac_g1.actions import places

        run = places.run(found, ctx, params)
    ended = False
    try:
        async with aclosing(run) as events:  # type: ignore[type-var]
            async for event in events:
                ended = isinstance(event, Result | Failure)
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
    """A parameter struct's fields, as forms and command lines need them: its own before those of where it runs."""
    info = mi.type_info(params)
    assert isinstance(info, mi.StructType)
    shared = Placed.__struct_fields__ if issubclass(params, Placed) else ()
    return tuple(_field(each) for each in sorted(info.fields, key=lambda field: field.name in shared))


def words(action: str, known: Sequence[Field], values: Mapping[str, Any]) -> list[str]:
    """What to type after `dm-g1` for these values: ["train", "start", "--steps", "400"]; defaults are left out."""
    said, last = action.split("."), list[str]()
    for field in known:
        value = values.get(field.name, field.default)
        if value is None or value == field.default:
            continue
        if field.kind == "flag":
            said.append(field.option)
            continue
        for each in value if field.many else (value,):
            if field.positional:
                last.append(str(each))
            else:
                said += [field.option, str(each)]
    return [*said, *(["--"] if any(word.startswith("-") for word in last) else []), *last]


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
        said=extra.get("option", ""),
        commas=extra.get("commas", True),
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


def _plain(message: str, known: Sequence[Field]) -> str:
    """msgspec's validation error, with its `$.steps` path as the option a user typed."""
    text, _, path = message.partition(" - at `$.")
    for pattern, plain in _PLAINLY:
        text = pattern.sub(plain, text)
    name = path.rstrip("`").split("[")[0]
    option = next((field.option for field in known if field.name == name), f"--{name.replace('_', '-')}")
    return f"{option}: {text}" if path else text
