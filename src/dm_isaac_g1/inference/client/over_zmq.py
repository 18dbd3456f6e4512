"""Requests over ZeroMQ: one connection that is thrown away whenever a request got no answer.

NVIDIA's client has a REQ socket, which waits for ever for a server that has left, and refuses all requests after one
without an answer. A DEALER socket sends the same frames when it puts the empty one in front; one that never connects
again by itself says with its POLLOUT whether the server it has met is still there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Generic, TypeVar

import zmq
import zmq.asyncio

from dm_isaac_g1.inference.client import greeting
from dm_isaac_g1.inference.client.address import Address
from dm_isaac_g1.inference.client.session import Request
from dm_isaac_g1.inference.protocol.errors import ProtocolError, ServerGone, ServerSilent
from dm_isaac_g1.inference.protocol.limits import Limits
from dm_isaac_g1.inference.protocol.messages import reply_of
from dm_isaac_g1.inference.protocol.packing import Packer
from dm_isaac_g1.inference.protocol.unpacking import unpack

#: Seconds between two looks at whether the server is still there; answers are noticed at once.
_LOOK_S = 0.2
#: Seconds that ZeroMQ's handshake may take before the connection is made again.
_HANDSHAKE_S = 5.0
#: Keeps idle connections alive through routers that forget them: seconds until the first probe.
_KEEPALIVE_S = 30
#: Bytes from which on a request may be larger than a server's limit: ours takes 64 MiB unless told otherwise.
_LARGE = 32 << 20

_OPTIONS = {
    zmq.LINGER: 0,
    #: Not connected again by itself, and writable only while there is somebody to write to.
    zmq.RECONNECT_IVL: -1,
    zmq.IMMEDIATE: 1,
    zmq.IPV6: 1,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: _KEEPALIVE_S,
}

S = TypeVar("S", bound=zmq.Socket[Any])


class _Link(Generic[S]):
    """A connection, and the buffer that its frames are sent from."""

    def __init__(self, context: Any, address: Address, limits: Limits) -> None:
        self.socket: S = context.socket(zmq.DEALER)
        self.packer = Packer()
        self.sent = 0
        for option, value in _OPTIONS.items():
            self.socket.setsockopt(option, value)
        self.socket.setsockopt(zmq.MAXMSGSIZE, limits.frame)
        self.socket.connect(address.endpoint)

    @property
    def there(self) -> bool:
        """Whether the server that was met is still there."""
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLOUT)

    def frames(self, request: Request) -> tuple[bytes, memoryview]:
        """What a REQ socket sends: an empty frame, and the message."""
        frame = self.packer.pack(request.message)
        self.sent = len(frame)
        return b"", frame

    def close(self) -> None:
        self.socket.close(0)


class _Wire(Generic[S]):
    """What both wires have in common."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self._address, self._limits = address, limits
        self._link: _Link[S] | None = None

    def close(self) -> None:
        if self._link is not None:
            with contextlib.suppress(RuntimeError):  # its event loop is closed already
                self._link.close()
            self._link = None

    def _still_there(self, link: _Link[S], deadline: float) -> None:
        """Raises ServerGone where the one that was asked has left, ServerSilent at the deadline."""
        if not link.there:
            raise self._left(link.sent)
        if time.monotonic() >= deadline:
            raise ServerSilent("no answer before the deadline", where=self._address.place, fix="it is busy, or hangs")

    def _left(self, sent: int) -> ServerGone:
        fix = "ask again when it is back"
        if sent >= _LARGE:
            fix += f", or ask for less at once: the request has {sent >> 20} MiB, which it may not take"
        return ServerGone("the server went away while it was asked", where=self._address.place, fix=fix)

    def _unmet(self) -> ServerGone:
        return ServerGone("it listens, and greets nobody", where=self._address.place)

    def _read(self, reply: list[zmq.Frame]) -> Any:
        place = self._address.place
        if len(reply) != 2 or len(reply[0]):
            raise ProtocolError(f"an answer of {len(reply)} frames, expected an empty one and another", where=place)
        try:
            return reply_of(unpack(reply[1].buffer, self._limits), place)
        except ProtocolError as error:
            raise ProtocolError(f"an answer that makes no sense: {error.what}", where=place) from None

    @contextlib.contextmanager
    def _thrown_away_on_failure(self) -> Any:
        try:
            yield
        except zmq.Again:  # it left before anything was sent
            self.close()
            raise self._left(0) from None
        except zmq.ZMQError as error:
            self.close()
            raise ServerGone(f"ZeroMQ: {error}", where=self._address.place) from None
        except BaseException:
            self.close()
            raise


class ZmqWire(_Wire[zmq.Socket[bytes]]):
    """Blocking. Not for two threads at once: its client sees to that."""

    def ask(self, request: Request, deadline: float) -> Any:
        """The reply. Raises ServerError, ServerSilent at the deadline, ServerGone, ProtocolError."""
        with self._thrown_away_on_failure():
            link = self._met(deadline)
            link.socket.send_multipart(link.frames(request), zmq.DONTWAIT, copy=False)
            while not link.socket.poll(_ms(deadline, _LOOK_S)):
                self._still_there(link, deadline)
            reply = link.socket.recv_multipart(copy=False)
        return self._read(reply)

    def _met(self, deadline: float) -> _Link[zmq.Socket[bytes]]:
        """A connection whose handshake is done."""
        while self._link is None or not self._link.there:
            self.close()
            greeting.who(self._address, deadline)
            link = self._link = _Link(zmq.Context.instance(), self._address, self._limits)
            met = link.socket.poll(_ms(deadline, _HANDSHAKE_S), zmq.POLLOUT)
            if not met and time.monotonic() >= deadline:
                raise self._unmet()
        return self._link


class AsyncZmqWire(_Wire[zmq.asyncio.Socket]):
    """The same, awaitable."""

    async def ask(self, request: Request, deadline: float) -> Any:
        """As `ZmqWire.ask`. A cancelled request leaves nothing behind."""
        with self._thrown_away_on_failure():
            link = await self._met(deadline)
            await link.socket.send_multipart(link.frames(request), zmq.DONTWAIT, copy=False)
            reply = await self._reply(link, deadline)
        return self._read(reply)

    async def _met(self, deadline: float) -> _Link[zmq.asyncio.Socket]:
        while self._link is None or not self._link.there:
            self.close()
            await greeting.who_async(self._address, deadline)
            context = zmq.asyncio.Context(zmq.Context.instance())
            link = self._link = _Link(context, self._address, self._limits)
            met = await link.socket.poll(_ms(deadline, _HANDSHAKE_S), zmq.POLLOUT)  # type: ignore[call-arg]
            if not met and time.monotonic() >= deadline:
                raise self._unmet()
        return self._link

    async def _reply(self, link: _Link[zmq.asyncio.Socket], deadline: float) -> list[zmq.Frame]:
        coming = asyncio.ensure_future(link.socket.recv_multipart(copy=False))
        try:
            while not (await asyncio.wait({coming}, timeout=_ms(deadline, _LOOK_S) / 1000))[0]:
                self._still_there(link, deadline)
            return coming.result()
        finally:
            coming.cancel()


def _ms(deadline: float, most: float) -> int:
    """Milliseconds until the deadline, and at most so many."""
    return max(0, round(1000 * min(most, deadline - time.monotonic())))
