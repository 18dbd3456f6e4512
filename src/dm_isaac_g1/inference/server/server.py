"""The policy server: one thread for the socket, one for the policy, so that a ping is answered while it thinks.

GR00T's protocol (a REQ client, one frame of msgpack each way) on a ROUTER socket. Memory is bounded whatever clients
send: a frame's size before it is read, what waits in all and of one client, connections by their handshake and
heartbeats.
"""

from __future__ import annotations

import contextlib
import hmac
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import msgspec
import zmq

from dm_isaac_g1.inference.protocol import Limits, ProtocolError, pack, unpack
from dm_isaac_g1.inference.protocol.messages import DEFAULT_ENDPOINT, UNAUTHORIZED
from dm_isaac_g1.inference.server import ports
from dm_isaac_g1.inference.server.backends import (
    POLICY_ENDPOINTS,
    Answer,
    Backend,
    PolicyBackend,
    Request,
    failed,
)
from dm_isaac_g1.inference.server.checks import Dialect
from dm_isaac_g1.inference.server.connections import Connections, budget
from dm_isaac_g1.inference.server.limits import ServerLimits, Waiting
from dm_isaac_g1.inference.server.log import Log
from dm_isaac_g1.inference.server.metrics import Metrics
from dm_isaac_g1.inference.server.outbox import Outbox, router

P = ParamSpec("P")
T = TypeVar("T")


