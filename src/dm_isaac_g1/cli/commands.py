"""Commands from declarations: an action's parameters become options and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from dm_isaac_g1.actions.registry import Action, Field
from dm_isaac_g1.cli import completing
from dm_isaac_g1.cli.globals import Globals, global_options

_REPEAT = {True: "  [repeat it, or use commas]", False: "  [repeat it]"}
TYPES: dict[str, click.ParamType[Any]] = {"string": click.STRING, "integer": click.INT, "number": click.FLOAT}


class Meant(click.Group):
    """A group with a command that is meant where none is named: what follows the group is that command's."""

    meant = ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        place = self._first_word(ctx, args)
        if place is not None and args[place] not in self.commands:
            args = [*args[:place], self.meant, *args[place:]]
        return super().parse_args(ctx, args)

    def _first_word(self, ctx: click.Context, args: list[str]) -> int | None:
        """Where the group's own options end; None: there is nothing but them."""
        flags = {name: option for option in self.get_params(ctx) for name in option.opts}
        place = 0
        while place < len(args):
            option = flags.get(args[place].split("=", 1)[0])
            if not isinstance(option, click.Option):
                return place
            place += 1 if option.is_flag or "=" in args[place] else 2
        return None


def group(
    name: str, about: str, actions: Mapping[str, Action], *, alone: str | None = None, meant: str | None = None
) -> click.Group:
    """The group of all actions named `name.*`; named alone it performs `alone`, or shows its help."""

    @click.pass_context
    def callback(context: click.Context, /, **given: Any) -> int | None:
        chosen = Globals.of(context, given)
        if context.invoked_subcommand is None and alone is not None:
            return _perform(chosen, actions[alone], {})
        return None

    made = (Meant if meant else click.Group)(
        name,
        help=about,
        callback=callback,
        params=list(global_options()),
        invoke_without_command=alone is not None,
        no_args_is_help=alone is None,
    )
    if isinstance(made, Meant):
        made.meant = meant or ""
    for each in actions.values():
        if each.group == name:
            made.add_command(command(each))
    return made


def command(action: Action) -> click.Command:
    """The command of one action."""

    @click.pass_context
    def callback(context: click.Context, /, **given: Any) -> int:
        return _perform(Globals.of(context, given), action, given)

    params: list[click.Parameter] = [parameter(field) for field in action.fields()]
    if action.danger:
        params.append(click.Option(["--yes"], is_flag=True, help="Agree to what it is about to do."))
    return click.Command(
        action.verb,
        help=action.help,
        short_help=action.title,
        callback=callback,
        params=[*params, *global_options()],
    )


def _perform(chosen: Globals, action: Action, given: dict[str, Any]) -> int:
    from dm_isaac_g1.cli.performing import perform

    agreed = bool(given.pop("yes", False))
    return perform(chosen, action, values(action, given), agreed=agreed)


def values(action: Action, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the user gave, as the action's parameters take it: what was not said is left to the declaration."""
    said: dict[str, Any] = {}
    for field in action.fields():
        value = given.get(field.name)
        if value is None or (field.many and not value):
            continue
        if field.many and field.commas:
            value = [part for each in value for part in str(each).split(",") if part]
        said[field.name] = list(value) if field.many else value
    return said


def parameter(field: Field) -> click.Parameter:
    """The option or argument of one field. Lists are given several times, or with commas."""
    complete = completing.BY_NAMES.get(field.names)
    of: click.ParamType[Any] = click.Choice(field.choices) if field.choices else TYPES.get(field.kind, click.STRING)
    if field.positional:
        return click.Argument([field.name], required=field.required, type=of, shell_complete=complete)
    if field.kind == "flag":
        return click.Option([field.option, field.name], is_flag=True, default=None, help=field.description)
    shown = field.default if not field.required and field.default not in (None, ()) else None
    note = f"  [default: {shown}]" if shown is not None else _REPEAT[field.commas] if field.many else ""
    required: dict[str, Any] = {"required": True} if field.required else {"default": None}
    return click.Option(
        [field.option, field.name],
        # Values with commas between them are no number yet: the action's parameters see to that.
        type=click.STRING if field.many and not field.choices else of,
        metavar=of.name.upper() if field.many and not field.choices else None,
        multiple=field.many,
        help=field.description + note,
        shell_complete=complete,
        **required,
    )
