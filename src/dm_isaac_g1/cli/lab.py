"""`dm-g1 lab`: the embedded lab up, down, how it is, and from new."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from dm_isaac_g1.cli.globals import Globals, global_options
from dm_isaac_g1.core.errors import RefusedError
from dm_isaac_g1.core.events import Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.lab.lab import LabStatus

#: The lab's profile, among the shipped ones.
PROFILE = "lab"


@click.group("lab")
def lab() -> None:
    """The embedded lab: two real SSH hosts on loopback, to try everything on."""


def bring_up(disk: str | None = None, *, quiet: bool = False) -> str:
    """Bring the lab up if it is down; the name of its profile. Raises LabError, UsageError."""
    from dm_isaac_g1.core.units import parse_size
    from dm_isaac_g1.lab.lab import Lab

    here = Lab()
    up = here.status().up
    if not up and not quiet:
        click.echo("Bringing the lab up", err=True)
    if not up or disk:
        here.up(parse_size(disk) if disk else None)
    return PROFILE


@lab.command(
    "up",
    params=[
        click.Option(
            ["--disk"],
            metavar="SIZE",
            help="Give the workstation's workspace a size (2G), so that it really fills. "
            "It is in memory where one may mount: `lab down` loses it then.",
        ),
        *global_options(),
    ],
)
@click.pass_context
def up(context: click.Context, /, disk: str | None, **given: Any) -> int:
    """Bring the lab up; what runs already is left as it is."""
    from dm_isaac_g1.core.units import parse_size
    from dm_isaac_g1.lab.lab import Lab

    chosen = Globals.of(context, given)
    return _tell(chosen, Lab().up(parse_size(disk) if disk else None))


@lab.command("down", params=[*global_options()])
@click.pass_context
def down(context: click.Context, /, **given: Any) -> int:
    """Take the lab down, and the jobs that still run on it.

    Its files stay, but for a workspace with a size of its own (`--disk`): that is in memory, and all runs, checkpoints
    and files on it are lost.
    """
    from dm_isaac_g1.lab.lab import Lab

    return _tell(Globals.of(context, given), Lab().down())


@lab.command("status", params=[*global_options()])
@click.pass_context
def status(context: click.Context, /, **given: Any) -> int:
    """Say how the lab is; changes nothing."""
    from dm_isaac_g1.lab.lab import Lab

    return _tell(Globals.of(context, given), Lab().status())


@lab.command("reset", params=[click.Option(["--yes"], is_flag=True, help="Agree to it."), *global_options()])
@click.pass_context
def reset(context: click.Context, /, yes: bool, **given: Any) -> int:
    """Take the lab down and delete its folder, with all runs and checkpoints in it."""
    from dm_isaac_g1.lab.lab import Lab

    chosen = Globals.of(context, given)
    here = Lab()
    if not yes:
        question = f"Delete {here.layout.root} with all that is in it?"
        asked = not chosen.json and sys.stdin.isatty() and sys.stderr.isatty()
        if not (asked and click.confirm(question, default=False, err=True)):
            raise RefusedError(f"reset deletes {here.layout.root}: not confirmed", fix="say --yes to agree")
    return _tell(chosen, here.reset())


def _tell(chosen: Globals, state: LabStatus) -> int:
    """The lab's state as text or as a result event."""
    import msgspec

    from dm_isaac_g1.cli.table import table
    from dm_isaac_g1.cli.writing import writer
    from dm_isaac_g1.core.units import many, size

    out = writer("lab", json=chosen.json)
    for note in state.notes:
        out.write(Progress(text=note))
    if state.ended:
        out.write(Progress(text=f"ended {many(state.ended, 'process', 'processes')} of jobs"))
    if state.others:
        what = many(state.others, "other process", "other processes")
        out.write(Progress(text=f"ended {what} on its hosts (connections to them, and what they had started)"))
    rows = [
        (host.name, "up" if host.up else "down", str(host.port or ""), size(host.disk) if host.disk else "shared")
        for host in state.hosts
    ]
    text = "\n".join([*table(("HOST", "STATE", "PORT", "DISK"), rows), f"folder: {state.folder}"])
    out.write(Result(text=text, data=msgspec.to_builtins(state) | {"up": state.up}))
    return 0
