"""The command line's tree: groups and commands made from the declared actions, and the few that are no actions."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from dm_isaac_g1.actions.registry import catalogue, failure
from dm_isaac_g1.cli import commands, extras
from dm_isaac_g1.cli.globals import Globals, global_options
from dm_isaac_g1.core.errors import DmG1Error, ExitCode, UsageError

#: What each group is about; a group's commands are the actions of that name.
GROUPS = {
    "train": "Fine-tunes: start, watch, stop.",
    "checkpoints": "What the trainers saved.",
    "disk": "Will the next saves fit?",
    "data": "Datasets: get, convert, check, repair, combine.",
    "infer": "Policy servers: serve a model, test a server, export, benchmark.",
    "deploy": "A checkpoint into service: `dm-g1 deploy CHECKPOINT`; what serves, what served, and back to it.",
    "remote": "One host by hand.",
    "hosts": "The machines of the profile; alone, a table of them.",
    "profile": "Fleets and defaults, as YAML files.",
}
#: What a group does when it is named alone.
ALONE = {"hosts": "hosts.list"}
#: The command of a group that is meant where none of its names is said: `dm-g1 deploy checkpoint-300`.
MEANT = {"deploy": "start"}


def run(args: list[str]) -> int:
    """Run one command line; its exit code. Raises KeyboardInterrupt, BrokenPipeError."""
    try:
        answer = root().main(args=args, prog_name="dm-g1", standalone_mode=False)
        return answer if isinstance(answer, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except SystemExit:
        # Not standalone, click itself leaves in one case only: nobody reads our output any more (EPIPE).
        raise BrokenPipeError from None
    except click.exceptions.NoArgsIsHelpError as alone:
        if "--json" in args:
            return show(UsageError("which command?", fix="`--help` names them"), json=True)
        alone.show()
        return ExitCode.USAGE
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as wrong:
        return show(_usage(wrong), json="--json" in args)
    except DmG1Error as error:
        return show(error, json="--json" in args)


def show(error: DmG1Error, *, json: bool) -> int:
    """Tell the error in the one place where errors are told: a line on stderr, or a failure event."""
    if json:
        from dm_isaac_g1.core.events import encode

        click.echo(encode(failure(error)).decode())
    else:
        from dm_isaac_g1.remote.clean import clean

        # A profile or an argument may have come from somebody else.
        click.echo(f"dm-g1: {clean(error.line())}", err=True)
    return int(error.exit_code)


def _usage(wrong: click.ClickException) -> DmG1Error:
    context = getattr(wrong, "ctx", None)
    path = context.command_path if context else "dm-g1"
    return UsageError(wrong.format_message().replace("\n", " "), fix=f"`{path} --help` shows how")


def root() -> click.Group:
    """The whole tree."""
    tree = click.Group(
        "dm-g1",
        help="Mission control for humanoid fine-tunes. Without a command: the console.",
        callback=click.pass_context(_top),
        invoke_without_command=True,
        params=[*global_options(), *_top_options()],
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    actions = catalogue()
    for name, about in GROUPS.items():
        tree.add_command(commands.group(name, about, actions, alone=ALONE.get(name), meant=MEANT.get(name)))
    extras.add_to(tree)
    return tree


def _top_options() -> list[click.Parameter]:
    return [
        click.Option(["--no-ui"], is_flag=True, help="Print the fleet instead of opening the console."),
        click.Option(["--watch"], is_flag=True, help="With --no-ui: go on printing until interrupted."),
        click.Option(
            ["--interval"],
            type=click.FloatRange(0.05, 86_400),
            default=2.0,
            show_default=True,
            help="With --watch: seconds between two prints.",
        ),
        click.Option(["--disk"], metavar="SIZE", help="With --lab: the size of its workstation's workspace (2G)."),
        click.Option(["--theme"], help="The console's theme."),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show it."
        ),
    ]


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from dm_isaac_g1 import __version__

        click.echo(f"dm-g1 {__version__}")
        context.exit(0)


def _top(context: click.Context, /, no_ui: bool, watch: bool, interval: float, theme: str | None, **given: Any) -> int:
    disk = given.pop("disk", None)
    chosen = Globals.of(context, given)
    if disk is not None:
        if not chosen.lab:
            raise click.UsageError("--disk is the lab's; say --lab, too")
        chosen = context.obj = replace(chosen, disk=disk)
    if context.invoked_subcommand is not None:
        if no_ui or watch or theme:
            raise click.UsageError("--no-ui, --watch and --theme stand alone, without a command")
        return 0
    if theme is not None:
        from dm_isaac_g1.core import expected, names

        if theme not in (known := names.themes()):
            raise click.UsageError(f"no theme {theme!r}; {expected.did_you_mean(theme, known)}")
    if no_ui or watch or chosen.json:
        from dm_isaac_g1.cli import headless

        return headless.show_fleet(chosen, watch=watch, interval=interval)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("no terminal to open the console on", fix="`dm-g1 --no-ui` prints the fleet")
    from dm_isaac_g1.cli.console import open_console

    return open_console(chosen, theme)
