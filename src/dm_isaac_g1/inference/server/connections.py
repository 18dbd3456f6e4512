"""The server's connections: how many there are, and which of them sends more than it may.

libzmq bounds each frame, and nothing bounds a message of frames without end: it is kept until its last frame comes.
So the bytes that the kernel has received on each connection (TCP_INFO) are held against those of the requests that came
whole, and a connection that owes too many is cut. Linux only; elsewhere frames are bounded and messages are not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import zmq

from dm_isaac_g1.inference.server.monitoring import Monitor

#: Offset of tcpi_bytes_received in struct tcp_info, include/uapi/linux/tcp.h.
_BYTES_RECEIVED = 128
#: Greeting, handshake, heartbeats and frame headers: not requests, and small.
_OVERHEAD = 1 << 20
#: Seconds after which libzmq has let go of what it held of a connection that was cut.
_FREED_S = 0.5


class _Connection(msgspec.Struct):
    peer: Any
    #: Of requests that came whole.
    whole: int = 0


class Connections:
    """Of one ROUTER socket; used by its thread alone."""

    def __init__(self, router: zmq.Socket[bytes], *, most: int, owed: int) -> None:
        """`most` connections at once; `owed`: bytes that one may have sent of a request that is not whole yet, all of
        them together twice as many."""
        self._most = most
        self._owed = owed
        self._open: dict[int, _Connection] = {}
        self._trim_at: float | None = None
        self.monitor = Monitor(router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def patience_ms(self) -> int:
        """How long nobody need look: at a gigabyte a second, a tenth of one comes meanwhile."""
        return 100 if self._open or self._trim_at is not None else 1000

    def look(self) -> list[str]:
        """Take note of who came and went, and cut those who send too much; what was cut, in words."""
        cut = []
        for event, value in self.monitor.events():
            fd = int(value)
            if event != zmq.EVENT_ACCEPTED:
                self._open.pop(fd, None)
            elif len(self._open) >= self._most:
                _shut(fd)
                cut.append(f"a connection beyond {self._most}")
            else:
                self._open[fd] = _Connection(_peer(fd))
        owing = sorted(self._owing(), reverse=True)
        total = sum(owed for owed, _ in owing)
        for owed, fd in owing:
            if owed <= self._owed and total <= 2 * self._owed:
                break
            if _peer(fd) == self._open[fd].peer:  # else the number is another connection's by now
                _shut(fd)
                cut.append(f"a connection with {owed:,} bytes of a request without end")
            del self._open[fd]
            total -= owed
        if cut:
            self._trim_at = time.monotonic() + _FREED_S
        elif self._trim_at is not None and time.monotonic() > self._trim_at:
            self._trim_at = None
            _trim()
        return cut

    def _owing(self) -> Iterator[tuple[int, int]]:
        for fd, connection in self._open.items():
            received = _received(fd)
            if received is not None:
                yield received - connection.whole, fd

    def whole(self, frames: list[zmq.Frame]) -> None:
        """A request that came whole."""
        with contextlib.suppress(zmq.ZMQError, ValueError, TypeError):
            connection = self._open.get(int(frames[-1].get(zmq.SRCFD)))
            if connection is not None:
                connection.whole += sum(len(frame) + 9 for frame in frames)

    def close(self) -> None:
        self.monitor.close()


def budget(frame: int) -> int:
    """Bytes that a connection may owe whose requests have at most `frame`: some are in pipes between threads."""
    return 4 * frame + _OVERHEAD


def _received(fd: int) -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        with socket.socket(fileno=os.dup(fd)) as there:
            info = there.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
    except OSError:
        return None
    return int(struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]) if len(info) >= _BYTES_RECEIVED + 8 else None


def _peer(fd: int) -> Any:
    try:
        with socket.socket(fileno=os.dup(fd)) as there:
            return there.getpeername()
    except OSError:
        return None


def _trim() -> None:
    """Give freed memory back to the system: glibc keeps it, hundreds of megabytes after an attack."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _shut(fd: int) -> None:
    """libzmq finds it at its end, and lets go of it and of all that it holds of it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as there:
        there.shutdown(socket.SHUT_RDWR)
