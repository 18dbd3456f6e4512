"""The first look at a server: does it answer, in which dialect, what it takes and gives, which model it serves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from dm_isaac_g1.core.errors import DmG1Error, ExitCode
from dm_isaac_g1.inference.evaluation import answers
from dm_isaac_g1.inference.evaluation.openloop import Policy
from dm_isaac_g1.inference.evaluation.results import EvaluationError, Probe, Taken
from dm_isaac_g1.inference.protocol import ProtocolError, ServerError, ServerGone, ServerSilent
from dm_isaac_g1.inference.protocol.messages import UNAUTHORIZED
from dm_isaac_g1.inference.specs import PolicySpec

#: Pings of which the quickest counts: the first one connects.
PINGS = 5
#: The dialect whose servers have no get_modality_config.
HTTP = "n1.5-http"


_OF_CLIENT = (ServerError, ServerGone, ServerSilent, ProtocolError)


class TokenRefused(DmG1Error):
    """The server wants another API token, or one at all."""

    exit_code = ExitCode.UNTRUSTED


class Server(Policy, Protocol):
    """A client, as far as it is needed here."""

    @property
    def dialect(self) -> str | None: ...

    def call(self, endpoint: str, *, bare: bool = False) -> Any: ...

    def get_modality_config(self) -> Any: ...

    def metrics(self) -> Any: ...


def look(client: Server, server: str) -> tuple[Probe, PolicySpec | Mapping[str, Any]]:
    """What it says of itself, and what an observation can be made up from: its spec, where it is one of ours that
    tells, else its modality config. No get_action yet.

    N1.5's HTTP server does not say what it takes: `takes` is empty. Raises what the client raises (no server, silent),
    TokenRefused, EvaluationError (it is no policy server).
    """
    times = []
    for _ in range(PINGS):
        began = time.perf_counter()
        client.call("ping", bare=True)
        times.append(1000 * (time.perf_counter() - began))
    modality = client.get_modality_config()
    own = client.metrics()
    own = own if isinstance(own, Mapping) else {}
    return Probe(
        server=server,
        dialect=client.dialect or "unknown",
        ping_ms=min(times),
        takes=Taken() if client.dialect == HTTP else answers.taken(modality),
        model=_text(own.get("model")),
        kind=_text(own.get("kind")),
    ), _spec(own.get("spec")) or modality


def plainly(error: DmG1Error, server: str) -> DmG1Error:
    """A client's error as the user knows the server; a token that was refused as what it is."""
    if isinstance(error, ServerError) and error.said == UNAUTHORIZED:
        return TokenRefused("the server refuses the API token", where=server, fix="say the right one: --token-file")
    if isinstance(error, _OF_CLIENT) or (isinstance(error, EvaluationError) and error.where is None):
        error.where = server
    return error


def first(client: Policy, observation: dict[str, Any], taken: Taken) -> tuple[dict[str, int], int, float]:
    """The first get_action: group -> width, steps, milliseconds. Raises EvaluationError for an answer without sense."""
    began = time.perf_counter()
    answer, _ = client.get_action(observation)
    took = 1000 * (time.perf_counter() - began)
    groups = taken.action or tuple(answers.bare(str(name)) for name in answer)
    parts = answers.chunk(answer, groups)
    return {group: part.shape[1] for group, part in parts.items()}, min(len(part) for part in parts.values()), took


def _spec(value: Any) -> PolicySpec | None:
    try:
        return msgspec.convert(value, PolicySpec) if value is not None else None
    except msgspec.ValidationError:
        return None


def _text(value: Any) -> str | None:
    return value[:500] if isinstance(value, str) and value else None
