"""Where profiles and recipes are found, and how one is read and checked.

A name is looked up in the user's folder (~/.config/dm-g1/profiles), then in the shipped one; anything with a slash
or ending in .yaml is a file. The file's name is the profile's name.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core import expected, paths, profile_text, targets, yamlfile
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.profile import Host, Profile
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.core.yamlfile import Document, Problem

VARIABLE = "DM_G1_PROFILE"

_SUFFIXES = (".yaml", ".yml")
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


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
    """The profile's file, parsed but not checked. Raises ConfigError."""
    return _read_named(find_profile(name_or_path))


def find_profile(name_or_path: str | None = None) -> Path:
    """The file of a profile. Raises ConfigError, NoProfile."""
    wanted = name_or_path or os.environ.get(VARIABLE) or _only_profile()
    return _find(wanted, list_profiles(), "profile")


def list_profiles() -> list[Found]:
    """All profiles by name; the user's own hides a shipped one of the same name."""
    return _listed([("user", paths.config_dir() / "profiles"), ("shipped", paths.shipped("profiles"))])


def profile_problems(document: Document) -> list[Problem]:
    """All mistakes of a profile: of form, then of meaning where the form allows to look."""
    problems = document.problems(Profile)
    found = list(_meanings(document))
    known = {problem.field for problem in problems}
    problems += [problem for problem in found if problem.field not in known]
    return sorted(problems, key=lambda problem: problem.line)


def _meanings(document: Document) -> Iterator[Problem]:
    hosts = document.value.get("hosts")
    for name, host in hosts.items() if isinstance(hosts, dict) else ():
        if not _HOST_NAME.fullmatch(name):
            yield document.problem(("hosts", name), "not a host's name", "use letters, digits, dots and dashes")
        if isinstance(host, dict):
            yield from _host_meanings(document, name, host)
    defaults = document.value.get("defaults")
    train_host = defaults.get("train_host") if isinstance(defaults, dict) else None
    if isinstance(train_host, str) and isinstance(hosts, dict) and train_host not in hosts:
        yield document.problem(
            ("defaults", "train_host"), f"no host {train_host!r} here", expected.did_you_mean(train_host, hosts)
        )


def _host_meanings(document: Document, name: str, host: dict[str, Any]) -> Iterator[Problem]:
    checks: tuple[tuple[str, type, Callable[[Any], object]], ...] = (
        ("ssh", str, targets.parse),
        ("port", int, targets.port),
    )
    for field, type_, parse in checks:
        value = host.get(field)
        if isinstance(value, type_):
            try:
                parse(value)
            except ConfigError as error:
                yield document.problem(("hosts", name, field), error.what, error.fix)
    runtime = host.get("runtime")
    docker = runtime.get("docker") if isinstance(runtime, dict) else None
    if isinstance(docker, dict) and docker.get("container") == "":
        yield document.problem(("hosts", name, "runtime", "docker", "container"), "empty; expected a container's name")
    places = host.get("paths")
    for place, value in places.items() if isinstance(places, dict) else ():
        if value == "":
            yield document.problem(("hosts", name, "paths", place), "empty; expected a folder on the host")


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
    return base / Path(_filled(text)).expanduser()


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


def recipe_problems(document: Document) -> list[Problem]:
    """All mistakes of a recipe."""
    problems = document.problems(Recipe)
    known = {problem.field for problem in problems}
    for field, least in (("steps", 1), ("batch_size", 1), ("save_steps", 1), ("save_total_limit", 0), ("gpus", 1)):
        value = document.value.get(field)
        if isinstance(value, int) and value < least and field not in known:
            problems.append(document.problem((field,), f"expected at least {least}, found {value}"))
    rate = document.value.get("learning_rate")
    if isinstance(rate, int | float) and not 0 < rate < float("inf") and "learning_rate" not in known:
        problems.append(document.problem(("learning_rate",), f"expected a number above 0, found {rate}"))
    return sorted(problems, key=lambda problem: problem.line)


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
        return Path(wanted).expanduser()
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
    if not _HOST_NAME.fullmatch(name):
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
