"""A proxy in front of another policy server, GR00T's above all: that one has no token, obeys anybody's `kill`, leaves a
ping waiting behind a get_action, and says nothing of its speed.

Only this process need be reachable from outside. The server behind may be away or hang: then the client is told so
within a deadline, and served again once it is back.
"""

from __future__ import annotations

import time

import zmq

from dm_isaac_g1.core.errors import UsageError
from dm_isaac_g1.inference.protocol import LIMITS, Limits, Packer, ProtocolError, pack
from dm_isaac_g1.inference.protocol.messages import PING_REPLY, request
from dm_isaac_g1.inference.server.backends import Answer, Request, failed
from dm_isaac_g1.inference.server.log import Log
from dm_isaac_g1.inference.server.monitoring import Monitor

#: Seconds that the server behind may take for an answer, and to accept a connection.
DEADLINE_S, CONNECT_S = 30.0, 2.0


class Proxy:
    """A `Backend`. `upstream`: tcp://HOST:PORT of the server behind; `token`: its own, where it has one.

    All but `at_once` is called by the worker's thread, which owns the sockets.
    """

    kind = "proxy"

    def __init__(
        self, upstream: str, *, token: str | None = None, deadline_s: float = DEADLINE_S, limits: Limits = LIMITS
    ) -> None:
        """Raises UsageError for what is no address."""
        if not upstream.startswith(("tcp://", "ipc://")) or any(char.isspace() for char in upstream):
            raise UsageError(f"{upstream!r} is no address of a policy server", fix="write tcp://HOST:PORT")
        self.model = upstream
        self._upstream = upstream
        self._token = token
        self._deadline = deadline_s
        self._limits = limits
        self._log = Log()
        self._packer = Packer()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: Monitor | None = None
        #: Read by the socket's thread. None: nobody has looked yet.
        self._connected: bool | None = None
        self._modality: bytes | None = None
        self._since = time.monotonic()
        self._ping = Answer(pack(PING_REPLY))

    # --- The socket's thread ------------------------------------------------------------------------------------------

    def at_once(self, endpoint: str) -> Answer | None:
        """A ping never waits: it says whether a server is behind, not whether that one has time."""
        if endpoint == "ping":
            if self._connected or (self._connected is None and time.monotonic() - self._since < CONNECT_S):
                return self._ping
            return failed(f"no server answers behind this one at {self._upstream}")
        if endpoint == "get_modality_config" and self._modality is not None and self._connected:
            return Answer(self._modality)
        return None

    # --- The worker's thread ------------------------------------------------------------------------------------------

    def idle(self) -> None:
        self._open()
        self._look()

    def answer(self, asked: Request) -> Answer:
        try:
            answer = self._ask(self._frame(asked))
            error = _is_error(answer)
            if asked.endpoint == "get_modality_config" and not error:
                self._modality = answer
            return Answer(answer, error=error)
        except (_Away, ProtocolError) as error:
            self._log.say(f"{asked.endpoint}: {error}")
            return failed(str(error))
        except zmq.ZMQError as error:
            self._drop()
            return failed(f"the server behind: {error}")

    def close(self) -> None:
        self._drop()
        self._context.term()

    def _ask(self, frame: memoryview) -> bytes:
        socket = self._open()
        self._look()
        deadline = time.monotonic() + self._deadline
        if not socket.poll(int(min(CONNECT_S, self._deadline) * 1e3), zmq.POLLOUT):
            self._drop()
            raise _Away(f"no server answers behind this one at {self._upstream}")
        socket.send(frame, zmq.NOBLOCK)  # copied: the buffer is used again
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        assert self._monitor is not None
        poller.register(self._monitor.reader, zmq.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = dict(poller.poll(int(left * 1e3) + 1))
            if socket in ready:
                return socket.recv(zmq.NOBLOCK)
            if self._monitor.reader in ready and self._look() is False:
                # Fresh sockets from here on: this one would wait for an answer that nobody owes it any more.
                self._drop()
                raise _Away("the server behind ended while it was asked")
        self._drop()
        raise _Away(f"the server behind did not answer in {self._deadline:g} s")

    def _open(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            self._socket = socket = self._context.socket(zmq.REQ)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.IMMEDIATE, 1)
            socket.setsockopt(zmq.RECONNECT_IVL, 100)
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            socket.setsockopt(zmq.MAXMSGSIZE, self._limits.frame)
            socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
            self._monitor = Monitor(socket, zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            socket.connect(self._upstream)
        return self._socket

    def _look(self) -> bool | None:
        """What became of the connection since the last look: True up, False lost, None nothing."""
        last = None
        for event, _ in self._monitor.events() if self._monitor is not None else ():
            last = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if last:
                self._modality = None  # another server, perhaps of another model
        if last is not None:
            self._connected = last
        elif self._connected is None and time.monotonic() - self._since > CONNECT_S:
            self._connected = False
        return last

    def _drop(self) -> None:
        if self._socket is not None and self._monitor is not None:
            self._monitor.close()
            self._socket.close(linger=0)
            self._socket = self._monitor = None
            self._connected = False

    def _frame(self, asked: Request) -> memoryview:
        """What the server behind is asked: packed anew of what was understood here, so that nothing can be smuggled
        past in bytes that it would read otherwise; with its own token, or without any."""
        bare = asked.endpoint == "get_modality_config"
        return self._packer.pack(request(asked.endpoint, asked.data, self._token, bare=bare))


class _Away(Exception):
    """The server behind cannot be asked; the text is for the client."""


def _is_error(answer: bytes) -> bool:
    return answer[:7] == b"\x81\xa5error"
