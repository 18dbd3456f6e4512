"""Whether a profile or recipe makes sense, beyond having the right fields: pure, over a parsed file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

from dm_isaac_g1.core import expected, targets
from dm_isaac_g1.core.errors import ConfigError
from dm_isaac_g1.core.profile import Profile
from dm_isaac_g1.core.recipe import Recipe
from dm_isaac_g1.core.yamlfile import Document, Problem

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
#: What Docker takes as a container's name, its id included (docker/daemon/names: RestrictedNamePattern).
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|CREDENTIAL", re.IGNORECASE)

#: Field of `defaults.thresholds` -> the largest value that makes sense; the smallest is 0.
_THRESHOLDS = {
    "gpu_temp_c": 150.0,
    "stall_factor": math.inf,
    "stall_min_s": math.inf,
    "disk_reserve_gb": math.inf,
    "disk_reserve_share": 0.9,
}

#: Field of a recipe -> the smallest value that makes sense.
_LEAST = {"steps": 1, "batch_size": 1, "save_steps": 1, "save_total_limit": 0, "gpus": 1, "seed": 0}


def profile_problems(document: Document) -> list[Problem]:
    """All mistakes of a profile: of form and of meaning, in the order of its lines."""
    return _together(document.problems(Profile), _profile(document))


def recipe_problems(document: Document) -> list[Problem]:
    """All mistakes of a recipe: of form and of meaning, in the order of its lines."""
    return _together(document.problems(Recipe), _recipe(document))


def _together(of_form: list[Problem], of_meaning: Iterator[Problem]) -> list[Problem]:
    told = {problem.field for problem in of_form}
    both = of_form + [problem for problem in of_meaning if problem.field not in told]
    return sorted(both, key=lambda problem: problem.line)


def _mapping(value: Any) -> dict[str, Any]:
    """The mapping, or an empty one: that it is none is told as a mistake of form."""
    return value if isinstance(value, dict) else {}


# --- profiles ---------------------------------------------------------------------------------------------------


def _profile(document: Document) -> Iterator[Problem]:
    hosts = _mapping(document.value.get("hosts"))
    for name, host in hosts.items():
        if not HOST_NAME.fullmatch(name):
            yield document.problem(("hosts", name), "not a host's name", "use letters, digits, dots and dashes")
        yield from _host(document, ("hosts", name), _mapping(host))
    defaults = _mapping(document.value.get("defaults"))
    train_host = defaults.get("train_host")
    if isinstance(train_host, str) and train_host not in hosts:
        hint = expected.did_you_mean(train_host, hosts)
        yield document.problem(("defaults", "train_host"), f"no host {train_host!r} here", hint)
    for name, value in _mapping(defaults.get("thresholds")).items():
        most = _THRESHOLDS.get(name, math.inf)
        if _is_number(value) and not (0 <= value <= most and math.isfinite(value)):
            limit = f"0 to {most:g}" if math.isfinite(most) else "0 or more"
            yield document.problem(("defaults", "thresholds", name), f"expected {limit}, found {value}")


def _host(document: Document, field: tuple[str, ...], host: dict[str, Any]) -> Iterator[Problem]:
    checks: tuple[tuple[str, type, Callable[[Any], object]], ...] = (
        ("ssh", str, targets.parse),
        ("port", int, targets.port),
    )
    for name, type_, parse in checks:
        value = host.get(name)
        if isinstance(value, type_):
            try:
                parse(value)
            except ConfigError as error:
                yield document.problem((*field, name), error.what, error.fix)
    docker = _mapping(_mapping(host.get("runtime")).get("docker"))
    for name in ("container", "conda_env", "socket"):
        if docker.get(name) == "":
            yield document.problem((*field, "runtime", "docker", name), "empty; expected a name")
    container = docker.get("container")
    if isinstance(container, str) and container and not _CONTAINER.fullmatch(container):
        what = f"{container!r} is no container's name"
        yield document.problem((*field, "runtime", "docker", "container"), what, "`docker ps` shows the names")
    for name, value in _mapping(host.get("paths")).items():
        if isinstance(value, str) and (wrong := _wrong_folder(name, value)):
            yield document.problem((*field, "paths", name), *wrong)
    if host.get("python") == "":
        yield document.problem((*field, "python"), "empty; expected an interpreter on the host")
    for name in _mapping(host.get("env")):
        if not _VARIABLE.fullmatch(name):
            yield document.problem((*field, "env", name), "not a variable's name")
        elif _SECRET.search(name):
            yield document.problem((*field, "env", name), "a secret has no place in a profile", "put it into .env")


def _wrong_folder(name: str, value: str) -> tuple[str, str | None] | None:
    """What is wrong with a path of a host, and what to do; None: nothing."""
    if not value:
        return "empty; expected a folder on the host", None
    if _CONTROL.search(value):
        return "a control character in it", None
    if ".." in value.split("/"):
        return f"{value!r} leads out by `..`", "write the folder itself, absolute or below the workspace"
    if value.startswith("~") and value != "~" and not value.startswith("~/"):
        return f"{value!r} is somebody else's home or a file of that name", "write it out, or begin with ~/"
    if name == "workspace" and not value.startswith(("/", "~", "{lab}")):
        return f"{value!r} is below nothing", "begin with / or ~/"
    return None


# --- recipes ----------------------------------------------------------------------------------------------------


def _recipe(document: Document) -> Iterator[Problem]:
    for name, least in _LEAST.items():
        value = document.value.get(name)
        if _is_number(value) and value < least:
            yield document.problem((name,), f"expected at least {least}, found {value}")
    rate = document.value.get("learning_rate")
    if _is_number(rate) and not 0 < rate < math.inf:
        yield document.problem(("learning_rate",), f"expected a number above 0, found {rate}")
    datasets = document.value.get("datasets")
    for place, dataset in enumerate(datasets if isinstance(datasets, list) else ()):
        if dataset == "":
            yield document.problem(("datasets", place), "empty; expected a dataset's name or folder")
    if document.value.get("output") == "":
        yield document.problem(("output",), "empty; expected a folder", "leave the line out for one of the job's own")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
