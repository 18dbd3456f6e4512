"""Profiles: which there are, what is in one, whether it is right, and a new one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from dm_isaac_g1.actions.registry import Params, action
from dm_isaac_g1.core import expected, names, paths, redact
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.events import Event, Progress, Result

if TYPE_CHECKING:
    from dm_isaac_g1.actions.context import Context
    from dm_isaac_g1.core.profiles import Found
    from dm_isaac_g1.core.yamlfile import Document, Problem

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
    """Show a profile as dm-g1 uses it: every default filled in, and what .env and the environment say over it.

    Secrets are never shown.
    """
    import yaml

    from dm_isaac_g1.core.config import load_config

    plain = _hidden(msgspec.to_builtins(load_config(params.name or ctx.profile_name).profile))
    yield Result(text=yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip(), data={"profile": plain})


def _hidden(value: Any) -> Any:
    """The value without what we know for a secret, wherever somebody wrote it."""
    if isinstance(value, dict):
        return {name: _hidden(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(each) for each in value]
    return redact.hide_known(value) if isinstance(value, str) else value


@action("profile.check", title="Check a profile", params=ShowParams, needs_profile=False)
async def check(ctx: Context, params: ShowParams) -> AsyncIterator[Event]:
    """Read a profile and the recipes it can use; each mistake is told by file, line and field. Contacts no host."""
    from dm_isaac_g1.core import profiles
    from dm_isaac_g1.core.checks import profile_problems

    document = profiles.read_profile(params.name or ctx.profile_name)
    path, problems = document.path, profile_problems(document)
    listed = profiles.list_recipes(profiles.load_profile(str(path))) if not problems else []
    problems += unknown_names(document, [each.name for each in listed])
    wrong = [problem.error(path) for problem in sorted(problems, key=lambda problem: problem.line)]
    recipes: list[str] = []
    if not wrong:
        profile = profiles.load_profile(str(path))
        for found in listed:
            recipes.append(found.name)
            try:
                profiles.load_recipe(str(found.path), profile)
            except ConfigError as error:
                wrong.append(error)
        default = profile.defaults.recipe
        if default is not None and _is_file(default) and paths.expanded(default).is_file():
            try:
                profiles.load_recipe(default, profile)
            except ConfigError as error:
                wrong.append(error)
    for each in wrong[:-1]:
        yield Progress(text=each.line())
    if wrong:
        raise wrong[-1]
    yield Result(text=f"{path} is right", data={"path": str(path), "hosts": list(profile.hosts), "recipes": recipes})


def unknown_names(document: Document, recipes: list[str]) -> Iterator[Problem]:
    """Names in the defaults that nothing here has: of a theme, a key, a recipe. `recipes`: those the profile finds."""
    given = document.value.get("defaults")
    defaults = given if isinstance(given, dict) else {}
    theme, recipe, keys = (defaults.get(name) for name in ("theme", "recipe", "keys"))
    if isinstance(theme, str) and theme not in (known := names.themes()):
        yield document.problem(("defaults", "theme"), f"no theme {theme!r}", expected.did_you_mean(theme, known))
    for name in keys if isinstance(keys, dict) else ():
        if name not in names.KEYS:
            hint = expected.did_you_mean(name, names.KEYS)
            yield document.problem(("defaults", "keys", name), f"no action or key is named {name!r}", hint)
    if isinstance(recipe, str) and recipes and not _is_recipe(recipe, recipes):
        hint = expected.did_you_mean(recipe, recipes)
        yield document.problem(("defaults", "recipe"), f"no recipe {recipe!r}", hint)


def _is_recipe(recipe: str, known: list[str]) -> bool:
    return paths.expanded(recipe).is_file() if _is_file(recipe) else recipe in known


def _is_file(recipe: str) -> bool:
    """As core.profiles tells a file from a name."""
    return "/" in recipe or recipe.endswith((".yaml", ".yml"))


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
