"""The first look at a server: does it answer, in which dialect, what it takes and gives, which model it serves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from dm_isaac_g1.inference.evaluation import answers
from dm_isaac_g1.inference.evaluation.openloop import Policy
from dm_isaac_g1.inference.evaluation.results import Probe, Taken

#: Pings of which the quickest counts: the first one connects.
PINGS = 5


class Server(Policy, Protocol):
    """A client, as far as it is needed here."""

    @property
    def dialect(self) -> str | None: ...

    def ping(self) -> Any: ...

    def get_modality_config(self) -> Any: ...

    def metrics(self) -> Any: ...


def look(client: Server, server: str) -> tuple[Probe, Mapping[str, Any]]:
    """What it says of itself, and its modality config. No get_action yet.

    Raises what the client raises (no server, silent, wrong token), EvaluationError (it is no policy server).
    """
    times = []
    for _ in range(PINGS):
        began = time.perf_counter()
        client.ping()
        times.append(1000 * (time.perf_counter() - began))
    modality = client.get_modality_config()
    taken = answers.taken(modality if isinstance(modality, Mapping) else {})
    own = client.metrics() or {}
    own = own if isinstance(own, Mapping) else {}
    return Probe(
        server=server,
        dialect=str(client.dialect or "unknown"),
        ping_ms=min(times),
        takes=taken,
        model=_text(own.get("model")),
        kind=_text(own.get("kind")),
    ), modality


def first(client: Policy, observation: dict[str, Any], taken: Taken) -> tuple[dict[str, int], int, float]:
    """The first get_action: group -> width, steps, milliseconds. Raises EvaluationError for an answer without sense."""
    began = time.perf_counter()
    answer, _ = client.get_action(observation)
    took = 1000 * (time.perf_counter() - began)
    parts = answers.chunk(answer, taken.action)
    return {group: part.shape[1] for group, part in parts.items()}, min(len(part) for part in parts.values()), took


def _text(value: Any) -> str | None:
    return value[:500] if isinstance(value, str) and value else None
