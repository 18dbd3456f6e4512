"""What a transaction does on a host beside the exchange: tidying up, and starting what served before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sites import NEW, OLD, begun, release

from dm_isaac_g1.core.deployments import HistoryEntry, Release
from dm_isaac_g1.core.errors import DmG1Error, HostUnreachable, RefusedError, RemoteFailed
from dm_isaac_g1.deploy.gathering import Place
from dm_isaac_g1.deploy.record import Record
from dm_isaac_g1.deploy.runtimes.served import Served
from dm_isaac_g1.deploy.site import HostSite
from dm_isaac_g1.deploy.store import StoreState

OLDER, OLDEST = release("older", created=2.0), release("oldest", created=1.0)


class Host:
    """Its store and its way of serving. `fails`: the call -> what it raises."""

    def __init__(self, fails: dict[str, DmG1Error], served: Served | None = None) -> None:
        self.fails = fails
        self.served = served
        self.done: list[str] = []
        self.record: Any = "open"
        self.released: dict[str, Release] = {}

    def _do(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]
        self.done.append(what)

    async def look(self) -> StoreState:
        return StoreState(root="/models", releases=(NEW, OLD, OLDER, OLDEST), current=OLD.id)

    async def set_current(self, name: str) -> None:
        self._do(f"current {name}")

    async def append_history(self, entry: HistoryEntry) -> None:
        self._do(f"history {entry.outcome}")

    async def settle(self, txn: str, keep: int) -> None:
        self._do("settle")

    async def remove(self, name: str) -> int:
        self._do(f"remove {name}")
        return 0

    async def manifest_of(self, name: str) -> str:
        return f"manifest of {name}"

    async def commit(self, txn: str, manifest: str, made: Release) -> Release:
        self._do(f"commit {manifest}")
        self.released[made.id] = made
        return made

    async def write_transaction(self, value: object) -> None:
        self._do("record")
        self.record = value

    async def current(self) -> Served | None:
        return self.served

    def site(self) -> HostSite:
        host = SimpleNamespace(name="spark", profile=SimpleNamespace(serve=SimpleNamespace(keep=0)))
        return HostSite(Place(host, self, self), SimpleNamespace(check=lambda: None))  # type: ignore[arg-type]


def entry(record: Record, outcome: str) -> HistoryEntry:
    return HistoryEntry(id=record.id, at=1.0, what="deploy", release=record.release.id, outcome=outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ({"settle": RemoteFailed("job 1 cannot be removed")}, ("job 1 cannot be removed",)),
        ({"remove oldest": RemoteFailed("__pycache__: Permission denied")}, ("__pycache__: Permission denied",)),
        ({"remove older": RefusedError("older is the current release")}, ()),
    ],
)
async def test_what_cannot_be_tidied_up_keeps_no_record_open(
    fails: dict[str, DmG1Error], words: tuple[str, ...]
) -> None:
    host, record = Host(fails), begun()
    assert await host.site().close(record, entry(record, "done"), NEW) == words
    rest = [what for what in ("settle", "remove older", "remove oldest") if what not in fails]
    assert host.done == [f"current {NEW.id}", "history done", *rest, "record"]
    assert host.record is None


async def test_a_lost_connection_while_tidying_up_leaves_it_to_be_done_again() -> None:
    host, record = Host({"settle": HostUnreachable("the connection was lost")}), begun()
    with pytest.raises(HostUnreachable):
        await host.site().close(record, entry(record, "done"), NEW)
    assert host.record == "open"


async def test_the_same_files_that_failed_for_another_embodiment_are_described_as_they_serve() -> None:
    old, new = release("same", embodiment="GR1"), release("same", embodiment="UNITREE_G1")
    host, record = Host({}), begun(release=new, previous=old)
    assert await host.site().close(record, entry(record, "failed"), old) == ()
    assert host.released == {"same": old} and "commit manifest of same" in host.done


@pytest.mark.parametrize(
    ("served", "back"),
    [
        (Served(id="1", title="process", port=1, release=OLD.id), True),
        (Served(id="1", title="process", port=1, release=OLD.id, state="loading"), False),
        (Served(id="pid 1", title="nc", port=1, foreign=True), False),
    ],
)
async def test_only_what_served_before_is_taken_for_it(served: Served, back: bool) -> None:
    assert await Host({}, served).site().revive(begun()) is back
