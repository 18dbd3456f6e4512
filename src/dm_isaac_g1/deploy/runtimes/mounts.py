"""Paths on a host and in its containers: which mount leads from one to the other. Pure.

Models lie on the host, so that a container that is replaced does not take them with it. A mount whose source is a
symbolic link is resolved when the container starts: a link that is changed later is not seen.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import msgspec

from dm_isaac_g1.core.errors import RefusedError
from dm_isaac_g1.remote.clean import clean


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of the host in a container."""

    source: str
    target: str
    writable: bool = True


def read(container: Mapping[str, Any]) -> tuple[Mount, ...]:
    """The mounts of an inspected container whose source is a folder of the host (bind mounts and volumes)."""
    found = []
    for each in container.get("Mounts") or []:
        if isinstance(each, dict) and each.get("Source") and each.get("Destination"):
            source, target = clean(str(each["Source"])), clean(str(each["Destination"]))
            found.append(Mount(source=_plain(source), target=_plain(target), writable=bool(each.get("RW", True))))
    return tuple(found)


def outside(mounts: tuple[Mount, ...], path: str, *, where: str) -> str:
    """The host's path of a container's. Raises RefusedError where no mount leads out of the container."""
    found = _nearest(((each.target, each.source) for each in mounts), path)
    if found is None:
        raise RefusedError(
            f"{path} lies in the container itself, and would go with it",
            where=where,
            fix=f"make the container with `-v /folder/on/the/host:{path}`",
        )
    return found


def inside(mounts: tuple[Mount, ...], path: str, *, where: str) -> str:
    """The container's path of one on the host. Raises RefusedError where it does not see it."""
    found = _nearest(((each.source, each.target) for each in mounts), path)
    if found is None:
        raise RefusedError(
            f"the container does not see {path}",
            where=where,
            fix=f"make the container with `-v {posixpath.dirname(path)}:{posixpath.dirname(path)}`",
        )
    return found


def _nearest(pairs: Any, path: str) -> str | None:
    """`path` through the longest of the mounts that it lies in."""
    path = _plain(path)
    best: tuple[str, str] | None = None
    for here, there in pairs:
        under = path == here or path.startswith(here.rstrip("/") + "/")
        if under and (best is None or len(here) > len(best[0])):
            best = (here, there)
    return None if best is None else posixpath.normpath(f"{best[1]}/{path[len(best[0].rstrip('/')) :]}")


def _plain(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")
