"""Requests to GR00T N1.5's HTTP server: GET /health, POST /act. It has no other endpoints, and checks no token."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import time
from typing import Any

from dm_isaac_g1.inference.client.address import Address
from dm_isaac_g1.inference.client.session import Request
from dm_isaac_g1.inference.protocol import json_numpy
from dm_isaac_g1.inference.protocol.errors import ProtocolError, ServerError, ServerGone, ServerSilent
from dm_isaac_g1.inference.protocol.messages import reply_of

#: Endpoint -> method and page.
_PAGES = {"ping": ("GET", "/health"), "get_action": ("POST", "/act")}
#: Bytes of an answer at most: an action chunk is some KB.
_ANSWER_MAX = 4 << 20


class _Connection(http.client.HTTPConnection):
    """To a host and port or a socket's path."""

    def __init__(self, address: Address, timeout: float) -> None:
        super().__init__(address.host or "localhost", address.port or 80, timeout=timeout)
        self._path = address.path
        #: `sock` is None as soon as an answer has begun after which the server hangs up.
        self.link: socket.socket | None = None

    def connect(self) -> None:
        if self._path:
            self.sock = self.link = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        else:
            super().connect()
            self.link = self.sock


class HttpWire:
    """Blocking; one connection a request, as N1.5's own clients do."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._open: _Connection | None = None

    def ask(self, request: Request, deadline: float) -> Any:
        """The reply. Raises ServerError, ServerSilent at the deadline, ServerGone, ProtocolError."""
        if request.endpoint not in _PAGES:
            raise ServerError(f"Unknown endpoint: {request.endpoint}", where=self._address.place)
        method, page = _PAGES[request.endpoint]
        body = json_numpy.pack(request.message.get("data")) if method == "POST" else None
        left = max(0.001, deadline - time.monotonic())
        connection = self._open = _Connection(self._address, left)
        # A server that sends a byte now and then would never let a socket's own timeout pass.
        watchdog = threading.Timer(left, _hang_up, (connection,))
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.request(method, page, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            answer = response.read(_ANSWER_MAX + 1)
            if response.length and len(answer) <= _ANSWER_MAX:
                raise http.client.IncompleteRead(answer, response.length)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
                raise ServerSilent("no answer before the deadline", where=self._address.place) from None
            raise ServerGone(f"no answer: {error or type(error).__name__}", where=self._address.place) from None
        finally:
            watchdog.cancel()
            self.close()
        return self._read(response.status, answer)

    def _read(self, status: int, answer: bytes) -> Any:
        if len(answer) > _ANSWER_MAX:
            raise ProtocolError(f"an answer of more than {_ANSWER_MAX:,} bytes", where=self._address.place)
        if status != 200:
            raise ServerError(_detail(status, answer), where=self._address.place)
        return reply_of(json_numpy.unpack(answer), self._address.place)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class AsyncHttpWire:
    """The same, awaitable: each request in a thread, which a cancel ends."""

    def __init__(self, address: Address) -> None:
        self._wire = HttpWire(address)

    async def ask(self, request: Request, deadline: float) -> Any:
        try:
            return await asyncio.to_thread(self._wire.ask, request, deadline)
        except asyncio.CancelledError:
            if self._wire._open is not None:
                _hang_up(self._wire._open)
            raise

    def close(self) -> None:
        self._wire.close()


def _hang_up(connection: _Connection) -> None:
    """Ends whatever the connection waits for, from another thread."""
    if connection.link is not None:
        with contextlib.suppress(OSError):
            connection.link.shutdown(socket.SHUT_RDWR)


def _detail(status: int, answer: bytes) -> str:
    """What FastAPI says of an error: {"detail": ...}."""
    with contextlib.suppress(ProtocolError):
        told = json_numpy.unpack(answer)
        if isinstance(told, dict) and "detail" in told:
            return str(told["detail"])[:600]
    return f"HTTP {status}"
