"""Where profiles and recipes are found, and how one is read and checked.

A name is looked up in the user's folder (~/.config/dm-g1/profiles), then in the shipped one; anything with a slash
or ending in .yaml is a file. The file's name is the profile's name.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core import expected, labport, paths, profile_text, yamlfile
from dm_isaac_g1.core.checks import HOST_NAME, profile_problems, recipe_problems
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.profile import Host, Profile
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.core.yamlfile import Document, Problem

VARIABLE = "DM_G1_PROFILE"
#: As a host's port: the one that the lab's host serves on.
LAB_PORT = "{lab_port}"

_SUFFIXES = (".yaml", ".yml")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A profile or recipe file. `origin`: the user's own folder, one that the profile names, or shipped."""

    name: str
    path: Path
    origin: Literal["user", "profile", "shipped"]


class NoProfile(ConfigError):
    """Nobody said which profile."""


# --- profiles ---------------------------------------------------------------------------------------------------


def load_profile(name_or_path: str | None = None) -> Profile:
    """The named profile; without a name $DM_G1_PROFILE, or the user's only (or `default`) one.

    `{lab}`, `{python}` and the `~` of files on this machine are filled in. Raises ConfigError with file, line and
    field; NoProfile where nothing says which.
    """
    document = read_profile(name_or_path)
    yamlfile.raise_first(document.path, profile_problems(document))
    return _expanded(document.convert(Profile), document.path.parent)


def check_profile(name_or_path: str | None = None) -> tuple[Path, list[Problem]]:
    """The file and all its mistakes. Raises ConfigError where it is not even YAML."""
    document = read_profile(name_or_path)
    return document.path, profile_problems(document)


def read_profile(name_or_path: str | None = None) -> Document:
    """The profile's file, parsed but not checked; `{lab_port}` is filled in. Raises ConfigError."""
    document = _read_named(find_profile(name_or_path))
    hosts = document.value.get("hosts")
    for host in hosts.values() if isinstance(hosts, dict) else ():
        if isinstance(host, dict) and host.get("port") == LAB_PORT:
            host["port"] = labport.serve_port()
    return document


def find_profile(name_or_path: str | None = None) -> Path:
    """The file of a profile. Raises ConfigError, NoProfile."""
    wanted = name_or_path or os.environ.get(VARIABLE) or _only_profile()
    return _find(wanted, list_profiles(), "profile")


def list_profiles() -> list[Found]:
    """All profiles by name; the user's own hides a shipped one of the same name."""
    return _listed([("user", paths.config_dir() / "profiles"), ("shipped", paths.shipped("profiles"))])


def _expanded(profile: Profile, base: Path) -> Profile:
    return msgspec.structs.replace(
        profile,
        ssh_config=str(_local(profile.ssh_config, base)) if profile.ssh_config else None,
        recipes=tuple(str(_local(folder, base)) for folder in profile.recipes),
        hosts={name: _expanded_host(host) for name, host in profile.hosts.items()},
    )


def _expanded_host(host: Host) -> Host:
    places = {place: _filled(value) for place, value in msgspec.structs.asdict(host.paths).items()}
    return msgspec.structs.replace(
        host,
        paths=msgspec.structs.replace(host.paths, **places),
        python=_filled(host.python),
        env={name: _filled(value) for name, value in host.env.items()},
    )


def _filled(text: str) -> str:
    return text.replace("{lab}", str(paths.lab_dir())).replace("{python}", sys.executable)


def _local(text: str, base: Path) -> Path:
    """A file on this machine: `~` is the user's home, a relative one stands beside the profile."""
    return base / paths.expanded(_filled(text))


def _only_profile() -> str:
    own = [found.name for found in list_profiles() if found.origin == "user"]
    if len(own) == 1:
        return own[0]
    if "default" in own:
        return "default"
    if own:
        raise NoProfile(f"which profile? There are: {', '.join(own)}", fix=f"say --profile NAME or set ${VARIABLE}")
    raise NoProfile("no profile yet", fix="`dm-g1 profile new` writes one; `dm-g1 --lab` shows everything without")


# --- recipes ----------------------------------------------------------------------------------------------------


def load_recipe(name_or_path: str, profile: Profile | None = None) -> Recipe:
    """The named recipe. Raises ConfigError with file, line and field."""
    document = _read_named(_find(name_or_path, list_recipes(profile), "recipe"))
    yamlfile.raise_first(document.path, recipe_problems(document))
    return document.convert(Recipe)


def list_recipes(profile: Profile | None = None) -> list[Found]:
    """All recipes by name: the profile's folders first, then the user's, then the shipped ones."""
    own = [("profile", Path(folder)) for folder in profile.recipes] if profile else []
    return _listed([*own, ("user", paths.config_dir() / "recipes"), ("shipped", paths.shipped("profiles") / "recipes")])


# --- both -------------------------------------------------------------------------------------------------------


def _listed(folders: list[tuple[Any, Path]]) -> list[Found]:
    found: dict[str, Found] = {}
    for origin, folder in folders:
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix in _SUFFIXES and path.is_file() and not path.name.startswith("."):
                found.setdefault(path.stem, Found(name=path.stem, path=path, origin=origin))
    return sorted(found.values(), key=lambda each: each.name)


def _find(wanted: str, listed: list[Found], kind: str) -> Path:
    if "/" in wanted or wanted.endswith(_SUFFIXES):
        return paths.expanded(wanted)
    for found in listed:
        if found.name == wanted:
            return found.path
    names = [found.name for found in listed]
    raise ConfigError(f"no {kind} {wanted!r}", fix=expected.did_you_mean(wanted, names))


def _read_named(path: Path) -> Document:
    """The file's name is the value's name; a `name` inside may only repeat it."""
    document = yamlfile.read(path)
    inside = document.value.setdefault("name", path.stem)
    if inside != path.stem:
        raise document.problem(
            ("name",), f"{inside!r}, but the file is {path.name}", "leave the line out: the file's name is the name"
        ).error(path)
    return document


# --- a new profile ----------------------------------------------------------------------------------------------


def write_new(name: str, hosts: dict[str, Host]) -> Path:
    """Write a commented profile into the user's folder, ready to edit; beside, then renamed.

    Raises ConfigError where the name is no file name, a host makes no sense, or the profile is already there.
    """
    if not HOST_NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no profile name", fix="use letters, digits, dots and dashes")
    folder = paths.config_dir() / "profiles"
    path = folder / f"{name}.yaml"
    text = profile_text.render(name, hosts)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{name}.{os.getpid()}.new"
    try:
        beside.write_text(text, encoding="utf-8")
        document = yamlfile.read(beside)
        document.value["name"] = name
        yamlfile.raise_first(path, profile_problems(document))
        # A hard link, unlike a rename, never replaces what is there.
        path.hardlink_to(beside)
    except FileExistsError:
        raise ConfigError("is already there", where=str(path), fix="edit it, or take another name") from None
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from None
    finally:
        beside.unlink(missing_ok=True)
    return path
