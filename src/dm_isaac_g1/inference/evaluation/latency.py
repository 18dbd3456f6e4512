"""How fast a server answers get_action: one client, and several at once, each with a connection of its own.

Clients are threads of this process. What they measure is a call as a robot sees it: packing, the way there and back,
the wait behind others (a policy works on one observation at a time), unpacking.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.inference.evaluation import metrics
from dm_isaac_g1.inference.evaluation.openloop import Policy
from dm_isaac_g1.inference.evaluation.results import Latency

#: Calls of each client before the clock starts: connections, caches, the first allocation.
WARM_UP = 3
#: Calls in a row that may fail before a client gives up: a server that is gone is not asked for the rest of the time.
IN_A_ROW = 5
#: Seconds between two words about how it goes.
EVERY = 0.2

Connect = Callable[[], AbstractContextManager[Policy]]


def measure(
    connect: Connect,
    observation: dict[str, Any],
    *,
    clients: int,
    seconds: float,
    warm_up: int = WARM_UP,
    work: Work | None = None,
) -> Latency:
    """`clients` clients call for `seconds`. Raises the error of a warm-up, where nobody was answered even once."""
    work = work or Work()
    crew = [_Client(connect, observation, warm_up) for _ in range(clients)]
    word = "1 client" if clients == 1 else f"{clients} clients"
    go, stop = threading.Event(), threading.Event()
    threads = [threading.Thread(target=each.run, args=(go, stop), daemon=True) for each in crew]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    try:
        for each in crew:
            while not each.warm.wait(EVERY):
                work.progress(f"{word}: warming up")
        refused = [each.refused for each in crew if each.refused is not None]
        if len(refused) == len(crew):
            raise refused[0]
        began = time.perf_counter()
        go.set()
        while (passed := time.perf_counter() - began) < seconds and any(thread.is_alive() for thread in threads):
            work.progress(f"Calling, {word}", round(passed, 1), seconds, "seconds")
            time.sleep(min(EVERY, max(seconds - passed, 0.001)))
    finally:
        stop.set()
        go.set()
        for thread in threads:
            thread.join()
    return _found(crew, time.perf_counter() - began)


class _Client:
    """One client, in a thread of its own."""

    def __init__(self, connect: Connect, observation: dict[str, Any], warm_up: int) -> None:
        self._connect = connect
        self._observation = observation
        self._warm_up = warm_up
        #: Set when it is ready to be timed, or could not get so far.
        self.warm = threading.Event()
        self.refused: DmG1Error | None = None
        self.times: list[float] = []
        self.errors: Counter[str] = Counter()

    def run(self, go: threading.Event, stop: threading.Event) -> None:
        try:
            with self._connect() as policy:
                for _ in range(self._warm_up):
                    if stop.is_set():
                        return
                    policy.get_action(self._observation)
                self.warm.set()
                go.wait()
                self._call(policy, stop)
        except DmG1Error as error:
            self.refused = error
            self.errors[error.what] += 1
        finally:
            self.warm.set()

    def _call(self, policy: Policy, stop: threading.Event) -> None:
        in_a_row = 0
        while not stop.is_set() and in_a_row < IN_A_ROW:
            began = time.perf_counter()
            try:
                policy.get_action(self._observation)
            except DmG1Error as error:
                self.errors[error.what] += 1
                in_a_row += 1
                continue
            self.times.append(time.perf_counter() - began)
            in_a_row = 0


def _found(crew: list[_Client], seconds: float) -> Latency:
    times = [1000 * each for client in crew for each in client.times]
    errors: Counter[str] = Counter()
    for client in crew:
        errors += client.errors
    if not times:
        return Latency(clients=len(crew), seconds=seconds, calls=0, per_second=0.0, errors=dict(errors))
    p50, p95, p99 = metrics.percentiles(times)
    return Latency(
        clients=len(crew),
        seconds=seconds,
        calls=len(times),
        per_second=len(times) / seconds,
        p50=p50,
        p95=p95,
        p99=p99,
        mean=metrics.average(times),
        least=min(times),
        most=max(times),
        errors=dict(errors.most_common(20)),
    )
