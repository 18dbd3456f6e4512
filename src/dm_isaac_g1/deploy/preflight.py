"""What must be so before anything is changed on a host: each check a function of the gathered facts. Pure.

A check says its problem as a sentence, or nothing. They are a table, so that the plan shows all of them at once and not
the first one alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.core.deployments import HistoryEntry, Release, Unfinished
from dm_isaac_g1.core.units import size
from dm_isaac_g1.deploy import memory

if TYPE_CHECKING:
    from dm_isaac_g1.inference.models import ModelFacts

#: Room for the file system's own needs (facts: bytes + 5 %).
DISK_MARGIN = 1.05


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a plan is made from. None: not known."""

    host: str
    port: int
    #: "process", "container groot-server".
    how: str
    model: ModelFacts
    #: As it will lie on the host.
    release: Release
    #: What serves now, if a deploy put it there; and, where it is the release itself, whether its server answers.
    current: Release | None = None
    current_ok: bool = False
    #: Something else serves, which would be replaced: "container groot-server with /models/base".
    foreign: str | None = None
    method: str = "copy"
    #: Bytes of the model that the host does not have yet.
    to_send: int = 0
    disk_free: int | None = None
    memory_free: int | None = None
    clients: int | None = None
    history: tuple[HistoryEntry, ...] = ()
    releases: tuple[Release, ...] = ()
    unfinished: Unfinished | None = None
    #: Who has the lock, while their lease lasts.
    locked: str | None = None
    #: Neither --no-candidate nor a runtime that cannot have two.
    candidate: bool = True
    #: Why this model cannot be served this way: its embodiment, the image's architecture, who owns the port. What
    #: `inference.serving` and the host's way of serving say.
    refused: tuple[str, ...] = ()


def problems(facts: Facts) -> tuple[str, ...]:
    """Why it cannot begin, a sentence each."""
    return tuple(found for check in CHECKS for found in check(facts))


def _complete(facts: Facts) -> list[str]:
    if facts.model.complete:
        return []
    return list(facts.model.problems) or ["the checkpoint is incomplete"]


def _refused(facts: Facts) -> list[str]:
    return list(facts.refused)


def _disk(facts: Facts) -> list[str]:
    needs = round(facts.to_send * DISK_MARGIN)
    if facts.disk_free is None or facts.disk_free >= needs:
        return []
    return [
        f"the disk is too small: {size(needs)} needed with 5 % to spare, {size(facts.disk_free)} free; "
        f"`dm-g1 deploy history` shows old releases, serve.keep how many are kept"
    ]


def _memory(facts: Facts) -> list[str]:
    if facts.memory_free is None:
        return []
    needs = memory.needed(facts.model.weights_bytes)
    has = facts.memory_free + freed(facts)
    if has >= needs:
        return []
    also = f" once {facts.current.id} is stopped" if freed(facts) and facts.current else ""
    return [f"too little memory: the server needs {size(needs)}, {size(has)} would be available{also}"]


def _lock(facts: Facts) -> list[str]:
    if facts.locked is None:
        return []
    return [f"somebody is deploying there just now: {facts.locked}"]


#: In the order in which they are shown.
CHECKS: tuple[Callable[[Facts], list[str]], ...] = (
    _complete,
    _refused,
    _disk,
    _memory,
    _lock,
)


def again(current: Release | None, release: Release) -> bool:
    """Whether that very release is the one in service. The same files may serve for another embodiment."""
    return current is not None and (current.id, current.embodiment) == (release.id, release.embodiment)


def freed(facts: Facts) -> int:
    """Bytes that come free at least when the old server is stopped first."""
    return memory.held(facts.current.bytes) if facts.current is not None else 0
