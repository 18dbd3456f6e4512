"""Shell completion of names: hosts, recipes, profiles, jobs. Cheap and silent: no host is asked, no error is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from pathlib import Path

    from dm_isaac_g1.core.profile import Profile

Complete = Callable[[click.Context, click.Parameter, str], list[str] | list[CompletionItem]]

#: Job ids remembered for completion, newest last.
KEPT_JOBS = 200


def profiles(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    with suppress(Exception):
        from dm_isaac_g1.core.profiles import list_profiles

        return _fit((found.name for found in list_profiles()), begun)
    return []


def hosts(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    with suppress(Exception):
        return _fit(_profile(context).hosts, begun)
    return []


def recipes(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    with suppress(Exception):
        from dm_isaac_g1.core.profiles import list_recipes

        return _fit((found.name for found in list_recipes(_profile(context))), begun)
    return []


def jobs(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    with suppress(Exception):
        return _fit([*reversed(_seen()), "last"], begun)
    return []


def folders(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """A dataset or a model here is a folder: the shell knows them."""
    return [CompletionItem(begun, type="dir")]


#: What a parameter's value names -> how it is completed.
BY_NAMES: dict[str | None, Complete] = {
    "host": hosts,
    "recipe": recipes,
    "profile": profiles,
    "job": jobs,
    "dataset": folders,
    "model": folders,
}


def remember_job(id: str) -> None:
    """Keep a job's id for completion; a state folder that cannot be written is no reason to complain."""
    from dm_isaac_g1.core.paths import make_state_dir

    with suppress(OSError):
        seen = _seen()
        if id in seen:
            return
        path = _path()
        make_state_dir()
        beside = path.with_suffix(".new")
        beside.write_text("".join(f"{each}\n" for each in [*seen, id][-KEPT_JOBS:]), encoding="utf-8")
        beside.replace(path)


def _seen() -> list[str]:
    path = _path()
    return path.read_text(encoding="utf-8").split() if path.is_file() else []


def _path() -> Path:
    from dm_isaac_g1.core.paths import state_dir

    return state_dir() / "seen-jobs"


def _profile(context: click.Context) -> Profile:
    from dm_isaac_g1.core.profiles import load_profile

    up: click.Context | None = context
    while up is not None:
        if up.params.get("lab"):
            return load_profile("lab")
        if name := up.params.get("profile"):
            return load_profile(str(name))
        up = up.parent
    return load_profile(None)


def _fit(names: Iterable[str], begun: str) -> list[str]:
    return [name for name in names if name.startswith(begun)]
