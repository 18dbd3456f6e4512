"""What Docker's engine says of containers, as values. Pure: its answers differ by version, and none is relied upon.

Shapes of API 1.41 (Docker 20.10) to 1.52 (Docker 29): 1.44 drops VirtualSize, 1.52 drops the top of NetworkSettings
and leaves out what is empty. So every field is asked for, none is expected.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dm_isaac_g1.remote.clean import clean


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container as listed. `state`: created, running, paused, restarting, removing, exited or dead."""

    id: str
    name: str
    image: str = ""
    state: str = ""
    #: For people: "Up 3 days", "Exited (137) 2 hours ago".
    status: str = ""
    labels: dict[str, str] = {}

    @property
    def running(self) -> bool:
        return self.state == "running"


class ContainerStats(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of a container: percent of one core, bytes. None: not said (a stopped container says nothing)."""

    cpu: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    pids: int | None = None


def read_container(answer: Mapping[str, Any]) -> Container:
    """One entry of GET /containers/json, or a whole GET /containers/{id}/json."""
    names = answer.get("Names") or [answer.get("Name") or ""]
    state = answer.get("State")
    detail: Mapping[str, Any] = state if isinstance(state, dict) else {}
    labels = answer.get("Labels") or (answer.get("Config") or {}).get("Labels") or {}
    # A name with a second slash is a legacy link's alias.
    own = next((name for name in names if name.count("/") <= 1), names[0])
    return Container(
        id=clean(str(answer.get("Id") or ""))[:64],
        name=clean(str(own)).lstrip("/"),
        image=clean(str((answer.get("Config") or {}).get("Image") or answer.get("Image") or "")),
        state=clean(str(detail.get("Status") or (state if isinstance(state, str) else ""))),
        status=clean(str(answer.get("Status") or _status(detail))),
        labels={clean(str(key)): clean(str(value)) for key, value in labels.items()},
    )


def _status(detail: Mapping[str, Any]) -> str:
    if detail.get("Status") == "exited":
        return f"Exited ({detail.get('ExitCode')})"
    return str(detail.get("Status") or "")


def read_stats(answer: Mapping[str, Any]) -> ContainerStats:
    """One answer of GET /containers/{id}/stats, reckoned as `docker stats` does."""
    memory = answer.get("memory_stats") or {}
    detail = memory.get("stats") or {}
    usage = memory.get("usage")
    # Page cache that can go at once does not count: inactive_file (cgroup v2), total_inactive_file (v1).
    cache = detail.get("inactive_file", detail.get("total_inactive_file", 0)) or 0
    return ContainerStats(
        cpu=_cpu(answer.get("cpu_stats") or {}, answer.get("precpu_stats") or {}),
        memory=max(0, usage - cache) if isinstance(usage, int) else None,
        memory_limit=memory.get("limit") if isinstance(memory.get("limit"), int) else None,
        pids=(answer.get("pids_stats") or {}).get("current"),
    )


def _cpu(now: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    try:
        used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
        system = now["system_cpu_usage"] - before["system_cpu_usage"]
    except (KeyError, TypeError):
        return None
    cores = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ()) or 1
    return 100.0 * cores * used / system if system > 0 and used >= 0 else None


def nearest(name: str, known: Sequence[str]) -> str:
    """Names to choose from, for a message: the like ones, or all of a few."""
    like = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)[:5]
    return ", ".join(like)
