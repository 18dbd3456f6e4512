"""A serve host in memory, for the transaction: it can fail or lose its console at any call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from dm_isaac_g1.core.deployments import Health, HistoryEntry, Release
from dm_isaac_g1.core.errors import HostUnreachable, RefusedError, RemoteFailed
from dm_isaac_g1.deploy import record as records
from dm_isaac_g1.deploy.record import Record
from dm_isaac_g1.deploy.runtimes.served import Switched
from dm_isaac_g1.deploy.transaction import Tell


class Killed(BaseException):
    """The console's end by kill -9: nothing of ours runs any more."""


@dataclass
class Copied:
    method: str
    bytes_sent: int
    seconds: float


def release(name: str, **more: object) -> Release:
    fields = {"id": name, "name": name, "digest": name * 4, "kind": "bc", "path": f"/models/rel/{name}", "bytes": 1000}
    return Release(**{**fields, **more})  # type: ignore[arg-type]


OLD, NEW = release("old"), release("new")


@dataclass
class World:
    """What is true on the host, whatever becomes of consoles."""

    serving: str | None = OLD.id
    #: What stands by for `restore`: None before a switch.
    kept: str | None = None
    candidate: bool = False
    chunks: int = 0
    total: int = 4
    committed: set[str] = field(default_factory=lambda: {OLD.id})
    current: str | None = OLD.id
    record: dict[str, object] | None = None
    history: list[HistoryEntry] = field(default_factory=list)
    outcome: Switched | None = None
    sent: int = 0
    #: Times at which nobody served.
    dark: int = 0
    settled: bool = False


@dataclass
class Faults:
    """What goes wrong. `die_at`: the number of the call at which the console dies, `after` its effect or before."""

    die_at: int | None = None
    after: bool = False
    #: Calls at which the connection is lost.
    cut_at: int | None = None
    copy_fails: bool = False
    verify_fails: bool = False
    candidate_sick: bool = False
    switch_fails: bool = False
    #: Healthy beside, sick on the port.
    port_sick: bool = False
    preflight_refuses: bool = False
    #: The old one does not come back: by the exchange, and by being started anew.
    restore_fails: bool = False
    restore_raises: bool = False
    revive_fails: bool = False
    #: The candidate cannot be stopped.
    drop_raises: bool = False
    #: An old release cannot be removed.
    tidying_fails: bool = False


class Memory:
    """`transaction.Site` over a World."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.calls = 0

    def _call(self, effect: Callable[[], None] = lambda: None) -> None:
        """One call to the host: its effect, unless the console or the line dies before it."""
        self.calls += 1
        die, cut = self.calls == self.faults.die_at, self.calls == self.faults.cut_at
        if self.faults.after or not (die or cut):
            effect()
        if self.world.serving is None:
            self.world.dark += 1
        if die:
            raise Killed
        if cut:
            raise HostUnreachable("the connection was lost", where="spark")

    async def write(self, record: Record) -> None:
        def effect() -> None:
            self.world.record = records.plain(record)

        self._call(effect)

    async def preflight(self, record: Record) -> None:
        self._call()
        if self.faults.preflight_refuses:
            raise RefusedError("the disk is too small")

    async def copy(self, record: Record, tell: Tell) -> Copied:
        sent = 0
        while self.world.chunks < self.world.total or self.faults.copy_fails:

            def effect() -> None:
                self.world.chunks += 1
                self.world.sent += 1

            self._call(effect)
            sent += 1
            if self.faults.copy_fails and self.world.chunks >= 2:
                raise RemoteFailed("no space left on device")
        return Copied("copy", sent, 0.1)

    async def verify(self, record: Record) -> Release:
        if self.faults.verify_fails:
            raise RemoteFailed("a chunk of model.safetensors is not what was sent")
        self._call(lambda: self.world.committed.add(record.release.id))
        return record.release

    async def start_candidate(self, record: Record) -> None:
        def effect() -> None:
            assert not self.world.candidate, "two candidates at once"
            self.world.candidate = True

        self._call(effect)

    async def test_candidate(self, record: Record, tell: Tell) -> Health:
        self._call()
        if not self.world.candidate:
            return Health(ok=False, problem="nobody there")
        return Health(ok=not self.faults.candidate_sick, problem="NaN in its actions")

    async def drop_candidate(self, record: Record) -> None:
        self._call(lambda: setattr(self.world, "candidate", False) if not self.faults.drop_raises else None)
        if self.faults.drop_raises:
            raise RemoteFailed("the candidate still runs")

    async def switch(self, record: Record) -> Switched:
        def effect() -> None:
            if self.world.outcome is not None:
                return
            assert record.release.id in self.world.committed
            if self.faults.switch_fails:
                self.world.outcome = Switched(ok=False, back=True, problem="exit 1", outage_s=2.0)
                return
            self.world.kept, self.world.serving = self.world.serving, record.release.id
            self.world.outcome = Switched(ok=True, outage_s=1.5, load_s=1.0)

        self._call(effect)
        assert self.world.outcome is not None
        return self.world.outcome

    async def test(self, record: Record, tell: Tell) -> Health:
        self._call()
        right = self.world.serving == record.release.id
        return Health(ok=right and not self.faults.port_sick, problem="shape (1, 15, 23), not (1, 16, 23)")

    async def restore(self, record: Record) -> Switched:
        def effect() -> None:
            assert not self.world.settled, "what it needs was thrown away"
            if self.world.outcome is not None and self.world.outcome.ok and self.world.kept is not None:
                bad = self.faults.restore_fails or self.faults.restore_raises
                self.world.serving, self.world.kept = None if bad else self.world.kept, None

        self._call(effect)
        if self.faults.restore_raises:
            raise RemoteFailed("the restore dies each time it is begun")
        if self.faults.restore_fails:
            return Switched(ok=False, problem="exit 1")
        return Switched(ok=True, back=True, outage_s=1.0)

    async def revive(self, record: Record) -> bool:
        dead = self.world.serving is None and record.previous is not None

        def effect() -> None:
            if dead and not self.faults.revive_fails:
                assert record.previous is not None
                self.world.serving = record.previous.id

        self._call(effect)
        if dead and self.faults.revive_fails:
            raise RemoteFailed("old served before, and could not be started again: exit 1")
        return record.previous is not None and self.world.serving == record.previous.id

    async def close(self, record: Record, entry: HistoryEntry, serving: Release | None) -> tuple[str, ...]:
        def append() -> None:
            if entry.id not in {each.id for each in self.world.history}:
                self.world.history.insert(0, entry)

        self._call(append)
        self._call(lambda: setattr(self.world, "current", serving.id if serving else None))
        self._call(lambda: setattr(self.world, "settled", True))
        self._call(lambda: setattr(self.world, "record", None))
        return ("old-2: Permission denied",) if self.faults.tidying_fails else ()


def begun(**more: object) -> Record:
    fields: dict[str, object] = {
        "id": "20260101T000000-abcdef",
        "what": "deploy",
        "step": "preflight",
        "began": 0.0,
        "by": "me@laptop",
        "release": NEW,
        "previous": OLD,
    }
    return msgspec.convert({**fields, **more}, Record)
