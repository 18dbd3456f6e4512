"""Whether a ZeroMQ socket still has the peer that was asked: its monitor says what the socket itself keeps quiet."""

from __future__ import annotations

import itertools

import zmq
from zmq.utils.monitor import recv_monitor_message

_numbers = itertools.count()
_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class PeerWatch:
    """Of one socket. `met`: a ZeroMQ peer has been there; `lost`: the one that was met is gone."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes]) -> None:
        self._watched = watched
        self.met = False
        self.lost = False
        name = f"inproc://dm-g1-watch-{next(_numbers)}"
        watched.monitor(name, _EVENTS)
        self._events = context.socket(zmq.PAIR)
        self._events.setsockopt(zmq.LINGER, 0)
        self._events.connect(name)

    def look(self) -> None:
        """Takes in what has happened since the last look."""
        while self._events.poll(0):
            event = recv_monitor_message(self._events)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.met = True
            elif self.met:
                self.lost = True

    def close(self) -> None:
        if not self._watched.closed:
            self._watched.monitor(None, 0)
        self._events.close(0)