class PolicyServer:
    """Serves `policy` on tcp://bind:port. A context manager: entered it is bound and answers.

    `policy`: a `policies.base.Policy`, or a `Backend`. `port` 0: any free one. `token`: every request must have it as
    its api_token. `allow_kill`: whether `kill` from a client ends the server. `dialect`: of observations and actions.
    """

    def __init__(
        self,
        policy: Any,
        *,
        port: int = 5555,
        bind: str = "127.0.0.1",
        token: str | None = None,
        allow_kill: bool = False,
        dialect: Dialect = "nested",
        limits: ServerLimits | None = None,
    ) -> None:
        self._log = Log()
        self._backend: Backend = (
            policy if hasattr(policy, "at_once") else PolicyBackend(policy, dialect=dialect, log=self._log)
        )
        spec = getattr(policy, "spec", None)
        #: What the policy takes and gives: clients cannot know its widths from the modality configuration.
        self._spec = None if spec is None else msgspec.to_builtins(spec)
        self._wanted = (bind, port)
        self._token = token
        self._allow_kill = allow_kill
        self.limits = limits or ServerLimits()
        self._unpacking = Limits(frame=self.limits.frame)
        self.metrics = Metrics(self._backend.model, self._backend.kind)
        if isinstance(self._backend, PolicyBackend):
            self._backend.metrics = self.metrics
        self.address = ""
        self._work: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._waiting = Waiting(self.limits)
        self._leaving_since: float | None = None
        self._hurry = False
        self._left = threading.Event()
        self._threads: list[threading.Thread] = []
        self._clean = True

    # --- Life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind and answer from now on. Raises PortTaken, UsageError for an address that is not this machine's."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = router(self._context, self.limits, ipv6=":" in self._wanted[0] and "://" not in self._wanted[0])
        self._outbox = Outbox(self._router)
        self._answers = self._context.socket(zmq.PULL)
        self._answers.bind("inproc://answers")
        self._connections = Connections(self._router, most=self.limits.connections, owed=budget(self.limits.frame))
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        try:
            self._bind()
        except BaseException:
            self._context.destroy(linger=0)
            raise
        for target, name in ((self._answer, "policy"), (self._serve, "socket")):
            thread = threading.Thread(target=target, name=f"policy server: {name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return int(self.address.rpartition(":")[2])

    def stop(self, timeout: float | None = None) -> None:
        """Take no more requests, answer those that wait, and leave. Returns when it is done."""
        self.leave()
        if self._threads:
            self._left.wait(timeout if timeout is not None else self.limits.grace_s + 5)

    def leave(self, *, at_once: bool = False) -> None:
        """Begin to stop, from any thread or a signal's handler. `at_once`: without waiting for the policy."""
        self._hurry |= at_once
        if self._leaving_since is None:
            self._leaving_since = time.monotonic()
        if self._threads:
            with contextlib.suppress(OSError):
                self._waker.send(b"!")

    def serve_forever(self) -> bool:
        """Start unless started, say so on stdout, serve until SIGTERM, SIGINT or an allowed kill. Call it in the main
        thread. Whether all that waited was answered."""
        with self._signals():
            if not self._threads:
                self.start()
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.write(f"Server is ready and listening on {self.address}\n")
                sys.stdout.flush()
            # Not for ever: a signal in the instant before the wait begins is seen when it ends.
            while not self._left.wait(0.2):
                pass
        return self._clean

    def __enter__(self) -> PolicyServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal asks it to leave, the second hurries it. Only the main thread may say so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def asked(number: int, frame: FrameType | None) -> None:
            self.leave(at_once=self._leaving_since is not None)

        before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _bind(self) -> None:
        bind, port = self._wanted
        host = f"[{bind}]" if ":" in bind else bind
        address = bind if "://" in bind else f"tcp://{host}:{port or '*'}"
        try:
            self._router.bind(address)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise ports.taken(bind, port) from None
            raise ports.cannot(bind, port, error.errno) from None
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    # --- The socket's thread ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        poller = zmq.Poller()
        for each in (self._router, self._answers, self._woken, self._connections.monitor.reader):
            poller.register(each, zmq.POLLIN)
        leaving = False
        done = False
        try:
            while not done:
                ready = dict(poller.poll(20 if self._outbox else self._connections.patience_ms))
                for what in self._connections.look():
                    self._log.say(f"cut: {what}")
                self._outbox.again()
                if self._answers in ready:
                    done = self._pass_on()
                if self._router in ready:
                    self._take()
                if self._woken.fileno() in ready:
                    with contextlib.suppress(OSError):
                        self._woken.recv(64)
                if self._leaving_since is not None:
                    if not leaving:
                        # Still bound: libzmq would cut those who wait for an answer along with the listener.
                        leaving = True
                        self._work.put(None)
                    if not done and (self._hurry or time.monotonic() - self._leaving_since > self.limits.grace_s):
                        self._clean = False
                        done = True
        except BaseException:
            self._clean = False
            self._work.put(None)
            raise
        finally:
            self._connections.close()
            self._router.close()
            self._answers.close()
            self._woken.close()
            self._waker.close()
            if self._clean:
                self._context.term()  # returns when the last answers are out; it would wait for the policy, too
            self._left.set()

    def _take(self) -> None:
        """Requests that have come: answered at once, refused, or put to those that wait. A few at a time, so that
        answers go out between them."""
        for _ in range(16):
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._connections.whole(frames)
            split = next((place for place, frame in enumerate(frames[:8]) if place and not len(frame)), None)
            if split is None:
                self.metrics.refused()
                continue  # no REQ client: there is no way back that it would understand
            envelope = [frame.bytes for frame in frames[: split + 1]]
            if len(frames) != split + 2:
                self._refuse(envelope, "a request is one frame")
                continue
            self._route(envelope, frames[split + 1])

    def _route(self, envelope: list[bytes], frame: zmq.Frame) -> None:
        received = time.perf_counter()
        try:
            message = unpack(frame.buffer, self._unpacking)
        except ProtocolError as error:
            self._refuse(envelope, error.what)
            return
        if not isinstance(message, dict):
            self._refuse(envelope, f"a request is a map, not {type(message).__name__}")
            return
        if self._token is not None and not _same(message.get("api_token"), self._token):
            self._refuse(envelope, UNAUTHORIZED)
            return
        endpoint = message.get("endpoint", DEFAULT_ENDPOINT)
        quick = self._at_once(endpoint) if isinstance(endpoint, str) else None
        if quick is not None:
            self._outbox.send([*envelope, quick.payload])
            return
        if endpoint not in POLICY_ENDPOINTS and endpoint != "get_modality_config":
            self._refuse(envelope, f"Unknown endpoint: {str(endpoint)[:100]}")
            return
        leaving = "Server is shutting down" if self._leaving_since is not None else None
        busy = leaving or self._waiting.refusal(envelope[0], len(frame))
        if busy is not None:
            self._refuse(envelope, busy)
            return
        self._waiting.add(envelope[0], len(frame))
        data = message.get("data", {})
        self._work.put(
            Request(envelope=envelope, endpoint=endpoint, data=data, frame=frame, size=len(frame), received=received)
        )

    def _at_once(self, endpoint: str) -> Answer | None:
        if endpoint == "metrics":
            return Answer(pack(self.metrics.snapshot() | {"clients": len(self._connections), "spec": self._spec}))
        if endpoint == "kill":
            if not self._allow_kill:
                self._log.say("kill from a client: refused")
                return failed("kill is refused by this server; it ends with SIGTERM")
            self.leave()
            return Answer(pack(None))
        return self._backend.at_once(endpoint)

    def _refuse(self, envelope: list[bytes], text: str) -> None:
        self.metrics.refused()
        self._log.say(f"refused: {text}")
        self._outbox.send([*envelope, failed(text).payload])

    def _pass_on(self) -> bool:
        """Answers of the policy on their way back; whether it was the last one."""
        while True:
            try:
                *envelope, size, payload = self._answers.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            if not envelope:
                return True
            self._waiting.done(envelope[0], int(size))
            self._outbox.send([*envelope, payload])

    # --- The policy's thread ------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        answers = self._context.socket(zmq.PUSH)
        answers.connect("inproc://answers")
        try:
            while True:
                try:
                    request = self._work.get(timeout=0.5)
                except queue.Empty:
                    self._guarded(self._backend.idle)
                    continue
                if request is None:
                    break
                answer = self._guarded(self._backend.answer, request) or failed("the policy failed")
                seconds = time.perf_counter() - request.received
                self.metrics.answered(seconds, error=answer.error, timed=request.endpoint == "get_action")
                answers.send_multipart([*request.envelope, str(request.size).encode(), answer.payload])
                del request
            answers.send_multipart([b"0", b""])
        except zmq.ZMQError:
            pass  # it left without us
        finally:
            self._guarded(self._backend.close)
            answers.close(linger=1000)

    @staticmethod
    def _guarded(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """None where a policy's code ended its thread, as by sys.exit: the server goes on."""
        try:
            return call(*args, **kwargs)
        except BaseException:
            traceback.print_exc()
            return None


def _same(given: Any, token: str) -> bool:
    """Whether it is the token, in a time that does not tell how much of it is right."""
    return isinstance(given, str) and hmac.compare_digest(given.encode(), token.encode())
