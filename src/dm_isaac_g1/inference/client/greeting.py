"""Who listens at an address: ZeroMQ greets at once (ZMTP 3.x begins with 0xff), HTTP waits to be asked.

Source: rfc.zeromq.org/spec/23, the greeting's signature.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Literal, NoReturn

from dm_isaac_g1.inference.client.address import Address
from dm_isaac_g1.inference.protocol.errors import ServerGone, ServerSilent

Speaks = Literal["zmtp", "http"]

_ZMTP, _HTTP = b"\xff", b"HTTP/"
_ASK = b"GET /health HTTP/1.1\r\nHost: policy\r\nConnection: close\r\n\r\n"
#: Seconds until HTTP is tried. A busy server greets at once, since ZeroMQ does it in a thread of its own; a greeting
#: that the network holds up longer is still read as one.
_GREETING_S = 0.3
#: Seconds that either may take then.
_ANSWER_S = 3.0


def who(address: Address, deadline: float) -> Speaks:
    """What speaks there. Raises ServerGone where nothing does, ServerSilent where it says nothing in time."""
    try:
        with _connected(address, deadline) as link:
            link.settimeout(_share(deadline, _GREETING_S))
            with contextlib.suppress(TimeoutError):
                return _judge(link.recv(1), address)
            link.settimeout(_share(deadline, _ANSWER_S))
            link.sendall(_ASK)
            return _judge(link.recv(len(_HTTP)), address)
    except TimeoutError:
        _silent(address)
    except OSError as error:
        _gone(address, error)


async def who_async(address: Address, deadline: float) -> Speaks:
    """The same, awaitable."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            reader, writer = await (
                asyncio.open_unix_connection(address.path)
                if address.path
                else asyncio.open_connection(address.host, address.port)
            )
        try:
            with contextlib.suppress(TimeoutError):
                return _judge(await asyncio.wait_for(reader.read(1), _share(deadline, _GREETING_S)), address)
            writer.write(_ASK)
            return _judge(await asyncio.wait_for(reader.read(len(_HTTP)), _share(deadline, _ANSWER_S)), address)
        finally:
            writer.close()
    except TimeoutError:
        _silent(address)
    except OSError as error:
        _gone(address, error)


def _connected(address: Address, deadline: float) -> socket.socket:
    left = max(0.001, deadline - time.monotonic())
    if not address.path:
        return socket.create_connection((address.host, address.port), timeout=left)
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(left)
        link.connect(address.path)
    except BaseException:
        link.close()
        raise
    return link


def _share(deadline: float, most: float) -> float:
    return max(0.001, min(most, deadline - time.monotonic()))


def _judge(first: bytes, address: Address) -> Speaks:
    if first.startswith(_ZMTP):
        return "zmtp"
    if first and _HTTP.startswith(first[: len(_HTTP)]):
        return "http"
    if not first:
        raise ServerGone("the connection is closed at once: nothing serves behind it", where=address.place)
    raise ServerGone("something else than a policy server speaks there", where=address.place)


def _silent(address: Address) -> NoReturn:
    raise ServerSilent("takes the connection and says nothing", where=address.place) from None


def _gone(address: Address, error: OSError) -> NoReturn:
    refused = isinstance(error, ConnectionRefusedError | FileNotFoundError)
    said = "nothing listens there" if refused else f"no connection: {error.strerror or error}"
    raise ServerGone(said, where=address.place, fix="start the policy server, or check host and port") from None
