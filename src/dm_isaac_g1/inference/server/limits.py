"""What the server puts up with, and the account of what waits for the policy."""

from __future__ import annotations

from collections import Counter

import msgspec


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of memory and patience."""

    #: Bytes of one request. Two cameras of 1280x720 in a batch of four are 22 MB.
    frame: int = 64 << 20
    #: Requests that wait for the policy: in all, their bytes, and of one client.
    waiting: int = 64
    waiting_bytes: int = 256 << 20
    per_client: int = 8
    #: Connections at once.
    connections: int = 1000
    #: Seconds for what waits to be answered once the server is told to leave.
    grace_s: float = 30.0
    #: Seconds until a connection without a greeting, or whose far end is silent, is dropped.
    handshake_s: float = 10.0
    heartbeat_s: float = 30.0


class Waiting:
    """Requests on their way to the policy and back, by client (the first part of a request's envelope)."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._of: Counter[bytes] = Counter()
        self._bytes = 0

    def __len__(self) -> int:
        return self._of.total()

    def refusal(self, client: bytes, size: int) -> str | None:
        """Why one more of `size` bytes cannot wait; None: it can."""
        if self._of[client] >= self._limits.per_client:
            return "Server is busy: too many requests of this client wait"
        if len(self) >= self._limits.waiting or self._bytes + size > self._limits.waiting_bytes:
            return "Server is busy: too many requests wait"
        return None

    def add(self, client: bytes, size: int) -> None:
        self._of[client] += 1
        self._bytes += size

    def done(self, client: bytes, size: int) -> None:
        self._bytes -= size
        self._of[client] -= 1
        if self._of[client] <= 0:
            del self._of[client]
