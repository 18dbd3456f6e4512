"""Options that every command has, wherever they stand: `dm-g1 --json train list` and `dm-g1 train list --json`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from dm_isaac_g1.cli import completing

if TYPE_CHECKING:
    from dm_isaac_g1.core.config import Config
    from dm_isaac_g1.core.profile import Profile


@dataclass(frozen=True)
class Globals:
    """What the user said once for all."""

    profile: str | None = None
    lab: bool = False
    json: bool = False
    #: With `lab`: the size of its workstation's workspace.
    disk: str | None = None

    @classmethod
    def of(cls, context: click.Context, given: dict[str, Any]) -> Globals:
        """The options of this command over those before it."""
        said = {name: value for name in ("profile", "lab", "json") if (value := given.pop(name, None))}
        chosen = replace(context.find_object(cls) or cls(), **said)
        if chosen.lab and chosen.profile not in (None, "lab"):
            raise click.UsageError("--lab and --profile name two fleets; say one of them")
        context.obj = chosen
        return chosen

    def load(self) -> tuple[Profile, Config]:
        """The profile and the configuration; with --lab the lab is brought up first. Raises ConfigError."""
        config = self.config()
        return config.profile, config

    def load_if_any(self) -> tuple[Profile, Config]:
        """The same, with a profile without hosts where nobody says which, or there is none."""
        from dm_isaac_g1.core.profile import Profile
        from dm_isaac_g1.core.profiles import NoProfile

        config = self.config()
        try:
            return config.profile, config
        except NoProfile:
            return Profile(name="none"), config

    def config(self) -> Config:
        """The configuration; its profile may be missing. Raises ConfigError."""
        from dm_isaac_g1.cli import journal
        from dm_isaac_g1.core.config import SECRET, load_config

        name = self.profile
        if self.lab:
            from dm_isaac_g1.cli.lab import bring_up

            name = bring_up(self.disk, quiet=self.json)
        journal.keep()
        config = load_config(name)
        for secret in SECRET:
            # They are in the configuration now: no program that we start inherits them.
            os.environ.pop(secret, None)
        return config


def global_options() -> list[click.Option]:
    """Fresh options for one command."""
    return [
        click.Option(["--profile"], metavar="NAME|FILE", help="The fleet to use.", shell_complete=completing.profiles),
        click.Option(["--lab"], is_flag=True, help="Use the embedded lab, and bring it up if it is down."),
        click.Option(["--json"], is_flag=True, help="Events as JSON lines (`dm-g1 schema` describes them)."),
    ]
