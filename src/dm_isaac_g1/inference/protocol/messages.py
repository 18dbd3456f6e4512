"""Requests and replies as values. Source: PolicyServer and PolicyClient in gr00t/policy/server_client.py, N1.6."""

from __future__ import annotations

from typing import Any

from dm_isaac_g1.inference.protocol.errors import ServerError
from dm_isaac_g1.remote.clean import clean

PING_REPLY = {"status": "ok", "message": "Server is running"}
UNAUTHORIZED = "Unauthorized: Invalid API token"
#: What a request without an endpoint asks for.
DEFAULT_ENDPOINT = "get_action"
#: Of a server's error that is shown at most.
_SAID_MAX = 600


def request(endpoint: str, data: Any = None, token: str | None = None, *, bare: bool = False) -> dict[str, Any]:
    """A request; `bare`: of an endpoint that takes no data."""
    message: dict[str, Any] = {"endpoint": endpoint}
    if not bare:
        message["data"] = data
    if token:
        message["api_token"] = token
    return message


def error_reply(said: str) -> dict[str, str]:
    return {"error": said}


def reply_of(value: Any, where: str | None = None) -> Any:
    """A reply that is no error. Raises ServerError."""
    if isinstance(value, dict) and "error" in value:
        said = clean(str(value["error"]))
        fix = "give the server's API token" if said == UNAUTHORIZED else None
        raise ServerError(said if len(said) <= _SAID_MAX else f"{said[:_SAID_MAX]}...", where=where, fix=fix)
    return value
