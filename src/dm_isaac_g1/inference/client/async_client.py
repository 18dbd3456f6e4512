"""`GrootClientAsync`: the same client, awaitable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from dm_isaac_g1.inference.client import greeting
from dm_isaac_g1.inference.client.address import address_of
from dm_isaac_g1.inference.client.dialects import Dialect
from dm_isaac_g1.inference.client.over_http import AsyncHttpWire
from dm_isaac_g1.inference.client.over_zmq import AsyncZmqWire
from dm_isaac_g1.inference.client.resizing import Resize
from dm_isaac_g1.inference.client.session import Session, T, Talk
from dm_isaac_g1.inference.protocol.errors import ServerError, ServerGone, ServerSilent
from dm_isaac_g1.inference.protocol.limits import LIMITS, Limits
from dm_isaac_g1.inference.protocol.modality import ModalityConfig
from dm_isaac_g1.inference.protocol.npy import Array


class GrootClientAsync:
    """As `GrootClient`, whose docstring holds here, too. Tasks of one event loop may share it; they take turns."""

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
        self._wire: AsyncZmqWire | AsyncHttpWire | None = None
        self._turn = asyncio.Lock()
        self.timeout = timeout

    @property
    def dialect(self) -> Dialect | None:
        """nested, flat, n1.5 or n1.5-http; None until a call has shown it (`get_action` always does)."""
        return self._session.dialect

    async def ping(self, timeout: float | None = None) -> bool:
        """Whether a policy server answers. Raises ServerError only: a wrong token is an answer."""
        try:
            await self._drive(self._session.ping(), timeout)
        except (ServerGone, ServerSilent):
            return False
        return True

    async def get_modality_config(self, timeout: float | None = None) -> dict[str, ModalityConfig]:
        """Of "video", "state", "action" and "language": keys and moments, no widths. {} of N1.5's HTTP server."""
        return await self._drive(self._session.get_modality_config(), timeout)

    async def get_action(
        self, observation: Mapping[str, Any], options: Any = None, *, timeout: float | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """(group -> float32 (B, steps, D), info) for a nested observation, whatever the server's dialect."""
        return await self._drive(self._session.get_action(observation, options), timeout)

    async def reset(self, options: Any = None, *, timeout: float | None = None) -> dict[str, Any]:
        """A new episode begins. N1.5's servers have nothing to reset: {}."""
        return await self._drive(self._session.reset(options), timeout)

    async def metrics(self, timeout: float | None = None) -> dict[str, Any] | None:
        """What a `PolicyServer` has measured; None of any other server."""
        return await self._drive(self._session.metrics(), timeout)

    async def call(self, endpoint: str, data: Any = None, *, bare: bool = False, timeout: float | None = None) -> Any:
        """Any endpoint's answer. `bare`: it takes no data (ping, kill, metrics, get_modality_config)."""
        return await self._drive(self._session.call(endpoint, data, bare=bare), timeout)

    async def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _drive(self, talk: Talk[T], timeout: float | None) -> T:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._turn.acquire()
        except TimeoutError:
            raise ServerSilent("another task's request has not been answered", where=self._address.place) from None
        try:
            return await self._talk(talk, deadline)
        finally:
            self._turn.release()

    async def _talk(self, talk: Talk[T], deadline: float) -> T:
        wire = self._wire = self._wire or await self._find_wire(deadline)
        try:
            request = next(talk)
            while True:
                try:
                    reply = await wire.ask(request, deadline)
                except ServerError as error:
                    request = talk.throw(error)
                else:
                    request = talk.send(reply)
        except StopIteration as end:
            answer: T = end.value
            return answer

    async def _find_wire(self, deadline: float) -> AsyncZmqWire | AsyncHttpWire:
        session = self._session
        if session.dialect is None and await greeting.who_async(self._address, deadline) == "http":
            session.dialect = "n1.5-http"
        if session.dialect == "n1.5-http":
            return AsyncHttpWire(self._address)
        return AsyncZmqWire(self._address, self._limits)
