"""Profiles: which there are, what is in one, whether it is right, and a new one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.events import Event, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.profiles import Found

ProfileName = Annotated[
    str | None,
    Meta(description="A profile: a name or a YAML file.", extra={"positional": True, "names": "profile"}),
]


class NoParams(Params, frozen=True, kw_only=True):
    """Nothing to say."""


@action("profile.list", title="List profiles", params=NoParams, needs_profile=False)
async def list_all(ctx: Context, params: NoParams) -> AsyncIterator[Event]:
    """List the profiles there are: your own, and the shipped ones."""
    from dm_isaac_g1.core.profiles import list_profiles

    found = list_profiles()
    lines = [f"{each.name:<20} {each.origin:<8} {each.path}" for each in found]
    yield Result(text="\n".join(lines) or "no profiles yet", data={"profiles": [_plain(each) for each in found]})


class ShowParams(Params, frozen=True, kw_only=True):
    name: ProfileName = None


@action("profile.show", title="Show a profile", params=ShowParams, needs_profile=False)
async def show(ctx: Context, params: ShowParams) -> AsyncIterator[Event]:
    """Show a profile as dm-g1 understands it, every default filled in."""
    import yaml

    from dm_isaac_g1.core.profiles import load_profile

    plain = msgspec.to_builtins(load_profile(params.name or ctx.profile_name))
    yield Result(text=yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip(), data={"profile": plain})


@action("profile.check", title="Check a profile", params=ShowParams, needs_profile=False)
async def check(ctx: Context, params: ShowParams) -> AsyncIterator[Event]:
    """Read a profile and the recipes it can use; each mistake is told by file, line and field. Contacts no host."""
    from dm_isaac_g1.core import profiles

    path, problems = profiles.check_profile(params.name or ctx.profile_name)
    wrong = [problem.error(path) for problem in problems]
    recipes: list[str] = []
    if not wrong:
        profile = profiles.load_profile(str(path))
        for found in profiles.list_recipes(profile):
            recipes.append(found.name)
            try:
                profiles.load_recipe(str(found.path), profile)
            except ConfigError as error:
                wrong.append(error)
        if (default := profile.defaults.recipe) is not None:
            try:
                profiles.load_recipe(default, profile)
            except ConfigError as error:
                wrong.append(error)
    for each in wrong[:-1]:
        yield Progress(text=each.line())
    if wrong:
        raise wrong[-1]
    yield Result(text=f"{path} is right", data={"path": str(path), "hosts": list(profile.hosts), "recipes": recipes})


class NewParams(Params, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="The new profile's name.", extra={"positional": True})]
    train: Annotated[str | None, Meta(description="The workstation that trains: an ssh alias, or user@host:port.")] = (
        None
    )
    serve: Annotated[str | None, Meta(description="The machine that serves: an ssh alias, or user@host:port.")] = None


@action("profile.new", title="Write a new profile", params=NewParams, needs_profile=False)
async def new(ctx: Context, params: NewParams) -> AsyncIterator[Event]:
    """Write a new profile to edit; an existing one is never overwritten."""
    from dm_isaac_g1.core.profile import Host
    from dm_isaac_g1.core.profiles import write_new

    hosts: dict[str, Host] = {}
    if params.train or not params.serve:
        hosts["workstation"] = Host(ssh=params.train or "workstation", roles=("train",))
    if params.serve:
        hosts["spark"] = Host(ssh=params.serve, roles=("serve",))
    path = write_new(params.name, hosts)
    yield Result(text=f"Wrote {path}", data={"path": str(path), "name": params.name})


def _plain(found: Found) -> dict[str, str]:
    return {name: str(getattr(found, name)) for name in ("name", "path", "origin")}
