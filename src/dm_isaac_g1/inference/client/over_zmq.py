"""Requests over ZeroMQ: a REQ socket that is thrown away whenever a request got no answer.

A REQ socket without its answer refuses all further requests, and NVIDIA's client then waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Generic, NoReturn, TypeVar

import zmq
import zmq.asyncio

from dm_isaac_g1.inference.client import greeting
from dm_isaac_g1.inference.client.address import Address
from dm_isaac_g1.inference.client.session import Request
from dm_isaac_g1.inference.client.watching import PeerWatch
from dm_isaac_g1.inference.protocol.errors import ProtocolError, ServerGone, ServerSilent
from dm_isaac_g1.inference.protocol.limits import Limits
from dm_isaac_g1.inference.protocol.messages import reply_of
from dm_isaac_g1.inference.protocol.packing import Packer
from dm_isaac_g1.inference.protocol.unpacking import unpack

#: Seconds between two looks at whether the server is still there; answers are noticed at once.
_LOOK_S = 0.2
#: Keeps idle connections alive through routers that forget them: seconds until the first probe.
_KEEPALIVE_S = 30
#: Bytes from which on a request may be larger than a server's limit: ours takes 64 MiB unless told otherwise.
_LARGE = 32 << 20

S = TypeVar("S", bound=zmq.Socket[Any])


class _Link(Generic[S]):
    """A connected socket, its watch, and the buffer that its frames are sent from."""

    def __init__(self, context: Any, address: Address, limits: Limits) -> None:
        self.socket: S = context.socket(zmq.REQ)
        options = {
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: limits.frame,
            zmq.IPV6: 1,
            zmq.TCP_KEEPALIVE: 1,
            zmq.TCP_KEEPALIVE_IDLE: _KEEPALIVE_S,
        }
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        self.watch = PeerWatch(zmq.Context.instance(), self.socket)
        self.packer = Packer()
        self.socket.connect(address.endpoint)

    @property
    def stale(self) -> bool:
        self.watch.look()
        return self.watch.lost

    def close(self) -> None:
        self.watch.close()
        self.socket.close(0)


class ZmqWire:
    """Blocking. Not for two threads at once: its client sees to that."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self._address, self._limits = address, limits
        self._link: _Link[zmq.Socket[bytes]] | None = None

    def ask(self, request: Request, deadline: float) -> Any:
        """The reply. Raises ServerError, ServerSilent at the deadline, ServerGone, ProtocolError."""
        if self._link is None or self._link.stale:
            self.close()
            greeting.who(self._address, deadline)
            self._link = _Link(zmq.Context.instance(), self._address, self._limits)
        link = self._link
        frame = link.packer.pack(request.message)
        try:
            link.socket.send(frame, copy=False)
            while not link.socket.poll(_wait_ms(deadline)):
                _still_there(link, self._address, deadline, len(frame))
            reply = _whole(link.socket.recv(copy=False), self._address)
        except zmq.ZMQError as error:
            self.close()
            raise ServerGone(f"ZeroMQ: {error}", where=self._address.place) from None
        except BaseException:
            self.close()
            raise
        return _read(reply, self._limits, self._address)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


class AsyncZmqWire:
    """The same, awaitable."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self._address, self._limits = address, limits
        self._link: _Link[zmq.asyncio.Socket] | None = None

    async def ask(self, request: Request, deadline: float) -> Any:
        """As `ZmqWire.ask`. A cancelled request leaves nothing behind."""
        if self._link is None or self._link.stale:
            self.close()
            await greeting.who_async(self._address, deadline)
            context = zmq.asyncio.Context(zmq.Context.instance())
            self._link = _Link(context, self._address, self._limits)
        link = self._link
        frame = link.packer.pack(request.message)
        try:
            await link.socket.send(frame, copy=False)
            reply = _whole(await self._reply(link, deadline, len(frame)), self._address)
        except zmq.ZMQError as error:
            self.close()
            raise ServerGone(f"ZeroMQ: {error}", where=self._address.place) from None
        except BaseException:
            self.close()
            raise
        return _read(reply, self._limits, self._address)

    async def _reply(self, link: _Link[zmq.asyncio.Socket], deadline: float, sent: int) -> zmq.Frame:
        coming = asyncio.ensure_future(link.socket.recv(copy=False))
        try:
            while not (await asyncio.wait({coming}, timeout=_wait_ms(deadline) / 1000))[0]:
                _still_there(link, self._address, deadline, sent)
            return coming.result()
        finally:
            coming.cancel()

    def close(self) -> None:
        if self._link is not None:
            with contextlib.suppress(RuntimeError):  # its event loop is closed already
                self._link.close()
            self._link = None


def _whole(reply: zmq.Frame, address: Address) -> zmq.Frame:
    if reply.more:
        raise ProtocolError("an answer of several frames, expected one", where=address.place)
    return reply


def _read(reply: zmq.Frame, limits: Limits, address: Address) -> Any:
    try:
        return reply_of(unpack(reply.buffer, limits), address.place)
    except ProtocolError as error:
        raise ProtocolError(f"an answer that makes no sense: {error.what}", where=address.place) from None


def _wait_ms(deadline: float) -> int:
    return max(0, round(1000 * min(_LOOK_S, deadline - time.monotonic())))


def _still_there(link: _Link[Any], address: Address, deadline: float, sent: int) -> None:
    """Raises ServerGone where the one that was asked has left, ServerSilent at the deadline."""
    link.watch.look()
    if link.watch.lost:
        _lost(address, sent)
    if time.monotonic() >= deadline:
        if not link.watch.met:
            raise ServerGone("it listens, and greets nobody", where=address.place)
        raise ServerSilent("no answer before the deadline", where=address.place, fix="it is busy, or hangs")


def _lost(address: Address, sent: int) -> NoReturn:
    fix = "ask again when it is back"
    if sent >= _LARGE:
        fix += f", or ask for less at once: the request has {sent >> 20} MiB, which may be more than it takes"
    raise ServerGone("the server went away while it was asked", where=address.place, fix=fix)
