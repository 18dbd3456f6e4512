"""What a client says and how it takes the answers, without any socket: each method yields requests and gets replies.

Whoever drives it sends each yielded `Request` to the server and passes the reply in, or throws its ServerError in; so
the blocking and the awaiting client are the same.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeVar

from dm_isaac_g1.core import redact
from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference.client import dialects
from dm_isaac_g1.inference.client.dialects import DIALECTS, Dialect
from dm_isaac_g1.inference.client.resizing import Resize, resized
from dm_isaac_g1.inference.protocol.errors import ProtocolError, ServerError
from dm_isaac_g1.inference.protocol.messages import request
from dm_isaac_g1.inference.protocol.modality import ModalityConfig
from dm_isaac_g1.inference.protocol.npy import Array

T = TypeVar("T")
_UNKNOWN = "Unknown endpoint"


class Request(NamedTuple):
    """`message` as N1.6 writes it; HTTP takes the endpoint and the data out of it."""

    endpoint: str
    message: dict[str, Any]


Talk = Generator[Request, Any, T]


class Session:
    """A client's side of the conversation. `dialect`: None until it is known."""

    def __init__(self, dialect: str, token: str | None, resize: Resize | None) -> None:
        if dialect != "auto" and dialect not in DIALECTS:
            raise UsageError(f"no dialect: {dialect!r}", fix=f"one of auto, {', '.join(DIALECTS)}")
        self.auto = dialect == "auto"
        self.dialect: Dialect | None = None if dialect == "auto" else dialect  # type: ignore[assignment]
        self._token = token
        self._resize = resize
        if token:
            redact.register(token)

    def call(self, endpoint: str, data: Any = None, *, bare: bool = False) -> Talk[Any]:
        """Any endpoint's answer."""
        return (yield Request(endpoint, request(endpoint, data, self._token, bare=bare)))

    def ping(self) -> Talk[None]:
        yield from self.call("ping", bare=True)

    def get_modality_config(self) -> Talk[dict[str, ModalityConfig]]:
        if self.dialect == "n1.5-http":
            return {}
        configs = yield from self.call("get_modality_config", bare=True)
        if not isinstance(configs, dict):
            raise ProtocolError("an answer to get_modality_config that is no map")
        if self.auto and self.dialect is None and dialects.of_modality(configs) == "n1.5":
            self.dialect = "n1.5"
        return configs

    def reset(self, options: Any) -> Talk[dict[str, Any]]:
        if self.dialect is None:
            yield from self._find()
        if self.dialect in ("n1.5", "n1.5-http"):
            return {}
        reply = yield from self.call("reset", {"options": options})
        return reply if isinstance(reply, dict) else {}

    def metrics(self) -> Talk[dict[str, Any] | None]:
        if self.dialect == "n1.5-http":
            return None
        try:
            reply = yield from self.call("metrics", bare=True)
        except ServerError as error:
            if _UNKNOWN in error.said:
                return None
            raise
        return reply if isinstance(reply, dict) else None

    def get_action(self, observation: Mapping[str, Any], options: Any) -> Talk[tuple[dict[str, Array], dict[str, Any]]]:
        if self._resize is not None:
            observation = resized(observation, self._resize)
        spoken = self.dialect or (yield from self._find())
        try:
            answer = yield from self._act(spoken, observation, options)
        except ServerError as error:
            other = dialects.meant(error.said, spoken) if self.auto else None
            if other is None:
                raise
            spoken = other
            answer = yield from self._act(spoken, observation, options)
        self.dialect = spoken
        return answer

    def _act(
        self, dialect: Dialect, observation: Mapping[str, Any], options: Any
    ) -> Talk[tuple[dict[str, Array], dict[str, Any]]]:
        data = dialects.request_data(dialect, observation, options)
        return dialects.actions_of(dialect, (yield from self.call("get_action", data)))

    def _find(self) -> Talk[Dialect]:
        """N1.5 says so in its modalities; nested and flat show in the answer to the first observation only."""
        try:
            yield from self.get_modality_config()
        except ServerError as error:
            if _UNKNOWN not in error.said:
                raise
        return self.dialect or "nested"
