"""The server's ROUTER socket, and answers on their way out of it."""

from __future__ import annotations

import time
from collections import deque

import zmq

from dm_isaac_g1.inference.server.limits import ServerLimits

#: Answers kept for a client that does not read, and seconds that one is kept for which there is no room.
_UNREAD, _PATIENCE_S = 128, 2.0


def router(context: zmq.Context[zmq.Socket[bytes]], limits: ServerLimits, *, ipv6: bool) -> zmq.Socket[bytes]:
    """Not bound yet."""
    made = context.socket(zmq.ROUTER)
    made.setsockopt(zmq.MAXMSGSIZE, limits.frame)
    made.setsockopt(zmq.RCVHWM, 2)
    made.setsockopt(zmq.SNDHWM, _UNREAD)
    made.setsockopt(zmq.ROUTER_MANDATORY, 1)  # says what it could not send, instead of dropping it
    made.setsockopt(zmq.LINGER, 2000)
    made.setsockopt(zmq.HANDSHAKE_IVL, int(limits.handshake_s * 1e3))
    made.setsockopt(zmq.HEARTBEAT_IVL, int(limits.heartbeat_s / 3 * 1e3))
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(limits.heartbeat_s * 1e3))
    made.setsockopt(zmq.TCP_KEEPALIVE, 1)
    made.setsockopt(zmq.IPV6, int(ipv6))
    return made


class Outbox:
    """Answers, each sent at once or a little later. Used by the socket's thread alone."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._unsent: deque[tuple[float, list[bytes]]] = deque(maxlen=_UNREAD)

    def __len__(self) -> int:
        return len(self._unsent)

    def send(self, frames: list[bytes]) -> None:
        """An answer with its envelope. Of no concern: whether the client is still there, and reads it."""
        if not self._sent(frames):
            self._unsent.append((time.monotonic(), frames))

    def again(self) -> None:
        """Try those again that could not be sent."""
        for _ in range(len(self._unsent)):
            when, frames = self._unsent.popleft()
            if not self._sent(frames) and time.monotonic() - when < _PATIENCE_S:
                self._unsent.append((when, frames))

    def _sent(self, frames: list[bytes]) -> bool:
        """False: libzmq thinks that the client has not read what it was sent before. So it may be; or libzmq (4.3.5) is
        late to notice, as it is at times after another client left in a hurry."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError:
            pass  # the client is gone
        return True
