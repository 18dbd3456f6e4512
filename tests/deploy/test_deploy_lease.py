"""One deploys at a time: the lock is renewed while one works, and a dead console's is not waited for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

from dm_isaac_g1.core import paths
from dm_isaac_g1.core.errors import HostUnreachable
from dm_isaac_g1.deploy import lease as leases
from dm_isaac_g1.deploy.lease import Lease, left_behind, note
from dm_isaac_g1.deploy.program import Locked
from dm_isaac_g1.deploy.transaction import LeaseLost

ONE, OTHER = "20260101T000000-aaaaaa", "20260101T000001-bbbbbb"


@dataclass
class Lock:
    """A store's lock, as `ledger_program` keeps it."""

    token: str | None = None
    until: float = 0.0
    renewals: int = 0


@dataclass
class Store:
    """One console's view of the lock."""

    lock: Lock
    token: str | None = None
    away: bool = False
    tokens: list[str] = field(default_factory=list)

    async def acquire_lock(self, owner: str, lease_s: float, txn: str = "") -> None:
        if self.lock.until > time.monotonic() and self.lock.token != self.token:
            raise Locked("ann is deploying")
        self.token = self.lock.token = self.token or os.urandom(8).hex()
        self.lock.until = time.monotonic() + lease_s

    async def renew(self, lease_s: float) -> None:
        if self.away:
            raise HostUnreachable("away")
        if self.lock.token != self.token:
            raise Locked("ann took it over")
        self.lock.renewals += 1
        self.lock.until = time.monotonic() + lease_s

    async def release_lock(self) -> None:
        if self.away:
            raise HostUnreachable("away")
        if self.lock.token == self.token:
            self.lock.until = 0.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.3)
    monkeypatch.setattr(leases, "EVERY_S", 0.05)
    monkeypatch.setattr(leases, "RETRY_S", 0.02)


async def test_it_is_renewed_while_one_works_and_free_afterwards() -> None:
    lock = Lock()
    async with Lease(Store(lock), "me", ONE) as held:
        await asyncio.sleep(0.6)
        assert lock.renewals >= 3 and lock.until > time.monotonic()
        held.check()
        with pytest.raises(Locked):
            await Lease(Store(lock), "you", OTHER).__aenter__()
    async with Lease(Store(lock), "you", OTHER):
        assert not list((paths.state_dir() / "deploys").glob(f"{ONE}*"))


async def test_whoever_lost_it_stops() -> None:
    lock = Lock()
    async with Lease(Store(lock), "me", ONE) as held:
        lock.token = "somebody else's"
        await asyncio.sleep(0.2)
        with pytest.raises(LeaseLost):
            held.check()


async def test_a_lock_that_becomes_free_is_waited_for() -> None:
    lock = Lock(token="dead", until=time.monotonic() + 0.2)
    async with Lease(Store(lock), "me", ONE, held=OTHER, wait=2.0):
        assert lock.token != "dead"


async def test_a_dead_consoles_lock_is_taken_over_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun = leases._start(process.pid)
    note(OTHER, "its token")
    place = paths.state_dir() / "deploys" / f"{OTHER}.json"
    said = json.loads(place.read_text())
    place.write_text(json.dumps({**said, "pid": process.pid, "start": begun}))
    assert left_behind(OTHER) is None, "it is alive"
    process.kill()
    process.wait()
    assert left_behind(OTHER) == "its token"
    lock = Lock(token="its token", until=time.monotonic() + 60)
    async with Lease(Store(lock), "me", ONE, held=OTHER):
        assert not place.exists()


async def test_a_note_of_another_boot_or_machine_proves_nothing() -> None:
    note(OTHER, "its token")
    place = paths.state_dir() / "deploys" / f"{OTHER}.json"
    said = json.loads(place.read_text())
    place.write_text(json.dumps({**said, "pid": 2**22 + 1, "start": 5, "place": "elsewhere"}))
    assert left_behind(OTHER) is None


async def test_the_note_stays_where_the_host_is_away_in_the_end() -> None:
    store = Store(Lock())
    async with Lease(store, "me", ONE):
        store.away = True
    assert (paths.state_dir() / "deploys" / f"{ONE}.json").stat().st_mode & 0o777 == 0o600


def test_what_a_host_says_is_no_path() -> None:
    assert left_behind("../../../etc/passwd") is None
