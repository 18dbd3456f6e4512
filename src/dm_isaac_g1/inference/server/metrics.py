"""What a server says of its own requests: how many, how fast, since when."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

#: Latencies that p50 and p99 are of, and seconds that requests a second are of.
KEPT, WINDOW_S = 1000, 10.0


class Metrics:
    """Counted by two threads. A request is anything that was asked of the policy; a ping is none."""

    def __init__(self, model: str, kind: str) -> None:
        self.model = model
        self.kind = kind
        self.since = time.time()
        self._lock = threading.Lock()
        self._requests = 0
        self._errors = 0
        self._refused = 0
        self._odd = 0
        self._ms: deque[float] = deque(maxlen=KEPT)
        self._ends: deque[float] = deque(maxlen=100_000)

    def answered(self, seconds: float, *, error: bool, timed: bool) -> None:
        """A request of the policy was answered after `seconds` in the server. `timed`: it was a get_action."""
        with self._lock:
            self._requests += 1
            self._errors += error
            self._ends.append(time.monotonic())
            if timed and not error:
                self._ms.append(seconds * 1e3)

    def refused(self) -> None:
        """A request that never reached the policy: a wrong token, garbage, too much at once."""
        with self._lock:
            self._refused += 1

    def odd(self) -> None:
        """An answer of the policy with values that are no numbers, or of another shape than it promised."""
        with self._lock:
            self._odd += 1

    def snapshot(self) -> dict[str, Any]:
        """Plain values, ready to be packed; times in milliseconds, None before the first."""
        now = time.monotonic()
        with self._lock:
            while self._ends and self._ends[0] < now - WINDOW_S:
                self._ends.popleft()
            sorted_ms = sorted(self._ms)
            return {
                "requests": self._requests,
                "errors": self._errors,
                "refused": self._refused,
                "odd_answers": self._odd,
                "per_second": len(self._ends) / min(WINDOW_S, max(time.time() - self.since, 1.0)),
                "p50_ms": _share(sorted_ms, 0.50),
                "p99_ms": _share(sorted_ms, 0.99),
                "since": self.since,
                "model": self.model,
                "kind": self.kind,
            }


def _share(ordered: list[float], share: float) -> float | None:
    """The smallest value that at least this share of them does not exceed (nearest rank)."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
