"""Latency is of calls that were answered; what failed is counted by its reason; nobody waits for a dead server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dm_isaac_g1.core.errors import DmG1Error, Interrupted
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.inference.evaluation.latency import IN_A_ROW, measure


class Serial:
    """Works on one observation at a time, `seconds` each, as a policy server does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.lock = threading.Lock()
        self.open = self.calls = 0

    @contextmanager
    def connect(self) -> Iterator[Serial]:
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    def get_action(self, observation: Any, options: Any = None) -> tuple[Any, Any]:
        with self.lock:
            time.sleep(self.seconds)
            self.calls += 1
        return {}, {}


def test_one_client_sees_the_policy_and_four_wait_for_one_another() -> None:
    server = Serial(0.01)
    alone = measure(server.connect, {}, clients=1, seconds=0.4)
    four = measure(server.connect, {}, clients=4, seconds=0.4)
    assert alone.p50 is not None
    assert alone.mean is not None
    assert four.mean is not None
    assert alone.p50 >= 10
    assert alone.per_second <= 100
    # Little's law: four at once on one policy wait four times as long on average, whoever's turn it is
    assert four.mean == pytest.approx(4 * 1000 / four.per_second, rel=0.25)
    assert four.mean > 2 * alone.mean
    assert four.calls + alone.calls < server.calls  # warm-up calls are not counted
    assert alone.least is not None
    assert alone.most is not None
    assert alone.least <= alone.p50 <= (alone.p95 or 0) <= (alone.p99 or 0) <= alone.most
    assert server.open == 0


class Flaky(Serial):
    def get_action(self, observation: Any, options: Any = None) -> tuple[Any, Any]:
        super().get_action(observation)
        if self.calls % 3 == 0:
            raise DmG1Error("the model said no")
        return {}, {}


def test_failed_calls_are_counted_by_their_reason_and_not_timed() -> None:
    found = measure(Flaky(0.001).connect, {}, clients=1, seconds=0.2, warm_up=0)
    assert set(found.errors) == {"the model said no"}
    assert found.failed == pytest.approx(found.calls / 2, abs=1)


class Gone(Serial):
    def get_action(self, observation: Any, options: Any = None) -> tuple[Any, Any]:
        super().get_action(observation)
        if self.calls > 5:
            raise DmG1Error("the server is gone")
        return {}, {}


def test_a_server_that_dies_ends_the_measurement() -> None:
    began = time.monotonic()
    found = measure(Gone(0.001).connect, {}, clients=1, seconds=30, warm_up=0)
    assert time.monotonic() - began < 5
    assert (found.calls, found.errors) == (5, {"the server is gone": IN_A_ROW})


def test_nobody_answered_is_the_error_itself() -> None:
    class Refuses(Serial):
        def get_action(self, observation: Any, options: Any = None) -> tuple[Any, Any]:
            raise DmG1Error("wrong token")

    with pytest.raises(DmG1Error, match="wrong token"):
        measure(Refuses(0).connect, {}, clients=3, seconds=5)


def test_whoever_stops_waiting_leaves_no_client_behind() -> None:
    server = Serial(0.01)
    work = Work()
    threading.Timer(0.2, work.cancel).start()
    with pytest.raises(Interrupted):
        measure(server.connect, {}, clients=3, seconds=30, work=work)
    assert server.open == 0
