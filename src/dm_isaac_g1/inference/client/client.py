"""`GrootClient`: a policy server's client that never waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from dm_isaac_g1.inference.client import greeting
from dm_isaac_g1.inference.client.address import address_of
from dm_isaac_g1.inference.client.dialects import Dialect
from dm_isaac_g1.inference.client.over_http import HttpWire
from dm_isaac_g1.inference.client.over_zmq import ZmqWire
from dm_isaac_g1.inference.client.resizing import Resize
from dm_isaac_g1.inference.client.session import Session, T, Talk
from dm_isaac_g1.inference.protocol.errors import ServerError, ServerGone, ServerSilent
from dm_isaac_g1.inference.protocol.limits import LIMITS, Limits
from dm_isaac_g1.inference.protocol.modality import ModalityConfig
from dm_isaac_g1.inference.protocol.npy import Array


class GrootClient:
    """Talks to GR00T's policy servers (N1.6 plain or sim-wrapped, N1.5 over ZeroMQ or HTTP) and to `PolicyServer`.

    `address`: any of tcp://host:port, ipc:///path, http://host:port, in place of host and port. `timeout`: seconds that
    a call may take, all of it; each method takes another. `dialect`: "auto" finds out by itself. `resize`: pictures are
    made smaller before they are sent: the shorter side in pixels, or (height, width).

    Every method raises ServerGone where nothing serves, ServerSilent at the deadline, ServerError where the server
    answers an error and ProtocolError where the answer makes no sense; after any of them the next call begins anew.
    Threads may share a client; they take turns.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 5555,
        *,
        address: str | None = None,
        timeout: float = 10.0,
        api_token: str | None = None,
        dialect: str = "auto",
        resize: Resize | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self._address = address_of(host, port, address)
        self._session = Session("n1.5-http" if self._address.http else dialect, api_token, resize)
        self._limits = limits
        self._wire: ZmqWire | HttpWire | None = None
        self._turn = threading.Lock()
        self.timeout = timeout

    @property
    def dialect(self) -> Dialect | None:
        """nested, flat, n1.5 or n1.5-http; None until a call has shown it (`get_action` always does)."""
        return self._session.dialect

    def ping(self, timeout: float | None = None) -> bool:
        """Whether a policy server answers. Raises ServerError only: a wrong token is an answer."""
        try:
            self._drive(self._session.ping(), timeout)
        except (ServerGone, ServerSilent):
            return False
        return True

    def get_modality_config(self, timeout: float | None = None) -> dict[str, ModalityConfig]:
        """Of "video", "state", "action" and "language": keys and moments, no widths. {} of N1.5's HTTP server."""
        return self._drive(self._session.get_modality_config(), timeout)

    def get_action(
        self, observation: Mapping[str, Any], options: Any = None, *, timeout: float | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """(group -> float32 (B, steps, D), info) for a nested observation, whatever the server's dialect."""
        return self._drive(self._session.get_action(observation, options), timeout)

    def reset(self, options: Any = None, *, timeout: float | None = None) -> dict[str, Any]:
        """A new episode begins. N1.5's servers have nothing to reset: {}."""
        return self._drive(self._session.reset(options), timeout)

    def metrics(self, timeout: float | None = None) -> dict[str, Any] | None:
        """What a `PolicyServer` has measured; None of any other server."""
        return self._drive(self._session.metrics(), timeout)

    def call(self, endpoint: str, data: Any = None, *, bare: bool = False, timeout: float | None = None) -> Any:
        """Any endpoint's answer. `bare`: it takes no data (ping, kill, metrics, get_modality_config)."""
        return self._drive(self._session.call(endpoint, data, bare=bare), timeout)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _drive(self, talk: Talk[T], timeout: float | None) -> T:
        seconds = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=max(0.0, seconds)):
            raise ServerSilent("another thread's request has not been answered", where=self._address.place)
        try:
            wire = self._wire = self._wire or self._find_wire(deadline)
            request = next(talk)
            while True:
                try:
                    reply = wire.ask(request, deadline)
                except ServerError as error:
                    request = talk.throw(error)
                else:
                    request = talk.send(reply)
        except StopIteration as end:
            answer: T = end.value
            return answer
        finally:
            self._turn.release()

    def _find_wire(self, deadline: float) -> ZmqWire | HttpWire:
        session = self._session
        if session.dialect is None and greeting.who(self._address, deadline) == "http":
            session.dialect = "n1.5-http"
        if session.dialect == "n1.5-http":
            return HttpWire(self._address)
        return ZmqWire(self._address, self._limits)
