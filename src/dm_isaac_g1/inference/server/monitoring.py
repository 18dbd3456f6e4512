"""A ZeroMQ socket's monitor: what becomes of its connections, as events to be read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

_numbers = itertools.count()


class Monitor:
    """Of one socket; close it before the socket. Used by the socket's thread.

    libzmq's thread waits where its events are not taken, and all of a context's sockets with it: so nothing bounds how
    many may wait here, and it is told to stop before its reader goes.
    """

    def __init__(self, socket: zmq.Socket[bytes], events: int) -> None:
        self._socket = socket
        address = f"inproc://monitor-{id(self):x}-{next(_numbers)}"
        socket.monitor(address, events)
        #: To be polled.
        self.reader: zmq.Socket[bytes] = socket.context.socket(zmq.PAIR)
        self.reader.setsockopt(zmq.RCVHWM, 0)
        self.reader.setsockopt(zmq.LINGER, 0)
        self.reader.connect(address)

    def events(self) -> Iterator[tuple[int, Any]]:
        """Event and value of all that has come."""
        while self.reader.poll(0):
            message = recv_monitor_message(self.reader)
            yield int(message["event"]), message["value"]

    def close(self) -> None:
        self._socket.monitor(None, 0)
        self.reader.close(linger=0)
