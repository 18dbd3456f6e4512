"""Commands that are no actions of the catalogue: the schema, shell completion, the lab, an interactive shell."""

from __future__ import annotations

from typing import Any

import click

from dm_isaac_g1.cli import completing
from dm_isaac_g1.cli.globals import Globals, global_options
from dm_isaac_g1.core.errors import UsageError


def add_to(tree: click.Group) -> None:
    """Hang them into the tree."""
    tree.add_command(schema)
    tree.add_command(completion)
    from dm_isaac_g1.cli.lab import lab

    tree.add_command(lab)
    remote = tree.commands["remote"]
    assert isinstance(remote, click.Group)
    remote.add_command(connect)
    remote.add_command(execute)


@click.command("schema")
@click.argument("action", required=False)
def schema(action: str | None) -> None:
    """Print the JSON schema of every event line, and of every action's parameters (or of one ACTION's)."""
    import json

    from dm_isaac_g1.actions.schema import document, params_of

    click.echo(json.dumps(params_of(action) if action else document(), indent=2))


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL: eval "$(dm-g1 completion bash)"."""
    from click.shell_completion import get_completion_class

    from dm_isaac_g1.cli.app import root

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"no completion for {shell}")
    click.echo(found(root(), {}, "dm-g1", "_DM_G1_COMPLETE").source())


@click.command(
    "connect",
    params=[
        click.Option(["--host"], help="The host, by its name in the profile.", shell_complete=completing.hosts),
        click.Option(["--outside"], is_flag=True, help="On the host itself, not in its container."),
        *global_options(),
    ],
)
@click.pass_context
def connect(context: click.Context, /, host: str | None, outside: bool, **given: Any) -> int:
    """Open an interactive shell on a host (in its container where it has one)."""
    from dm_isaac_g1.cli.shell import interactive

    return interactive(Globals.of(context, given), host, outside=outside)


@click.command(
    "exec",
    params=[
        click.Argument(["command"], nargs=-1, required=True, type=click.UNPROCESSED),
        click.Option(["--host"], help="The host, by its name in the profile.", shell_complete=completing.hosts),
        click.Option(["--outside"], is_flag=True, help="On the host itself, not in its container."),
        *global_options(),
    ],
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.pass_context
def execute(context: click.Context, /, command: tuple[str, ...], host: str | None, outside: bool, **given: Any) -> int:
    """Run a COMMAND on a host (in its container where it has one); its exit code becomes ours.

    One argument is a shell line as you wrote it; several are a program and its arguments, each passed on as it is.
    Options stand before the command. It is fed what is piped in, as ssh does (`< /dev/null` keeps that from it).
    """
    from dm_isaac_g1.cli.shell import execute as run

    return run(Globals.of(context, given), command, host, outside=outside)
